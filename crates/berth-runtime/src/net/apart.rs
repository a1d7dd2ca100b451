//! Where a root's bridges are: on the host's network, or on one of an ordinary user's own.
//!
//! A socket belongs to the network that it was opened in, so opening is what happens there, and little else. Invariant:
//! the calling thread stays where it is.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use berth_oci::{AtPath, Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::attach::inside;
use super::network::Home;

impl Home {
    /// The namespace that the bridges are in, where that is not the host's.
    pub(crate) fn namespace(&self) -> Result<Option<OwnedFd>> {
        let Some(apart) = &self.apart else { return Ok(None) };
        let file = File::open(&apart.namespace).at(&apart.namespace)?;
        Ok(Some(file.into()))
    }

    /// Does `work` where the bridges are.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.namespace()? {
            Some(namespace) => inside(namespace.as_fd(), work),
            None => work(),
        }
    }
}

/// Sees which interfaces are there.
#[derive(Debug)]
pub(crate) struct Presence(OwnedFd);

impl Presence {
    /// Of the network that the bridges of `home` are on.
    pub(crate) fn of(home: &Home) -> Result<Self> {
        home.within(|| {
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
            socket
                .map(Self)
                .map_err(std::io::Error::from)
                .context(|| "cannot ask the kernel for its interfaces")
        })
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, interface: &str) -> bool {
        netdevice::name_to_index(&self.0, interface).is_ok()
    }
}
