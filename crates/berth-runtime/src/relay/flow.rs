//! One connection and its continuation into the container.
//!
//! Invariant: what was read from one side and not yet written to the other is at most [`PIECE`] bytes each way.

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_socket_linger, socket_error};
use rustix::net::{RecvFlags, SendFlags, Shutdown, connect, recv, send, shutdown};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

const PIECE: usize = 32 * 1024;
/// How many pieces are moved before other things have their turn.
const AT_ONCE: usize = 16;

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) to: SocketAddr,
    client: OwnedFd,
    server: OwnedFd,
    connected: bool,
    up: Half,
    down: Half,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    waiting: Vec<u8>,
    /// No more will come.
    ended: bool,
    /// The other side has been told so.
    told: bool,
}

impl Flow {
    /// Between `client` and whoever listens at `to`, by the socket `server`.
    pub(super) fn new(client: OwnedFd, server: OwnedFd, to: SocketAddr) -> io::Result<Self> {
        for side in [&client, &server] {
            set_socket_keepalive(side, true)?;
        }
        match connect(&server, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { to, client, server, connected: false, up: Half::default(), down: Half::default() })
    }

    pub(super) fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    pub(super) fn server(&self) -> BorrowedFd<'_> {
        self.server.as_fd()
    }

    /// What is waited for on the client's and on the container's side.
    pub(super) fn flags(&self) -> (PollFlags, PollFlags) {
        if !self.connected {
            return (PollFlags::empty(), PollFlags::OUT);
        }
        let reads = |half: &Half| if half.reads() { PollFlags::IN } else { PollFlags::empty() };
        let writes = |half: &Half| if half.waiting.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        (reads(&self.up) | writes(&self.down), reads(&self.down) | writes(&self.up))
    }

    /// Moves what can be moved; false when it is over.
    pub(super) fn advance(&mut self) -> bool {
        if !self.connected {
            match socket_error(&self.server) {
                Ok(Ok(())) => self.connected = true,
                _ => return self.reset(),
            }
        }
        let up = self.up.move_on(&self.client, &self.server);
        let down = self.down.move_on(&self.server, &self.client);
        match (up, down) {
            (Ok(()), Ok(())) => !(self.up.told && self.down.told),
            _ => self.reset(),
        }
    }

    /// The other side is told that it did not end in good order.
    fn reset(&self) -> bool {
        for side in [&self.client, &self.server] {
            // What cannot be told so is told by the end alone.
            let _ = set_socket_linger(side, Some(Duration::ZERO));
        }
        false
    }
}

impl Half {
    fn reads(&self) -> bool {
        self.waiting.is_empty() && !self.ended
    }

    fn move_on(&mut self, from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            while !self.waiting.is_empty() {
                match send(to, &self.waiting, SendFlags::NOSIGNAL) {
                    Ok(count) => drop(self.waiting.drain(..count)),
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            if self.ended {
                if !self.told {
                    self.told = true;
                    match shutdown(to, Shutdown::Write) {
                        Ok(()) | Err(Errno::NOTCONN) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                // Nothing is kept for a direction that is over.
                self.waiting = Vec::new();
                return Ok(());
            }
            let mut bytes = [0; PIECE];
            match recv(from, &mut bytes[..], RecvFlags::empty()) {
                Ok((0, _)) => self.ended = true,
                Ok((count, _)) => {
                    // Straight on; only what does not go now is kept.
                    let sent = match send(to, &bytes[..count], SendFlags::NOSIGNAL) {
                        Ok(sent) => sent,
                        Err(Errno::AGAIN) => 0,
                        Err(error) => return Err(error.into()),
                    };
                    if sent < count {
                        self.waiting = bytes[sent..count].to_vec();
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => {
                    self.waiting = Vec::new();
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
