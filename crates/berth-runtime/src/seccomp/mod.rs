//! Which system calls a container may make: profile, then a BPF program of our own making.
//!
//! Here: docker's default profile as data, profiles of a runtime specification, and a generator that answers by
//! binary search on the number for every architecture the machine can run. No C library, and no file as a cache:
//! generating takes less than reading one would, and a monitor on standby has the time for it. Invariant: what no rule names gets the profile's default; an architecture
//! the profile does not know is killed.

mod bpf;
mod default;
mod listener;
mod profile;
mod table;

pub(crate) use listener::Listener;

use berth_oci::{Error, Result};
use berth_sys::seccomp::{Instruction, NEW_LISTENER};
use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Docker's capabilities, which most containers have.
const USUAL: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// The filter for them, where it was made before anybody has asked for it.
static FORESEEN: OnceLock<(Capabilities, Filter)> = OnceLock::new();

/// Makes the default filter of most containers now.
pub(crate) fn foresee() {
    FORESEEN.get_or_init(|| {
        let capabilities = Capabilities::from(USUAL);
        let filter = Filter::made_for(&capabilities);
        (capabilities, filter)
    });
}

/// The architectures whose calls a filter can judge on this machine, in the specification's words.
pub(crate) fn architectures() -> Vec<&'static str> {
    table::Family::native().architectures().iter().map(|arch| arch.specification_name()).collect()
}

/// A filter, ready to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    flags: u64,
    /// Where to send the descriptor of stopped calls, and what to say with it.
    listener: Option<(PathBuf, String)>,
}

impl Filter {
    /// Docker's default for a container with these (bounding) capabilities.
    pub(crate) fn default_for(capabilities: &Capabilities) -> Self {
        match FORESEEN.get() {
            Some((foreseen, filter)) if foreseen == capabilities => filter.clone(),
            _ => Self::made_for(capabilities),
        }
    }

    fn made_for(capabilities: &Capabilities) -> Self {
        let family = table::Family::native();
        let program = bpf::generate(&default::profile(capabilities, family), family);
        Self { program, flags: 0, listener: None }
    }

    /// What a runtime specification says.
    pub(crate) fn from_spec(spec: &LinuxSeccomp) -> Result<Self> {
        let family = table::Family::native();
        let profile = profile::Profile::from_spec(spec, family)?;
        let listener = listener_of(spec)?;
        let ask = if listener.is_some() { NEW_LISTENER } else { 0 };
        Ok(Self { program: bpf::generate(&profile, family), flags: flags(spec)? | ask, listener })
    }

    /// Who hears of the calls that this filter stops.
    pub(crate) fn listener_path(&self) -> Option<(&Path, &str)> {
        self.listener.as_ref().map(|(path, metadata)| (path.as_path(), metadata.as_str()))
    }

    /// Puts this process under it for good; answers the descriptor of stopped calls, if it has any.
    pub(crate) fn install(&self) -> std::io::Result<Option<OwnedFd>> {
        berth_sys::seccomp::install(&self.program, self.flags)
    }
}

/// Docker's default in the specification's words, for a runtime that makes its own filter.
pub(crate) fn default_spec(capabilities: &Capabilities) -> Result<LinuxSeccomp> {
    default::profile(capabilities, table::Family::native()).to_spec()
}

/// Stopped calls need somebody who hears of them; and the calls that tell him must not be stopped themselves.
fn listener_of(spec: &LinuxSeccomp) -> Result<Option<(PathBuf, String)>> {
    let stops = |action| action == LinuxSeccompAction::ScmpActNotify;
    let stopped: Vec<_> = spec.syscalls().iter().flatten().filter(|rule| stops(rule.action())).collect();
    if stops(spec.default_action()) {
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be the default action of a seccomp profile"));
    }
    for name in ["sendmsg", "write", "close"] {
        if stopped.iter().any(|rule| rule.names().iter().any(|n| n == name)) {
            return Err(Error::invalid(format!(
                "SCMP_ACT_NOTIFY cannot be used for the system call `{name}`"
            )));
        }
    }
    match spec.listener_path().clone().filter(|path| !path.as_os_str().is_empty()) {
        // Also when nothing is stopped: whoever listens waits for the container's introduction.
        Some(path) => Ok(Some((path, spec.listener_metadata().clone().unwrap_or_default()))),
        None if stopped.is_empty() => Ok(None),
        None => Err(Error::invalid("SCMP_ACT_NOTIFY needs `linux.seccomp.listenerPath`")),
    }
}

fn flags(spec: &LinuxSeccomp) -> Result<u64> {
    const WAIT_KILLABLE_RECEIVE: u64 = 1 << 5;
    spec.flags().iter().flatten().try_fold(0, |bits, flag| match flag {
        // Every thread of a process with one thread; together with a listener the kernel wants another flag too.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Ok(bits),
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => Ok(bits | libc::SECCOMP_FILTER_FLAG_LOG),
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Ok(bits | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            // Without a listener it means nothing, and the kernel says so.
            Ok(if listener_of(spec)?.is_some() { bits | WAIT_KILLABLE_RECEIVE } else { bits })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_foreseen_is_what_would_be_made() {
        let usual = Capabilities::from(USUAL);
        let made = Filter::default_for(&usual);
        foresee();
        assert_eq!(Filter::default_for(&usual), made);
        let more = usual.into_iter().chain([Capability::SysAdmin]).collect();
        assert_eq!(Filter::default_for(&more), Filter::made_for(&more));
        assert_ne!(Filter::default_for(&more), made);
    }
}
