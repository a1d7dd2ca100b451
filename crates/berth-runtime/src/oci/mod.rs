//! Containers without a monitor, as the OCI runtime specification's command line has them: whoever creates one goes
//! away, and what is known of it lies in a directory.
//!
//! Here: every operation as a method of [`Runtime`], on any bundle. Not here: arguments, what is printed. Invariant: a
//! record on disk never claims a process that is not there: a number counts only together with the process's birth.

mod create;
mod delete;
mod exec;
mod observe;
mod place;
mod protect;
mod readiness;
mod record;
mod signal;
mod start;
mod template;
mod terminal;
mod understand;
mod update;

/// What a container uses.
pub use crate::cgroup::Statistics;
pub use create::Create;
pub use exec::{Changes, ExecOptions};
pub use observe::{Follower, Happening};
pub use readiness::Readiness;
pub use record::{Condition, View};
pub use start::Started;
pub use template::{SPECIFICATION, default_spec, default_spec_for, features};
pub use understand::{Understood, understand};

/// The types of the runtime specification.
pub use oci_spec::runtime as specification;
pub use protect::protect_program;
pub(crate) use protect::read_only_copy;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// All containers of one directory.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: PathBuf,
    by_systemd: bool,
}

/// A process that was started for a caller.
#[derive(Debug)]
pub struct Child {
    /// Its number on the host.
    pub pid: i32,
    /// The process itself, whatever becomes of the number.
    pub pidfd: OwnedFd,
    /// The other end of its terminal, unless that went to a console socket.
    pub terminal: Option<OwnedFd>,
    /// What could not be done as asked, and what was done instead.
    pub warnings: Vec<String>,
}

impl Runtime {
    /// The containers whose records are in `root`, which is made when it is needed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, by_systemd: false }
    }

    /// Whether systemd makes the cgroups of containers that are made from here on.
    #[must_use]
    pub fn with_systemd(mut self, by_systemd: bool) -> Self {
        self.by_systemd = by_systemd;
        self
    }
}
