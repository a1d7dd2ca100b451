//! A connection by which the container asks: several questions, answered in whatever order.
//!
//! Invariant: it ends when nothing was said for [`PATIENCE`], and it never holds more than [`FULL`] bytes.

use super::question::{framed, unframed};
use rustix::event::PollFlags;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
/// As long as so much waits to be read by the container, it is not listened to.
const FULL: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Conversation {
    stream: TcpStream,
    heard: Vec<u8>,
    to_say: Vec<u8>,
    deadline: Instant,
}

impl Conversation {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, heard: Vec::new(), to_say: Vec::new(), deadline: Instant::now() + PATIENCE })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn flags(&self) -> PollFlags {
        let writing = if self.to_say.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let reading = if self.to_say.len() < FULL { PollFlags::IN } else { PollFlags::empty() };
        reading | writing
    }

    /// The questions that have come, and whether there may be more.
    pub(super) fn advance(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut open = self.flush().is_ok();
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => open = false,
            Ok(count) => {
                self.heard.extend(&bytes[..count]);
                self.deadline = Instant::now() + PATIENCE;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => open = false,
        }
        let questions = std::iter::from_fn(|| unframed(&mut self.heard)).collect();
        (questions, open)
    }

    /// Says it, or as much of it as goes, and the rest later.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.to_say.extend(framed(message));
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.to_say.is_empty() {
            match self.stream.write(&self.to_say) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.to_say.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
