//! What lies in a container's directory, and who may use it.

use berth_oci::{AtPath, Error, Result};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One container's directory.
#[derive(Clone, Debug)]
pub(super) struct Place(PathBuf);

/// Whoever connects here starts the container. It is there as long as nobody has.
const START: &str = "start";

impl Place {
    /// Of the container `id`, there or not.
    pub(super) fn of(root: &Path, id: &str) -> Result<Self> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        let wrong = match id.chars().find(|c| !is_name(*c)) {
            Some(character) => {
                Some(format!("invalid character `{character}` in the ID: `{id}` is no container ID"))
            }
            None if id.is_empty() || id.starts_with('.') => Some(format!("invalid container ID `{id}`")),
            None => None,
        };
        match wrong {
            Some(words) => Err(Error::invalid(words)
                .hint("it is made of letters, digits and any of _+-. and does not begin with a dot")),
            None => Ok(Self(root.join(id))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it; a conflict when the name is taken.
    pub(super) fn make(&self) -> Result<()> {
        let root = self.0.parent().expect("a name in a directory");
        DirBuilder::new().recursive(true).mode(0o711).create(root).at(root)?;
        match DirBuilder::new().mode(0o711).create(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::conflict("container with given ID already exists"))
            }
            result => result.at(&self.0),
        }
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// The bundle's configuration as it was when the container was made.
    pub(super) fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// Whether the program waits for its start.
    pub(super) fn awaits_start(&self) -> bool {
        self.0.join(START).exists()
    }

    /// The socket that the container's process waits at.
    pub(super) fn listen(&self) -> Result<OwnedFd> {
        let doing = self.0.join(START);
        let socket = new_socket().at(&doing)?;
        let (_directory, address) = self.address(START)?;
        bind(&socket, &address).map_err(io::Error::from).at(&doing)?;
        listen(&socket, 1).map_err(io::Error::from).at(&doing)?;
        Ok(socket)
    }

    /// Connects to the waiting process; for one caller only, however many try.
    pub(super) fn open_gate(&self) -> Result<Option<OwnedFd>> {
        const TAKEN: &str = "starting";
        match fs::rename(self.0.join(START), self.0.join(TAKEN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.at(self.0.join(START))?,
        }
        let socket = new_socket().at(&self.0)?;
        let (_directory, address) = self.address(TAKEN)?;
        connect(&socket, &address).map_err(io::Error::from).at(self.0.join(TAKEN))?;
        fs::remove_file(self.0.join(TAKEN)).at(self.0.join(TAKEN))?;
        Ok(Some(socket))
    }

    /// The name of the socket that its program says at that it is ready.
    pub(super) const NOTIFY: &str = "notify.sock";

    /// Makes the directory for that socket, which a user of the container's, too, must be able to pass through.
    pub(super) fn make_notify(&self) -> Result<PathBuf> {
        let directory = self.notify();
        fs::create_dir(&directory).at(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).at(&directory)?;
        Ok(directory)
    }

    pub(super) fn has_notify(&self) -> bool {
        self.notify().exists()
    }

    /// That socket, for whoever runs in the container.
    pub(super) fn listen_for_notify(&self) -> Result<OwnedFd> {
        let path = self.notify().join(Self::NOTIFY);
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)
            .at(&path)?;
        let (_directory, address) = self.address(&format!("notify/{}", Self::NOTIFY))?;
        bind(&socket, &address).map_err(io::Error::from).at(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).at(&path)?;
        Ok(socket)
    }

    fn notify(&self) -> PathBuf {
        self.0.join("notify")
    }

    /// The path may be too long for a socket's address: it is reached through a descriptor of its directory.
    fn address(&self, name: &str) -> Result<(File, SocketAddrUnix)> {
        let directory = File::open(&self.0).at(&self.0)?;
        let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
        let address = SocketAddrUnix::new(path).map_err(io::Error::from).at(&self.0)?;
        Ok((directory, address))
    }

    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.at(&self.0),
        }
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_and_stay_inside() {
        for (id, good) in [
            ("a", true),
            ("a_B.c+1-", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            (".a", false),
            ("a b", false),
        ] {
            assert_eq!(Place::of(Path::new("/r"), id).is_ok(), good, "{id}");
        }
    }

    #[test]
    fn one_caller_passes_the_gate() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(&dir.path().join("x".repeat(150)), "c").unwrap();
        place.make().unwrap();
        assert_eq!(place.make().unwrap_err().kind(), berth_oci::Kind::Conflict);
        let _listener = place.listen().unwrap();
        assert!(place.awaits_start());
        assert!(place.open_gate().unwrap().is_some());
        assert!(!place.awaits_start() && place.open_gate().unwrap().is_none());
    }
}
