//! What the new process does between `clone3` and `execve`: the container's first process, or an exec's.
//!
//! The monitor has one thread, so the child is an ordinary process on a copy of its memory: it may allocate. Not
//! here: anything the monitor does. Invariant: whatever goes wrong is told through the [`Channel`]; the program runs
//! only with everything done that was asked.

mod attributes;
mod become_program;
mod channel;
mod container;
mod exec;
mod gate;
mod identity;
mod limits;
mod lookup;
mod reaper;
mod surroundings;

pub(crate) use attributes::has_selinux;
pub(crate) use channel::{Channel, Message};
pub(crate) use container::{ContainerPlan, Inherited, container};
pub(crate) use exec::{ExecPlan, exec};
pub(crate) use gate::Gate;
pub(crate) use identity::{CAPABILITIES, left_out};
pub(crate) use limits::take_descriptors;
pub(crate) use surroundings::{become_root, has_new};

use berth_oci::{Context, Result};
use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use std::io;
use std::os::fd::OwnedFd;

/// What becomes standard input, output and error.
#[derive(Debug)]
pub(crate) enum Stdio {
    /// Three descriptors.
    Pipes([OwnedFd; 3]),
    /// A terminal, which the child opens in the container and sends to the monitor.
    Terminal { rows: u16, columns: u16 },
}

impl Stdio {
    /// Pipes become this user's and group's: the root of a user namespace may not take them, and programs reopen them
    /// by name (`/dev/stdout`).
    pub(crate) fn give(&self, (uid, gid): (u32, u32)) -> Result<()> {
        let Self::Pipes(descriptors) = self else { return Ok(()) };
        for descriptor in descriptors {
            let stat = fstat(descriptor).map_err(io::Error::from)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
                fchown(descriptor, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(io::Error::from)
                    .context(|| "cannot give a pipe to the container's root")?;
            }
        }
        Ok(())
    }
}
