//! Resource limits and the OOM killer's order, as far as this process may set them.
//!
//! Raising a limit above the hard one, or protecting from the OOM killer, needs CAP_SYS_RESOURCE. Where root lacks
//! it, the nearest possible value is set and a warning says so: a container that starts beats one that does not.

use berth_oci::{AtPath, Context, Error, Result};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;
use std::sync::OnceLock;

fn resource(kind: PosixRlimitType) -> (Resource, &'static str) {
    match kind {
        PosixRlimitType::RlimitCpu => (Resource::Cpu, "cpu"),
        PosixRlimitType::RlimitFsize => (Resource::Fsize, "fsize"),
        PosixRlimitType::RlimitData => (Resource::Data, "data"),
        PosixRlimitType::RlimitStack => (Resource::Stack, "stack"),
        PosixRlimitType::RlimitCore => (Resource::Core, "core"),
        PosixRlimitType::RlimitRss => (Resource::Rss, "rss"),
        PosixRlimitType::RlimitNproc => (Resource::Nproc, "nproc"),
        PosixRlimitType::RlimitNofile => (Resource::Nofile, "nofile"),
        PosixRlimitType::RlimitMemlock => (Resource::Memlock, "memlock"),
        PosixRlimitType::RlimitAs => (Resource::As, "as"),
        PosixRlimitType::RlimitLocks => (Resource::Locks, "locks"),
        PosixRlimitType::RlimitSigpending => (Resource::Sigpending, "sigpending"),
        PosixRlimitType::RlimitMsgqueue => (Resource::Msgqueue, "msgqueue"),
        PosixRlimitType::RlimitNice => (Resource::Nice, "nice"),
        PosixRlimitType::RlimitRtprio => (Resource::Rtprio, "rtprio"),
        PosixRlimitType::RlimitRttime => (Resource::Rttime, "rttime"),
    }
}

/// What this process had before it took more descriptors for itself.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process have so many descriptors, or as many as it may; its containers' processes have what it had.
pub(crate) fn take_descriptors(wanted: u64) -> Result<()> {
    let given = getrlimit(Resource::Nofile);
    let most = given.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if !below(given.current, Some(most)) {
        return Ok(());
    }
    let _ = GIVEN.set(given);
    let more = Rlimit { current: Some(most), ..given };
    setrlimit(Resource::Nofile, more).map_err(io::Error::from).context(|| cannot("nofile"))
}

/// Sets them, for this process.
pub(super) fn set_limits(limits: &[PosixRlimit], warnings: &mut Vec<String>) -> Result<()> {
    if let Some(given) = GIVEN.get() {
        setrlimit(Resource::Nofile, *given).map_err(io::Error::from).context(|| cannot("nofile"))?;
    }
    for limit in limits {
        let (resource, name) = resource(limit.typ());
        let wanted = Rlimit { current: number(limit.soft()), maximum: number(limit.hard()) };
        if below(wanted.maximum, wanted.current) {
            return Err(Error::invalid(format!("the soft limit of `{name}` is above its hard limit")));
        }
        match setrlimit(resource, wanted) {
            Ok(()) => {}
            Err(Errno::PERM) => {
                let hard = getrlimit(resource).maximum;
                let possible = clamp(&wanted, hard);
                warnings.push(format!(
                    "the limit `{name}` is {}, the most this machine allows",
                    text(possible.maximum)
                ));
                setrlimit(resource, possible).map_err(io::Error::from).context(|| cannot(name))?;
            }
            Err(error) => return Err(io::Error::from(error)).context(|| cannot(name)),
        }
    }
    Ok(())
}

fn cannot(name: &str) -> String {
    format!("cannot set the limit `{name}`")
}

/// The specification's "unlimited" is all ones, the kernel's is no number.
fn number(limit: u64) -> Option<u64> {
    if limit == u64::MAX { None } else { Some(limit) }
}

/// `None` is unlimited.
fn below(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn clamp(wanted: &Rlimit, hard: Option<u64>) -> Rlimit {
    let least = |limit| if below(hard, limit) { hard } else { limit };
    Rlimit { current: least(wanted.current), maximum: least(wanted.maximum) }
}

fn text(limit: Option<u64>) -> String {
    limit.map_or("unlimited".into(), |limit| limit.to_string())
}

/// How soon the OOM killer takes this process, -1000 (never) to 1000.
pub(super) fn set_oom_score_adj(value: i32, warnings: &mut Vec<String>) -> Result<()> {
    let path = "/proc/self/oom_score_adj";
    // Our parent's, usually: nobody has to be allowed to change it.
    if fs::read_to_string(path).at(path)?.trim() == value.to_string() {
        return Ok(());
    }
    match fs::write(path, value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let current = fs::read_to_string(path).at(path)?;
            warnings
                .push(format!("oom_score_adj is {}, this machine does not allow {value}", current.trim()));
            Ok(())
        }
        result => result.at(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_above_the_hard_one_is_lowered_to_it() {
        for (soft, hard, machine, expected) in [
            (Some(10), Some(20), Some(15), (Some(10), Some(15))),
            (Some(18), Some(20), Some(15), (Some(15), Some(15))),
            (None, None, Some(15), (Some(15), Some(15))),
            (Some(10), Some(20), None, (Some(10), Some(20))),
        ] {
            let got = clamp(&Rlimit { current: soft, maximum: hard }, machine);
            assert_eq!((got.current, got.maximum), expected);
        }
    }
}
