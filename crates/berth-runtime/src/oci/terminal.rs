//! Handing a terminal over to whoever looks after it.

use berth_oci::{AtPath, Context, Error, Result};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Sends the terminal's other end to the socket at `path`; without one it stays the caller's.
pub(super) fn hand_over(master: Option<OwnedFd>, path: Option<&Path>) -> Result<Option<OwnedFd>> {
    let Some(path) = path else { return Ok(master) };
    let master =
        master.ok_or_else(|| Error::invalid("a console socket was given, but there is no terminal"))?;
    let socket = UnixStream::connect(path).at(path)?;
    let fds = [master.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    // The text is the terminal's name, which tells a reader only that it is one.
    sendmsg(&socket, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)
        .map_err(io::Error::from)
        .context(|| format!("cannot hand the terminal over to `{}`", path.display()))?;
    Ok(None)
}
