//! A monitor before it has a container: starting one takes about as long as finding out what it is to do, so whoever
//! knows that a container will be wanted starts it first.
//!
//! Invariant: on standby it holds nothing but itself, and ends when whoever started it goes.

use crate::bundle::Bundle;
use crate::protocol::{self, Channel, HEADER, Request};
use crate::state::Lock;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::spawn::{self, Handed};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The monitor finds its connection to its creator here.
pub(crate) const CREATOR_FD: i32 = 3;
/// The read-only mount of its own program, open for its lifetime: closing the last descriptor of a detached mount
/// waits for an RCU grace period (10 ms and more), which here costs nobody anything.
pub(crate) const PROGRAM_FD: i32 = 4;
/// The hidden role, and what `ps` shows of it.
pub(crate) const MONITOR_ROLE: &str = "__monitor";

/// A monitor that waits to hear what its container is.
#[derive(Debug)]
pub struct Standby {
    id: String,
    socket: UnixStream,
}

impl Standby {
    /// Starts the program `exe` as the monitor of a container that will have this id.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(exe: &Path, id: &str) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair().context(|| "cannot make a socket pair")?;
        spawn_monitor(exe, id, &theirs)?;
        Ok(Self { id: id.to_owned(), socket })
    }

    /// Whose monitor it will be.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives it its container, with the right to write the state of it.
    pub(crate) fn begin(self, bundle: &Bundle, lock: &Lock) -> Result<UnixStream> {
        let frame = protocol::encode(&Request::Create(Box::new(bundle.clone())))?;
        let (header, payload) = frame.split_at(HEADER);
        let fds = [lock.file().as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.socket, &[IoSlice::new(header)], &mut control, SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
            .and_then(|_| (&self.socket).write_all(payload))
            .context(|| "the container's monitor has ended")?;
        Ok(self.socket)
    }
}

/// The other end of [`Standby::begin`].
pub(crate) fn receive(mut socket: &UnixStream) -> Result<(Bundle, Lock)> {
    let mut header = [0; HEADER];
    let (count, lock) = receive_lock(socket, &mut header)?;
    socket.read_exact(&mut header[count..]).context(|| "the creator has gone")?;
    let (channel, length) = protocol::parse_header(header)?;
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).context(|| "the creator has gone")?;
    match (channel, protocol::decode(&payload)?, lock) {
        (Channel::Message, Request::Create(bundle), Some(lock)) => Ok((*bundle, Lock::inherited(lock))),
        _ => Err(Error::corrupt("the creator did not send a bundle and its lock")),
    }
}

/// The first bytes, and the descriptor that comes with them.
fn receive_lock(socket: &UnixStream, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(bytes)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(io::Error::from)
        .context(|| "the creator has gone")?;
    let lock = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, lock))
}

fn spawn_monitor(exe: &Path, id: &str, socket: &UnixStream) -> Result<()> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| Error::invalid("a path or an id contains a zero byte"))
    };
    let arguments = [text(b"berth-monitor")?, text(MONITOR_ROLE.as_bytes())?, text(id.as_bytes())?];
    let null = File::options().read(true).write(true).open("/dev/null").at("/dev/null")?;
    let program = crate::oci::read_only_copy(exe)?;
    let handed = [
        Handed { fd: null.as_fd(), number: 0 },
        Handed { fd: null.as_fd(), number: 1 },
        Handed { fd: null.as_fd(), number: 2 },
        Handed { fd: socket.as_fd(), number: CREATOR_FD },
        Handed { fd: program.as_fd(), number: PROGRAM_FD },
    ];
    // By the number it has there: ours may be given to something else on the way.
    let path = format!("/proc/self/fd/{PROGRAM_FD}");
    spawn::detached(&text(path.as_bytes())?, &arguments, &[], &handed)
        .context(|| format!("cannot start the monitor `{}`", exe.display()))
}
