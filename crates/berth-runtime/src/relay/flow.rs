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
    /// No more will come, and the other side has been told so.
    ended: bool,
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
            (Ok(()), Ok(())) => !(self.up.ended && self.down.ended),
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
        if self.ended {
            return Ok(());
        }
        for _ in 0..AT_ONCE {
            while !self.waiting.is_empty() {
                match send(to, &self.waiting, SendFlags::NOSIGNAL) {
                    Ok(count) => drop(self.waiting.drain(..count)),
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            let mut bytes = [0; PIECE];
            match recv(from, &mut bytes[..], RecvFlags::empty()) {
                Ok((0, _)) => return self.end(to),
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

    /// At once: nobody asks again for a direction that has nothing to read and nothing to write.
    fn end(&mut self, to: &OwnedFd) -> io::Result<()> {
        *self = Self { waiting: Vec::new(), ended: true };
        match shutdown(to, Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn an_end_behind_as_many_pieces_as_go_at_once_is_told() {
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK, None).unwrap();
        for pieces in [0, AT_ONCE - 1, AT_ONCE] {
            // Of packets, one is read at a time.
            let ((far, from), (to, heard)) = (pair(SocketType::SEQPACKET), pair(SocketType::STREAM));
            for _ in 0..pieces {
                send(&far, b"x", SendFlags::NOSIGNAL).unwrap();
            }
            drop(far);
            let mut half = Half::default();
            while half.reads() {
                half.move_on(&from, &to).unwrap();
            }
            let mut bytes = [0; 2 * AT_ONCE];
            for expected in [pieces, 0] {
                assert_eq!(
                    recv(&heard, &mut bytes[..], RecvFlags::empty()).map(|(count, _)| count),
                    Ok(expected)
                );
            }
        }
    }
}
