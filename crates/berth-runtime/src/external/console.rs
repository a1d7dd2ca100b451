//! The socket over which a runtime hands the container's terminal to us.
//!
//! Invariant: its path is short, whatever the directory's is: the address of a socket has 108 bytes.

use berth_oci::{AtPath, Context, Error, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// It, listening.
#[derive(Debug)]
pub(super) struct Console {
    listener: UnixListener,
    /// Inherited by the runtime, which finds the socket in there.
    directory: File,
}

impl Console {
    pub(super) fn listen(place: &Path) -> Result<Self> {
        let directory = File::open(place).at(place)?;
        let path = in_directory(&directory);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&path),
            _ => {}
        }
        let listener = UnixListener::bind(&path).at(&path)?;
        listener.set_nonblocking(true).at(&path)?;
        fcntl_setfd(&directory, FdFlags::empty()).map_err(io::Error::from).at(place)?;
        Ok(Self { listener, directory })
    }

    /// As the runtime reaches it.
    pub(super) fn path(&self) -> PathBuf {
        in_directory(&self.directory)
    }

    /// What it has sent before it said that it was done.
    pub(super) fn receive(self) -> Result<OwnedFd> {
        let missing = || Error::corrupt("the runtime has sent no terminal");
        let (socket, _) = self.listener.accept().map_err(|error| missing().caused_by(error))?;
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)
            .context(|| "cannot hear the runtime")?;
        let mut sent = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        sent.next().and_then(|mut fds| fds.next()).ok_or_else(missing)
    }
}

fn in_directory(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/console", directory.as_raw_fd()))
}
