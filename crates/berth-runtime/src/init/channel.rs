//! The conversation between a child and its monitor until the program runs: "ready", "go", and then silence, or
//! what went wrong. The end of the channel without a fault means that `execve` has closed it.

use crate::protocol::Fault;
use berth_oci::{Context, Error, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Namespaces and mounts are there, the root is not entered yet: the moment of hooks. Waits for "go".
    Surrounded,
    /// All is prepared; the monitor's end of the terminal, if there is one, comes along.
    Ready { warnings: Vec<String> },
    /// It cannot go on.
    Failed(Fault),
}

/// Longer messages than this do not occur: warnings and errors are lines.
const LIMIT: usize = 64 * 1024;

impl Channel {
    /// The monitor's end and the child's. Packets, so that a message is whole or absent.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(io::Error::from)
                .context(|| "cannot make a socket pair")?;
        Ok((Self(ours), Self(theirs)))
    }

    /// An end that came from elsewhere: a connected packet socket.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Says something, with a descriptor or without.
    pub(crate) fn send(&self, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = serde_json::to_vec(message)
            .map_err(|e| Error::internal("cannot write a message").caused_by(e))?;
        let bytes = &bytes[..bytes.len().min(LIMIT)];
        let fds = fd.map(|fd| [fd]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
            .context(|| "the monitor does not listen")?;
        Ok(())
    }

    /// What the other end says; `None` when it has closed.
    pub(crate) fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = vec![0; LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut hear = || recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = match hear() {
            // It has closed without having read all of ours. What it had said before, the kernel keeps for us.
            Err(rustix::io::Errno::CONNRESET) => hear(),
            received => received,
        };
        let received = received.map_err(io::Error::from).context(|| "cannot hear the container's process")?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&bytes[..received.bytes])
            .map_err(|e| Error::corrupt("the container's process sent something unreadable").caused_by(e))?;
        let mut fds = control.drain().filter_map(|m| match m {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        Ok(Some((message, fds.next().and_then(|mut fds| fds.next()))))
    }

    /// The monitor's word that the program may run.
    pub(crate) fn go(&self) -> Result<()> {
        rustix::io::write(&self.0, b"go")
            .map_err(io::Error::from)
            .context(|| "the container's process has gone")?;
        Ok(())
    }

    /// Waits for [`Self::go`].
    pub(crate) fn wait_for_go(&self) -> Result<()> {
        let mut bytes = [0; 8];
        match rustix::io::read(&self.0, &mut bytes)
            .map_err(io::Error::from)
            .context(|| "cannot hear the monitor")?
        {
            0 => Err(Error::cancelled("the monitor has ended")),
            _ => Ok(()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_though_ours_were_not_read() {
        let (ours, theirs) = Channel::pair().unwrap();
        ours.go().unwrap();
        theirs.send(&Message::Failed(Fault::from(&Error::denied("because"))), None).unwrap();
        drop(theirs);
        let Some((Message::Failed(fault), None)) = ours.receive().unwrap() else { panic!("it said why") };
        assert_eq!(Error::from(fault).to_string(), "because");
        assert!(ours.receive().unwrap().is_none());
    }
}
