//! What a container's processes may do: capabilities and `--security-opt`.
//!
//! Not here: files. A seccomp profile arrives as its text.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// The capabilities of Linux, without their `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What docker gives to every container.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// One word of `--cap-add` or `--cap-drop`: a capability, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Capability {
    /// All of them.
    All,
    /// The one with this number in the kernel, which is its place in [`CAPABILITIES`].
    One(usize),
}

impl FromStr for Capability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if upper == "ALL" {
            return Ok(Self::All);
        }
        let known = CAPABILITIES.iter().position(|known| *known == name);
        known.map(Self::One).ok_or_else(|| {
            Error::invalid(format!("unknown capability: \"CAP_{name}\""))
                .hint("for example NET_ADMIN, SYS_PTRACE, ALL")
        })
    }
}

impl TryFrom<String> for Capability {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        match capability {
            Capability::All => "ALL".to_owned(),
            Capability::One(number) => format!("CAP_{}", CAPABILITIES[number]),
        }
    }
}

/// The capabilities that remain after adding and dropping, in the kernel's order; a dropped one stays dropped
/// unless everything is dropped and it is added back.
#[must_use]
pub fn effective_capabilities(
    privileged: bool,
    add: &[Capability],
    drop: &[Capability],
) -> Vec<&'static str> {
    let has = |list: &[Capability], name: &str| {
        list.iter().any(|c| matches!(c, Capability::One(n) if CAPABILITIES[*n] == name))
    };
    let kept = |name: &&'static str| {
        let name = *name;
        match (privileged, add.contains(&Capability::All), drop.contains(&Capability::All)) {
            (true, ..) => true,
            (_, true, _) => !has(drop, name),
            (_, false, true) => has(add, name),
            _ => (DEFAULT_CAPABILITIES.contains(&name) && !has(drop, name)) || has(add, name),
        }
    };
    CAPABILITIES.into_iter().filter(kept).collect()
}

/// Which system calls are filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// By docker's profile.
    #[default]
    Default,
    /// None are.
    Unconfined,
    /// By this profile, docker's JSON.
    Profile(String),
}

/// One `--security-opt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    /// setuid programs and file capabilities give nothing.
    NoNewPrivileges(bool),
    /// No filter for system calls.
    SeccompUnconfined,
    /// docker's own profile.
    SeccompBuiltin,
    /// The profile in this file.
    SeccompFile(PathBuf),
    /// `/proc` and `/sys` unmasked and writable as the kernel has it.
    SystemPathsUnconfined,
    /// These paths hidden, too.
    Mask(Vec<String>),
    /// These paths neither hidden nor read-only.
    Unmask(Vec<String>),
    /// The container's own control groups writable.
    WritableCgroups(bool),
    /// No AppArmor or SELinux: which is what there is.
    Unlabelled,
}

impl FromStr for SecurityOption {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "no-new-privileges" {
            return Ok(Self::NoNewPrivileges(true));
        }
        let invalid = || Error::invalid(format!("invalid --security-opt 2: \"{text}\""));
        let bare = || Error::invalid(format!("Invalid --security-opt: \"{text}\""));
        let (key, value) = text.split_once(['=', ':']).ok_or_else(bare)?;
        match (key, value) {
            ("no-new-privileges", "true") => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", "false") => Ok(Self::NoNewPrivileges(false)),
            ("seccomp", "unconfined") => Ok(Self::SeccompUnconfined),
            ("seccomp", "builtin") => Ok(Self::SeccompBuiltin),
            ("seccomp", file) if !file.is_empty() => Ok(Self::SeccompFile(file.into())),
            ("systempaths", "unconfined") => Ok(Self::SystemPathsUnconfined),
            ("mask", list) => Ok(Self::Mask(paths(list).ok_or_else(invalid)?)),
            ("unmask", "ALL" | "all") => Ok(Self::SystemPathsUnconfined),
            ("unmask", list) => Ok(Self::Unmask(paths(list).ok_or_else(invalid)?)),
            ("writable-cgroups", "true") => Ok(Self::WritableCgroups(true)),
            ("writable-cgroups", "false") => Ok(Self::WritableCgroups(false)),
            ("apparmor", "unconfined") | ("label", "disable") => Ok(Self::Unlabelled),
            ("apparmor" | "label", _) => {
                Err(Error::unsupported(format!("--security-opt {text} is not supported"))
                    .hint("AppArmor profiles and SELinux labels are not applied by berth"))
            }
            _ => Err(invalid()),
        }
    }
}

/// Absolute paths with colons between them.
fn paths(list: &str) -> Option<Vec<String>> {
    let paths: Vec<String> = list.split(':').map(str::to_owned).collect();
    paths.iter().all(|path| path.starts_with('/')).then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped() {
        let parse = |list: &str| -> Vec<Capability> {
            list.split_whitespace().map(|word| word.parse().unwrap()).collect()
        };
        for (add, drop, has, not) in [
            ("", "", "CHOWN", "SYS_ADMIN"),
            ("sys_admin", "", "SYS_ADMIN", "BPF"),
            ("CAP_NET_ADMIN", "chown", "NET_ADMIN", "CHOWN"),
            ("ALL", "SYS_ADMIN", "BPF", "SYS_ADMIN"),
            ("CHOWN", "ALL", "CHOWN", "KILL"),
            ("ALL", "ALL", "CHOWN", ""),
        ] {
            let capabilities = effective_capabilities(false, &parse(add), &parse(drop));
            assert!(
                capabilities.contains(&has) && !capabilities.contains(&not),
                "+{add} -{drop}: {capabilities:?}"
            );
        }
        assert_eq!(effective_capabilities(false, &[], &[]).len(), 14);
        assert_eq!(effective_capabilities(true, &[], &parse("ALL")).len(), 41);
        assert_eq!("NOPE".parse::<Capability>().unwrap_err().to_string(), "unknown capability: \"CAP_NOPE\"");
    }

    #[test]
    fn security_options() {
        for (text, expected) in [
            ("no-new-privileges", "NoNewPrivileges(true)"),
            ("no-new-privileges:true", "NoNewPrivileges(true)"),
            ("no-new-privileges=false", "NoNewPrivileges(false)"),
            ("seccomp=unconfined", "SeccompUnconfined"),
            ("seccomp:/p.json", "SeccompFile(\"/p.json\")"),
            ("systempaths=unconfined", "SystemPathsUnconfined"),
            ("label:disable", "Unlabelled"),
            ("mask=/a:/b", "Mask([\"/a\", \"/b\"])"),
            ("mask=a", "invalid --security-opt 2: \"mask=a\""),
            ("unmask=/proc/acpi", "Unmask([\"/proc/acpi\"])"),
            ("unmask=ALL", "SystemPathsUnconfined"),
            ("writable-cgroups=true", "WritableCgroups(true)"),
            ("writable-cgroups", "Invalid --security-opt: \"writable-cgroups\""),
            ("apparmor=docker-default", "--security-opt apparmor=docker-default is not supported"),
            ("nonsense", "Invalid --security-opt: \"nonsense\""),
            ("seccomp=", "invalid --security-opt 2: \"seccomp=\""),
        ] {
            let got = text.parse::<SecurityOption>().map_or_else(|e| e.to_string(), |o| format!("{o:?}"));
            assert_eq!(got, expected);
        }
    }
}
