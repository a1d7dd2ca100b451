//! Where a prepared process waits until its program may run.

use super::Channel;
use berth_oci::{Context, Result};
use rustix::net::{SocketFlags, accept_with};
use std::io;
use std::os::fd::OwnedFd;

/// Who says when.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Whoever made the process, through the channel it already has.
    Parent,
    /// Whoever connects to this socket, long after the process's parent has gone.
    Socket(OwnedFd),
}

impl Gate {
    /// Waits; afterwards `channel` leads to whoever opened the gate, and closes when the program runs.
    pub(super) fn pass(self, channel: &mut Channel) -> Result<()> {
        if let Self::Socket(listener) = self {
            let socket = accept_with(&listener, SocketFlags::CLOEXEC).map_err(io::Error::from);
            *channel = Channel::of(socket.context(|| "nobody can start this container any more")?);
        }
        channel.wait_for_go()
    }
}
