//! Readiness: the service manager that has started us listens at a socket, and is to hear from the container's program.
//!
//! The program finds a socket of the container's own. Whoever starts it reads there until it is ready, and tells the
//! manager. Invariant: of what a program says, only that it is ready is passed on; whose word that is, is ours to say.

use super::place::Place;
use berth_oci::{Context, Error, Result};
use oci_spec::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the program finds the socket.
const INSIDE: &str = "/run/notify";
/// What says so to it, as to every program of a service manager.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// How long a manager may take to read what we have said. It does not know us any more when we have gone.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Gives the container a place for the socket, and says to its program where it is.
pub(super) fn offer(spec: &mut Spec, place: &Place) -> Result<()> {
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(INSIDE).typ("bind").source(place.make_notify()?);
    let mount = mount.options(options).build().expect("a destination is enough");
    spec.set_mounts(Some(spec.mounts().iter().flatten().cloned().chain([mount]).collect()));
    if let Some(process) = spec.process_mut() {
        let environment = process.env_mut().get_or_insert_default();
        environment.retain(|variable| variable.split('=').next() != Some(VARIABLE));
        environment.push(format!("{VARIABLE}={INSIDE}/{}", Place::NOTIFY));
    }
    Ok(())
}

/// A socket that the container's program says at that it is ready.
#[derive(Debug)]
pub struct Readiness {
    ours: UnixDatagram,
    manager: UnixDatagram,
}

impl Readiness {
    /// Listens for a container, if it has been given the place; `manager` is the address of who is to be told.
    pub(super) fn of(place: &Place, manager: Option<&OsStr>) -> Result<Option<Self>> {
        let Some(address) = manager.filter(|_| place.has_notify()) else { return Ok(None) };
        let manager = UnixDatagram::unbound()
            .and_then(|socket| socket.connect_addr(&parse(address)?).map(|()| socket))
            .context(|| format!("cannot speak to `{VARIABLE}={}`", address.display()))?;
        Ok(Some(Self { ours: place.listen_for_notify()?.into(), manager }))
    }

    /// Waits until the program is ready, and tells the manager so, and that the process is this one; or until that ends.
    ///
    /// # Errors
    /// The manager does not listen.
    pub(super) fn wait(&self, pid: i32, process: &OwnedFd) -> Result<()> {
        loop {
            let mut polled = [PollFd::new(&self.ours, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
            match poll(&mut polled, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::from(io::Error::from(error))),
            }
            let [said, ended] = polled.map(|fd| !fd.revents().is_empty());
            if said && self.hear()? {
                return self.tell(&format!("READY=1\nMAINPID={pid}"));
            }
            if ended && !said {
                return Ok(());
            }
        }
    }

    /// Reads one message; where it says that the program is ready, the manager is told. Whether it did.
    ///
    /// # Errors
    /// The manager does not listen.
    pub fn pass_on(&self) -> Result<bool> {
        let is_ready = self.hear()?;
        if is_ready {
            self.tell("READY=1")?;
        }
        Ok(is_ready)
    }

    fn hear(&self) -> Result<bool> {
        let mut bytes = [0; 4096];
        let length = self.ours.recv(&mut bytes).context(|| "cannot hear whether the program is ready")?;
        Ok(bytes[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1"))
    }

    /// Says it, and waits until it has been read.
    fn tell(&self, words: &str) -> Result<()> {
        self.manager.send(words.as_bytes()).context(|| "the service manager does not listen")?;
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from).context(|| "cannot make a pipe")?;
        let fds = [write.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.manager, &[IoSlice::new(b"BARRIER=1")], &mut control, SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
            .context(|| "the service manager does not listen")?;
        drop(write);
        // Its end closes when the message has been read; if it never is, we have said what there was to say.
        let _ = poll(&mut [PollFd::new(&read, PollFlags::empty())], Some(&PATIENCE));
        Ok(())
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

/// A path, or a name without a file behind `@`.
fn parse(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(address),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a path nor begins with @")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_names() {
        for (text, good) in
            [("/run/x", true), ("@x", true), ("run/x", false), ("", false), ("vsock:2:1", false)]
        {
            assert_eq!(parse(OsStr::new(text)).is_ok(), good, "{text}");
        }
    }
}
