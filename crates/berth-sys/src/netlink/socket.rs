//! A blocking netlink socket: one batch out, one verdict a message back.
//!
//! Not here: what messages mean. Invariant: answers are matched by sequence number, never by order alone.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::{fmt, io};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::message::{HEADER, Message, Reply, attribute};

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const CAPPED: u16 = 0x100;
const HAS_TEXT: u16 = 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const TEXT: u16 = 1;
const RECEIVE_BUFFER: usize = 1 << 20;

/// Which part of the kernel a socket speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// The kernel's no: to which message of the batch, why, and its own words when it has some.
#[derive(Debug)]
pub struct Refused {
    /// The message's place in the batch; none when the batch as a whole was refused.
    pub index: Option<usize>,
    /// Why.
    pub error: io::Error,
    /// The kernel's explanation.
    pub text: Option<String>,
}

impl Refused {
    /// Is it this error number?
    #[must_use]
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.error.raw_os_error() == Some(errno.raw_os_error())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{} ({text})", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self { index: None, error, text: None }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused.text {
            Some(text) => io::Error::new(refused.error.kind(), format!("{} ({text})", refused.error)),
            None => refused.error,
        }
    }
}

/// An open socket; it belongs to the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)?;
        option(&socket, libc::NETLINK_EXT_ACK)?;
        option(&socket, libc::NETLINK_CAP_ACK)?;
        // A batch of thousands of acknowledgements must fit; without the right to it, the usual size serves.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        Ok(Self { socket, sequence: 1, buffer: vec![0; 1 << 16] })
    }

    /// Sends `messages` as one datagram and waits for the verdict on each; the first refusal is returned.
    ///
    /// For nftables `messages` lie between [`Socket::transact_between`]'s brackets instead.
    pub fn transact(&mut self, messages: &[Message]) -> Result<(), Refused> {
        self.transact_between(None, messages)
    }

    /// As [`Socket::transact`], with messages around the batch that are not acknowledged (a transaction's
    /// begin and end).
    pub fn transact_between(
        &mut self,
        brackets: Option<(&Message, &Message)>,
        messages: &[Message],
    ) -> Result<(), Refused> {
        let bracket = self.next();
        let first = self.sequence;
        let mut bytes = Vec::new();
        bytes.extend(brackets.iter().flat_map(|(begin, _)| begin.finished(bracket, REQUEST)));
        for message in messages {
            let sequence = self.next();
            bytes.extend(message.finished(sequence, REQUEST | ACK));
        }
        let end = self.next();
        bytes.extend(brackets.iter().flat_map(|(_, end_message)| end_message.finished(end, REQUEST)));
        send(&self.socket, &bytes, SendFlags::empty()).map_err(io::Error::from)?;
        self.verdicts(bracket, first, messages.len())
    }

    fn verdicts(&mut self, bracket: u32, first: u32, count: usize) -> Result<(), Refused> {
        let mut waiting: BTreeSet<u32> = (0..count).map(|at| first.wrapping_add(at as u32)).collect();
        let mut refused = None;
        while !waiting.is_empty() {
            for answer in self.receive()? {
                let Some(verdict) = answer.verdict() else { continue };
                let verdict = match verdict {
                    // The transaction as a whole: no further verdicts come.
                    Err(refusal) if answer.sequence == bracket => return Err(refused.unwrap_or(refusal)),
                    other => other,
                };
                if !waiting.remove(&answer.sequence) {
                    continue;
                }
                if let (Err(refusal), None) = (verdict, &refused) {
                    let index = answer.sequence.wrapping_sub(first) as usize;
                    refused = Some(Refused { index: Some(index), ..refusal });
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Asks one question that has one answer.
    pub fn ask(&mut self, message: &Message) -> Result<Reply, Refused> {
        let sequence = self.next();
        send(&self.socket, &message.finished(sequence, REQUEST), SendFlags::empty())
            .map_err(io::Error::from)?;
        loop {
            for answer in self.receive()? {
                if answer.sequence != sequence {
                    continue;
                }
                match answer.verdict() {
                    None => return Ok(answer.reply),
                    Some(Err(refusal)) => return Err(refusal),
                    Some(Ok(())) => {}
                }
            }
        }
    }

    /// Asks for a list; asked again when it changed while the kernel was reading it out.
    pub fn list(&mut self, message: &Message) -> Result<Vec<Reply>, Refused> {
        loop {
            if let Some(replies) = self.list_once(message)? {
                return Ok(replies);
            }
        }
    }

    fn list_once(&mut self, message: &Message) -> Result<Option<Vec<Reply>>, Refused> {
        let sequence = self.next();
        let bytes = message.finished(sequence, REQUEST | DUMP);
        send(&self.socket, &bytes, SendFlags::empty()).map_err(io::Error::from)?;
        let (mut replies, mut whole) = (Vec::new(), true);
        loop {
            for answer in self.receive()? {
                if answer.sequence != sequence {
                    continue;
                }
                whole &= answer.flags & DUMP_INTERRUPTED == 0;
                match answer.verdict() {
                    _ if answer.reply.kind == DONE => return Ok(whole.then_some(replies)),
                    None => replies.push(answer.reply),
                    Some(Err(refusal)) => return Err(refusal),
                    Some(Ok(())) => {}
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        sequence
    }

    fn receive(&mut self) -> io::Result<Vec<Answer>> {
        let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
        Ok(answers(&self.buffer[..length]))
    }
}

struct Answer {
    sequence: u32,
    flags: u16,
    reply: Reply,
}

impl Answer {
    /// None for data; otherwise the kernel's yes or no.
    fn verdict(&self) -> Option<Result<(), Refused>> {
        if self.reply.kind != ERROR {
            return None;
        }
        let code = self
            .reply
            .payload
            .get(..4)
            .map_or(0, |bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        if code == 0 {
            return Some(Ok(()));
        }
        Some(Err(Refused { index: None, error: io::Error::from_raw_os_error(-code), text: self.text() }))
    }

    /// The kernel's words lie behind the error number and the header (only the header: we ask for that) of
    /// the message they are about.
    fn text(&self) -> Option<String> {
        if self.flags & HAS_TEXT == 0 || self.flags & CAPPED == 0 {
            return None;
        }
        let text = attribute(self.reply.payload.get(4 + HEADER..)?, TEXT)?;
        Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    }
}

fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(header) = bytes.get(..HEADER) {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let Some(payload) = bytes.get(HEADER..length) else { break };
        let reply = Reply { kind: half(4), payload: payload.to_vec() };
        answers.push(Answer { sequence: word(8), flags: half(6), reply });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

fn option(socket: &OwnedFd, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int from `on`, which outlives the call and whose size is what we say.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::os::fd::AsFd;

    const NEW_LINK: u16 = 16;
    const GET_LINK: u16 = 18;
    const NAME: u16 = 3;

    fn link(index: i32, up: bool) -> Vec<u8> {
        let mut header = vec![0; 4];
        header.extend(index.to_ne_bytes());
        header.extend(u32::from(up).to_ne_bytes());
        header.extend(1u32.to_ne_bytes());
        header
    }

    fn in_fresh_namespace<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> T {
        let namespace = crate::netns::create().unwrap();
        crate::netns::within(namespace.as_fd(), work).unwrap()
    }

    #[test]
    fn a_batch_names_the_message_that_was_refused() {
        let refused = in_fresh_namespace(|| {
            let mut socket = Socket::open(Protocol::Route)?;
            let batch =
                [Message::new(NEW_LINK, 0, &link(1, true)), Message::new(NEW_LINK, 0, &link(9999, true))];
            Ok(socket.transact(&batch).unwrap_err())
        });
        assert_eq!(refused.index, Some(1));
        assert!(refused.is(Errno::NODEV), "{refused}");
    }

    #[test]
    fn a_list_holds_lo_and_a_question_finds_it() {
        in_fresh_namespace(|| {
            let mut socket = Socket::open(Protocol::Route)?;
            let list = socket.list(&Message::new(GET_LINK, 0, &link(0, false)))?;
            assert!(list.iter().any(|reply| reply.attributes(16).any(|found| found == (NAME, b"lo\0"))));
            let one = socket.ask(&Message::new(GET_LINK, 0, &link(0, false)).text(NAME, "lo"))?;
            assert_eq!(one.payload[4..8], 1i32.to_ne_bytes());
            let none =
                socket.ask(&Message::new(GET_LINK, 0, &link(0, false)).text(NAME, "nope")).unwrap_err();
            assert!(none.is(Errno::NODEV));
            Ok(())
        });
    }
}
