//! The numbers of system calls, for every architecture a machine of one family can run.

/// An architecture as a filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    I386,
    X32,
    Aarch64,
    Arm,
}

/// Machines by what their kernel can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    X86,
    Arm,
}

/// Set in the number of every x32 call; its architecture is x86_64's.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Family {
    /// This machine's.
    pub(super) fn native() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self::Arm,
            _ => Self::X86,
        }
    }

    pub(super) fn architectures(self) -> &'static [Arch] {
        match self {
            Self::X86 => &[Arch::X86_64, Arch::I386, Arch::X32],
            Self::Arm => &[Arch::Aarch64, Arch::Arm],
        }
    }
}

impl Arch {
    /// `AUDIT_ARCH_*`.
    pub(super) fn token(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The runtime specification's name.
    pub(super) fn in_specification(self) -> oci_spec::runtime::Arch {
        use oci_spec::runtime::Arch as Spec;
        match self {
            Self::X86_64 => Spec::ScmpArchX86_64,
            Self::I386 => Spec::ScmpArchX86,
            Self::X32 => Spec::ScmpArchX32,
            Self::Aarch64 => Spec::ScmpArchAarch64,
            Self::Arm => Spec::ScmpArchArm,
        }
    }

    pub(super) fn specification_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::I386 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// Whether arguments are 32 bits wide.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, Self::I386 | Self::Arm)
    }

    /// The number a filter sees for this call.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let row = TABLE.binary_search_by_key(&name, |(name, _)| name).ok()?;
        let number = u32::try_from(TABLE[row].1[self as usize]).ok()?;
        Some(if self == Self::X32 { number | X32_BIT } else { number })
    }
}

// No table, no filter: better no program for that machine than containers without one.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("berth has no table of system calls for this architecture");

static TABLE: &[(&str, [i32; 5])] = include!("syscalls.in");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_native_column_is_this_kernels() {
        assert!(TABLE.is_sorted_by_key(|(name, _)| name));
        for (name, number) in
            [("read", libc::SYS_read), ("clone3", libc::SYS_clone3), ("seccomp", libc::SYS_seccomp)]
        {
            let native = Family::native().architectures()[0];
            assert_eq!(native.number(name).map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn numbers_in_every_column() {
        for (arch, name, number) in [
            (Arch::I386, "socketcall", Some(102)),
            (Arch::X86_64, "socketcall", None),
            (Arch::X32, "execve", Some(X32_BIT | 520)),
            (Arch::Aarch64, "openat", Some(56)),
            (Arch::Arm, "cacheflush", Some(0x000f_0002)),
            (Arch::Arm, "mseal", Some(462)),
        ] {
            assert_eq!(arch.number(name), number, "{arch:?} {name}");
        }
    }
}
