//! Names inside a container: what it asks `127.0.0.11:53` is answered here, by its monitor.
//!
//! Here: [`Server`], the sockets and what is being waited for. Not here: the poll loop (the monitor's). Containers
//! come and go without telling anybody: the root's ledger is read again whenever it has changed. What is no
//! container's name is asked of the servers that the host (or `--dns`) names. Invariant: nothing here waits, and no
//! container can make it keep more than [`MOST_PENDING`] questions or [`MOST_CONVERSATIONS`] connections.

mod conversation;
mod message;
mod question;
mod zone;

use crate::net::{Home, Joined, redirect_names};
use berth_oci::{Context, Result};
use berth_sys::netns;
use conversation::Conversation;
use message::{Answer, Query};
use question::{Question, Step};
use rustix::event::PollFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use zone::Zone;

/// Where a container asks, as docker has it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const MOST_PENDING: usize = 256;
const MOST_CONVERSATIONS: usize = 64;
/// A question by UDP has at most so many bytes; an answer may have more.
const LONGEST_QUESTION: usize = 4096;
/// How many questions are taken before other things have their turn.
const AT_ONCE: usize = 64;

/// A name server that is asked about the rest of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it is asked from the host's network; otherwise from the container's.
    pub from_host: bool,
}

/// Who wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Datagram(SocketAddr),
    Conversation(u32),
}

/// What `poll` is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Datagrams,
    Connections,
    Conversation(u32),
    Question(u32),
}

/// The name server of one container.
#[derive(Debug)]
pub(crate) struct Server {
    namespace: OwnedFd,
    datagrams: UdpSocket,
    connections: TcpListener,
    zone: Zone,
    upstreams: Vec<Upstream>,
    conversations: BTreeMap<u32, Conversation>,
    questions: BTreeMap<u32, Question>,
    next_number: u32,
    turn: usize,
}

impl Server {
    /// Opens the sockets in the container's namespace and leads port 53 to them.
    pub(crate) fn open(namespace: OwnedFd, home: &Home, upstreams: Vec<Upstream>) -> Result<Self> {
        let sockets = || {
            let datagrams = UdpSocket::bind((ADDRESS, 0))?;
            let connections = TcpListener::bind((ADDRESS, 0))?;
            datagrams.set_nonblocking(true)?;
            connections.set_nonblocking(true)?;
            redirect_names(ADDRESS, datagrams.local_addr()?.port(), connections.local_addr()?.port())?;
            Ok((datagrams, connections))
        };
        let (datagrams, connections) = netns::within(namespace.as_fd(), sockets)
            .context(|| "cannot answer for names in the container")?;
        Ok(Self {
            namespace,
            datagrams,
            connections,
            zone: Zone::new(home)?,
            upstreams,
            conversations: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_number: 0,
            turn: 0,
        })
    }

    /// The container is on these networks now.
    pub(crate) fn set_networks(&mut self, networks: &[Joined]) {
        self.zone.set_networks(networks);
    }

    /// What is waited for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Interest, BorrowedFd<'_>, PollFlags)> {
        let listening = self.conversations.len() < MOST_CONVERSATIONS;
        let conversations = self.conversations.iter().map(|(number, conversation)| {
            (Interest::Conversation(*number), conversation.as_fd(), conversation.flags())
        });
        let questions = self
            .questions
            .iter()
            .map(|(number, question)| (Interest::Question(*number), question.as_fd(), question.flags()));
        std::iter::once((Interest::Datagrams, self.datagrams.as_fd(), PollFlags::IN))
            .chain(listening.then(|| (Interest::Connections, self.connections.as_fd(), PollFlags::IN)))
            .chain(conversations)
            .chain(questions)
    }

    /// When something has been waited for long enough.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let questions = self.questions.values().map(Question::deadline);
        questions.chain(self.conversations.values().map(Conversation::deadline)).min()
    }

    /// Something is ready.
    pub(crate) fn handle(&mut self, interest: Interest) {
        match interest {
            Interest::Datagrams => self.take_datagrams(),
            Interest::Connections => self.take_connection(),
            Interest::Conversation(number) => self.converse(number),
            Interest::Question(number) => {
                let step = self.questions.get_mut(&number).map(Question::advance);
                self.step(number, step);
            }
        }
    }

    /// Goes on to the next server, or gives up, where it was waited long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.conversations.retain(|_, conversation| conversation.deadline() > now);
        let late: Vec<u32> =
            self.questions.iter().filter(|(_, q)| q.deadline() <= now).map(|(n, _)| *n).collect();
        for number in late {
            self.step(number, Some(Step::Next));
        }
    }

    fn take_datagrams(&mut self) {
        let mut bytes = [0; LONGEST_QUESTION];
        for _ in 0..AT_ONCE {
            let Ok((length, from)) = self.datagrams.recv_from(&mut bytes) else { return };
            self.ask(Asker::Datagram(from), &bytes[..length]);
        }
    }

    fn take_connection(&mut self) {
        let Ok((stream, _)) = self.connections.accept() else { return };
        if let Ok(conversation) = Conversation::new(stream) {
            let number = self.number();
            self.conversations.insert(number, conversation);
        }
    }

    fn converse(&mut self, number: u32) {
        let Some(conversation) = self.conversations.get_mut(&number) else { return };
        let (asked, open) = conversation.advance();
        if !open {
            self.conversations.remove(&number);
        }
        for bytes in asked {
            self.ask(Asker::Conversation(number), &bytes);
        }
    }

    /// Answers what is ours to answer, and asks others about the rest.
    fn ask(&mut self, asker: Asker, bytes: &[u8]) {
        let query = match message::read(bytes) {
            Ok(query) => query,
            Err(Some(refusal)) => return self.reply(asker, &refusal),
            Err(None) => return,
        };
        // The two questions of one look-up, for both families, must not make every second address the first always.
        self.turn = self.turn.wrapping_add(1 + usize::from(query.id & 1));
        let answer = self.zone.answer(&query, self.turn);
        let is_datagram = matches!(asker, Asker::Datagram(_));
        match answer {
            Some(answer) => self.reply(asker, &message::write(&query, &answer, is_datagram)),
            None => self.forward(asker, query, bytes, is_datagram),
        }
    }

    fn forward(&mut self, asker: Asker, query: Query, bytes: &[u8], is_datagram: bool) {
        let able = self.zone.may_ask_others() && self.questions.len() < MOST_PENDING;
        let mut question = Question::new(asker, query, bytes, is_datagram);
        let step = if able { self.next_server(&mut question) } else { Step::GiveUp };
        let number = self.number();
        self.questions.insert(number, question);
        self.step(number, Some(step));
    }

    fn step(&mut self, number: u32, step: Option<Step>) {
        let mut step = step.unwrap_or(Step::Wait);
        while matches!(step, Step::Next) {
            let Some(mut question) = self.questions.remove(&number) else { return };
            step = self.next_server(&mut question);
            self.questions.insert(number, question);
        }
        match step {
            Step::Wait | Step::Next => {}
            Step::Answer(bytes) => {
                if let Some(question) = self.questions.remove(&number) {
                    self.reply(question.asker, &bytes);
                }
            }
            Step::GiveUp => {
                if let Some(question) = self.questions.remove(&number) {
                    let bytes = question.last_words().unwrap_or_else(|| {
                        message::write(&question.query, &Answer::failure(), question.is_datagram)
                    });
                    self.reply(question.asker, &bytes);
                }
            }
        }
    }

    fn next_server(&self, question: &mut Question) -> Step {
        while let Some(upstream) = self.upstreams.get(question.asked) {
            question.asked += 1;
            if question.begin(*upstream, self.namespace.as_fd()).is_ok() {
                return Step::Wait;
            }
        }
        Step::GiveUp
    }

    fn reply(&mut self, asker: Asker, bytes: &[u8]) {
        match asker {
            // Whoever has gone, or does not read, asks again.
            Asker::Datagram(to) => drop(self.datagrams.send_to(bytes, to)),
            Asker::Conversation(number) => {
                let sent = self.conversations.get_mut(&number).map(|c| c.send(bytes));
                if sent.is_some_and(|sent: io::Result<()>| sent.is_err()) {
                    self.conversations.remove(&number);
                }
            }
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }
}
