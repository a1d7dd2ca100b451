//! One question on its way to the servers of the world, from one to the next until one answers.
//!
//! A question that came by UDP goes on by UDP, one that came by TCP by TCP: what does not fit the first comes back
//! with the word to ask by the second. Invariant: every server is asked from a port of its own that chance gave.

use super::message::{self, Query};
use super::{Asker, Upstream};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A resolver asks again after five seconds; two servers must have had their chance by then.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_ANSWER: usize = 16 * 1024;

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    Wait,
    /// This server will not say.
    Next,
    Answer(Vec<u8>),
    GiveUp,
}

/// A question that others are asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) asker: Asker,
    pub(super) query: Query,
    pub(super) is_datagram: bool,
    /// How many servers have been tried.
    pub(super) asked: usize,
    bytes: Vec<u8>,
    socket: Option<OwnedFd>,
    written: usize,
    heard: Vec<u8>,
    refusal: Option<Vec<u8>>,
    deadline: Instant,
}

impl Question {
    pub(super) fn new(asker: Asker, query: Query, bytes: &[u8], is_datagram: bool) -> Self {
        Self {
            asker,
            query,
            is_datagram,
            asked: 0,
            bytes: if is_datagram { bytes.to_vec() } else { framed(bytes) },
            socket: None,
            written: 0,
            heard: Vec::new(),
            refusal: None,
            deadline: Instant::now(),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("a question that is kept has been put").as_fd()
    }

    pub(super) fn flags(&self) -> PollFlags {
        if self.written < self.bytes.len() { PollFlags::OUT } else { PollFlags::IN }
    }

    /// What a server said that could not answer, once nobody else can.
    pub(super) fn last_words(&self) -> Option<Vec<u8>> {
        self.refusal.clone()
    }

    /// Puts the question to a server.
    pub(super) fn begin(&mut self, upstream: Upstream, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let family = if upstream.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if self.is_datagram { SocketType::DGRAM } else { SocketType::STREAM };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let open = || socket_with(family, kind, flags, None).map_err(io::Error::from);
        let socket = if upstream.from_host { open()? } else { berth_sys::netns::within(namespace, open)? };
        match connect(&socket, &upstream.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.socket = Some(socket);
        self.written = 0;
        self.heard.clear();
        self.deadline = Instant::now() + PATIENCE;
        match self.is_datagram {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// The socket is ready for what [`Self::flags`] said, or has failed.
    pub(super) fn advance(&mut self) -> Step {
        if self.written < self.bytes.len() {
            return if self.write().is_ok() { Step::Wait } else { Step::Next };
        }
        match self.read() {
            Ok(Some(answer)) if !message::answers(&answer, &self.query) => match self.is_datagram {
                true => Step::Wait,
                false => Step::Next,
            },
            Ok(Some(answer)) if message::is_failure(&answer) => {
                self.refusal = Some(answer);
                Step::Next
            }
            Ok(Some(answer)) => Step::Answer(answer),
            Ok(None) => Step::Wait,
            Err(_) => Step::Next,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        match send(self.as_fd(), &self.bytes[self.written..], SendFlags::NOSIGNAL) {
            Ok(count) => self.written += count,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// None as long as there is more to come.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; LONGEST_ANSWER];
        let (count, _) = match recv(self.as_fd(), &mut bytes[..], RecvFlags::empty()) {
            Err(Errno::AGAIN) => return Ok(None),
            other => other?,
        };
        bytes.truncate(count);
        if self.is_datagram {
            return Ok(Some(bytes));
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.heard.extend(bytes);
        Ok(unframed(&mut self.heard))
    }
}

/// In a stream a message's length goes before it (RFC 1035, 4.2.2).
pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(&bytes[..usize::from(length)]);
    framed
}

/// Takes the first whole message out of a stream.
pub(super) fn unframed(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*stream.first()?, *stream.get(1)?]));
    if stream.len() < 2 + length {
        return None;
    }
    let rest = stream.split_off(2 + length);
    let message = std::mem::replace(stream, rest).split_off(2);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_a_stream() {
        let mut stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
        stream.pop();
        assert_eq!(unframed(&mut stream).as_deref(), Some(&b"one"[..]));
        assert_eq!(unframed(&mut stream).as_deref(), Some(&b""[..]));
        assert_eq!(unframed(&mut stream), None);
        stream.push(b'e');
        assert_eq!(unframed(&mut stream).as_deref(), Some(&b"three"[..]));
        assert!(stream.is_empty() && unframed(&mut stream).is_none());
    }
}
