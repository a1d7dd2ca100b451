//! Which system calls a container may make: profile, then a BPF program of our own making.
//!
//! Here: docker's default profile as data, profiles of a runtime specification, and a generator that answers by
//! binary search on the number for every architecture the machine can run. No C library, and no cache: generating
//! takes less than reading a file would. Invariant: what no rule names gets the profile's default; an architecture
//! the profile does not know is killed.

mod bpf;
mod default;
mod profile;
mod table;

use berth_oci::{Error, Result};
use berth_sys::seccomp::Instruction;
use oci_spec::runtime::{Capabilities, LinuxSeccomp, LinuxSeccompFilterFlag};

/// A filter, ready to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    flags: u64,
}

impl Filter {
    /// Docker's default for a container with these (bounding) capabilities.
    pub(crate) fn default_for(capabilities: &Capabilities) -> Self {
        let family = table::Family::native();
        Self { program: bpf::generate(&default::profile(capabilities, family), family), flags: 0 }
    }

    /// What a runtime specification says.
    pub(crate) fn from_spec(spec: &LinuxSeccomp) -> Result<Self> {
        let family = table::Family::native();
        let profile = profile::Profile::from_spec(spec, family)?;
        Ok(Self { program: bpf::generate(&profile, family), flags: flags(spec)? })
    }

    /// Puts this process under it for good.
    pub(crate) fn install(&self) -> std::io::Result<()> {
        berth_sys::seccomp::install(&self.program, self.flags)
    }
}

fn flags(spec: &LinuxSeccomp) -> Result<u64> {
    spec.flags().iter().flatten().try_fold(0, |bits, flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(bits | libc::SECCOMP_FILTER_FLAG_TSYNC),
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(bits | libc::SECCOMP_FILTER_FLAG_LOG),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(bits | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        other => Err(Error::unsupported(format!("the seccomp flag {other:?} is not supported"))),
    })
}
