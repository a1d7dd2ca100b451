//! Whoever answers the calls that a filter stops: a socket of the host, which gets a descriptor for them.
//!
//! Invariant: the connection is made before the container's root is entered, because the path is the host's.

use berth_oci::{AtPath, Context, Error, Result};
use oci_spec::runtime::{ContainerProcessState, SECCOMP_FD_NAME, State};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection to it, and what to say.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixStream,
    introduction: Vec<u8>,
}

impl Listener {
    /// Connects, to introduce the process `pid` of this container.
    pub(crate) fn connect((path, metadata): (&Path, &str), container: State, pid: i32) -> Result<Self> {
        let socket = UnixStream::connect(path).at(path)?;
        let mut state = ContainerProcessState::default();
        state.set_version(container.version().clone());
        state.set_fds(vec![SECCOMP_FD_NAME.to_owned()]);
        state.set_pid(pid);
        state.set_metadata(Some(metadata.to_owned()));
        state.set_state(container);
        let introduction = serde_json::to_vec(&state)
            .map_err(|e| Error::internal("cannot write the state of a process").caused_by(e))?;
        Ok(Self { socket, introduction })
    }

    /// Gives the descriptor of stopped calls away.
    pub(crate) fn hand_over(&self, calls: OwnedFd) -> Result<()> {
        let fds = [calls.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.socket, &[IoSlice::new(&self.introduction)], &mut control, SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
            .context(|| "cannot give the seccomp listener its descriptor")?;
        Ok(())
    }
}
