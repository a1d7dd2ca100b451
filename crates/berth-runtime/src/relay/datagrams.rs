//! A UDP port: each sender gets a socket of its own towards the container, so that answers find back.
//!
//! Invariant: at most [`MOST_SENDERS`] are remembered, each for [`PATIENCE`] after its last word.

use super::towards;
use berth_oci::{Context, Result};
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, recvfrom, send, sendto};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

const MOST_SENDERS: usize = 256;
const PATIENCE: Duration = Duration::from_secs(90);
const LONGEST: usize = 65_535;
/// How many are taken before other things have their turn.
const AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Datagrams {
    socket: OwnedFd,
    to: SocketAddr,
    senders: BTreeMap<SocketAddr, Sender>,
}

#[derive(Debug)]
struct Sender {
    socket: OwnedFd,
    deadline: Instant,
}

impl Datagrams {
    pub(super) fn new(socket: OwnedFd, to: SocketAddr) -> Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)
            .map_err(std::io::Error::from)
            .context(|| "cannot listen on a published port")?;
        Ok(Self { socket, to, senders: BTreeMap::new() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The sockets on which the container answers, by whom it answers.
    pub(super) fn answers(&self) -> impl Iterator<Item = (SocketAddr, BorrowedFd<'_>)> {
        self.senders.iter().map(|(of, sender)| (*of, sender.socket.as_fd()))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.senders.values().map(|sender| sender.deadline).min()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.senders.retain(|_, sender| sender.deadline > now);
    }

    /// From the outside.
    pub(super) fn receive(&mut self, namespace: Option<&OwnedFd>) {
        let mut bytes = vec![0; LONGEST];
        for _ in 0..AT_ONCE {
            let Ok((count, _, from)) = recvfrom(&self.socket, &mut bytes[..], RecvFlags::empty()) else {
                return;
            };
            let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
            if let Some(sender) = self.sender(from, namespace) {
                sender.deadline = Instant::now() + PATIENCE;
                // A datagram may be lost; who sent it knows.
                let _ = send(&sender.socket, &bytes[..count], SendFlags::NOSIGNAL);
            }
        }
    }

    /// From the container.
    pub(super) fn answer(&mut self, of: SocketAddr) {
        let Some(sender) = self.senders.get_mut(&of) else { return };
        let mut bytes = vec![0; LONGEST];
        for _ in 0..AT_ONCE {
            let Ok((count, _)) = recv(&sender.socket, &mut bytes[..], RecvFlags::empty()) else { return };
            sender.deadline = Instant::now() + PATIENCE;
            let _ = sendto(&self.socket, &bytes[..count], SendFlags::NOSIGNAL, &of);
        }
    }

    fn sender(&mut self, from: SocketAddr, namespace: Option<&OwnedFd>) -> Option<&mut Sender> {
        if !self.senders.contains_key(&from) {
            if self.senders.len() >= MOST_SENDERS {
                let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.deadline).map(|(of, _)| *of);
                oldest.and_then(|of| self.senders.remove(&of));
            }
            let socket = towards(self.to, SocketType::DGRAM, namespace).ok()?;
            connect(&socket, &self.to).ok()?;
            self.senders.insert(from, Sender { socket, deadline: Instant::now() + PATIENCE });
        }
        self.senders.get_mut(&from)
    }
}
