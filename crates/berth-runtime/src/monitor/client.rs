//! One client of a monitor: its socket, what it has sent so far, what it has yet to take.

use crate::bundle::Streams;
use crate::circumstances::Asked;
use crate::protocol::{self, Channel, HEADER, Reply};
use berth_oci::Result;
use jiff::Timestamp;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// A client that is this far behind stops the process it watches, as a slow terminal does.
pub(super) const BEHIND: usize = 256 * 1024;

/// What follows which process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Following {
    pub(super) process: Option<u32>,
    pub(super) streams: Streams,
    pub(super) exit: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: UnixStream,
    pub(super) following: Following,
    pub(super) is_creator: bool,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
}

/// One frame a client sent.
pub(super) type Frame = (Channel, Vec<u8>);

impl Client {
    pub(super) fn new(socket: UnixStream, is_creator: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let following = Following::default();
        Ok(Self { socket, following, is_creator, incoming: Vec::new(), outgoing: VecDeque::new() })
    }

    /// Takes in what is there; false at the end.
    pub(super) fn receive(&mut self) -> bool {
        let mut bytes = [0; 32 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(0) => false,
            Ok(length) => {
                self.incoming.extend_from_slice(&bytes[..length]);
                true
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// The next whole frame; an error when what came is not one.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>> {
        let Some(header) = self.incoming.first_chunk::<HEADER>() else { return Ok(None) };
        let (channel, length) = protocol::parse_header(*header)?;
        if self.incoming.len() < HEADER + length {
            return Ok(None);
        }
        let payload = self.incoming[HEADER..HEADER + length].to_vec();
        self.incoming.drain(..HEADER + length);
        if self.incoming.is_empty() && self.incoming.capacity() > BEHIND {
            self.incoming = Vec::new();
        }
        Ok(Some((channel, payload)))
    }

    pub(super) fn reply(&mut self, reply: &Reply) -> Result<()> {
        self.outgoing.extend(protocol::encode(reply)?);
        Ok(())
    }

    pub(super) fn data(&mut self, channel: Channel, bytes: &[u8]) {
        self.outgoing.extend(protocol::header(channel, bytes.len()));
        self.outgoing.extend(bytes);
    }

    /// Who it is that asks for a signal, as the kernel knows it; nobody where it has gone meanwhile.
    pub(super) fn asks_for(&self, signal: i32) -> Option<Asked> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket).ok()?;
        let pid = peer.pid.as_raw_nonzero().get();
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        let command = words.chars().take(200).collect();
        Some(Asked { signal, at: Timestamp::now(), pid, uid: peer.uid.as_raw(), command })
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn is_behind(&self) -> bool {
        self.outgoing.len() > BEHIND
    }

    /// Gives it what it takes now; false when it is gone.
    pub(super) fn flush(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            let (front, _) = self.outgoing.as_slices();
            match self.socket.write(front) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        if self.outgoing.capacity() > BEHIND {
            self.outgoing = VecDeque::new();
        }
        true
    }
}
