//! A bundle in, a running process out.
//!
//! Here: everything between a runtime specification and `execve`, a monitor per container, and [`net`]: bridges,
//! addresses and published ports. Not here: images, registries, the names of restart policies, Docker's JSON, default
//! paths. Invariant: whatever happens to a caller or a monitor, the state on disk never claims a process that is not there.

mod birth;
mod bundle;
mod cgroup;
mod circumstances;
mod connection;
pub mod dns;
mod ended;
mod external;
mod health;
mod hook;
mod init;
mod journal;
mod life;
pub mod log;
pub mod memory;
mod monitor;
mod mount;
pub mod net;
pub mod oci;
mod program;
mod protocol;
mod recovery;
mod relay;
pub mod rootless;
mod seccomp;
mod standby;
mod state;
mod sysctl;
mod systemd;
mod usage;
mod user;
mod user_namespace;
mod validate;

pub use bundle::{
    Bundle, Exec, Exit, LinkedHost, Log, LogFile, LogJournal, LogSyslog, NamesPlan, RootfsMount, Seccomp,
    Started, Stdin, Streams, SyslogAddress, SyslogFormat,
};
pub use cgroup::{Usage, groups_below, remove_group, remove_parent};
pub use circumstances::{Asked, Circumstances, OutOfMemory};
pub use connection::{Connection, Event, Input, create};
pub use ended::OfProcess;
pub use health::{Health, HealthStatus, Probe};
pub use journal::{Happened, Journal, JournalReader};
pub use life::{HealthCheck, JournalSource, Life, Restart, Stop};
pub use mount::{in_assembled_root, in_root, open_root};
pub use program::peculiarity_in;
pub use standby::Standby;
pub use state::{Claim, State, Status, claim, is_attended, read as state, remove_run_dir};
pub use sysctl::is_of_ipc;
pub use usage::usage;
pub use user::{Identity, resolve_user};

/// Docker's exit code for a container or exec that could not be started: 127 when there is no such program, 126 when
/// it cannot be executed, 125 for anything else.
#[must_use]
pub fn exit_code(error: &berth_oci::Error) -> i32 {
    match error.kind() {
        berth_oci::Kind::NotFound => 127,
        berth_oci::Kind::Denied => 126,
        _ => 125,
    }
}

/// The calling thread makes files as the root of a container whose users are not the host's: only who has a number there
/// can make something in its file system. Its other powers stay.
///
/// # Errors
/// The kernel does not let us.
pub fn become_user_of_files(uid: u32, gid: u32) -> berth_oci::Result<()> {
    use berth_oci::Context;
    berth_sys::process::as_user_of_files(uid, gid).context(|| "cannot act as the container's root")
}

/// Whether containers below the cgroup `parent` have cgroups: an ordinary user's may have none.
///
/// # Errors
/// The machine has none at all.
pub fn has_cgroups(parent: &str) -> berth_oci::Result<bool> {
    let is_asked_for = cgroup::Layout::is_beyond_reach(parent)? && systemd::has_user_manager()?;
    Ok(is_asked_for || !cgroup::Layout::for_parent(parent)?.hierarchies.is_empty())
}

/// The last of the groups that containers can have: all of the kernel's, but for an ordinary user's berth.
///
/// # Errors
/// `/proc` is not there.
pub fn last_group() -> berth_oci::Result<u32> {
    use berth_oci::AtPath;
    berth_sys::users::last_group().at("/proc/self/gid_map")
}

/// The users and groups of an ordinary user's berth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    /// Who root there is outside: the user himself, and his group.
    pub caller: (u32, u32),
    /// The last of the users that containers can have.
    pub last_user: u32,
    /// The last of the groups.
    pub last_group: u32,
}

/// Those of this process.
///
/// # Errors
/// `/proc` is not there.
pub fn users() -> berth_oci::Result<Users> {
    use berth_oci::AtPath;
    Ok(Users {
        caller: berth_sys::users::root_outside().at("/proc/self/uid_map")?,
        last_user: berth_sys::users::last_user().at("/proc/self/uid_map")?,
        last_group: last_group()?,
    })
}

/// The hidden roles of this program: call it first thing in `main`, with the program's arguments. `Some` is the status
/// to exit with; `None` means that these are ordinary arguments.
#[must_use]
pub fn role(arguments: &[std::ffi::OsString]) -> Option<i32> {
    match arguments.get(1)?.to_str()? {
        standby::MONITOR_ROLE => Some(monitor::role()),
        rootless::ROLE => Some(rootless::role(arguments)),
        log::WRITER_ROLE => Some(log::writer_role()),
        log::PACKER_ROLE => Some(log::packer_role()),
        _ => None,
    }
}
