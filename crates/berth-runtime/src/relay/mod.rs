//! Published ports that the kernel cannot lead into a container: those of IPv6 where the container has IPv4 only, and
//! those of the host's own `::1`, whose packets never leave the loopback.
//!
//! Here: [`Relays`], the sockets and what moves between them. Not here: which ports (`net/`), the poll loop (the
//! monitor's). Invariant: nothing here waits; a side that does not read makes the other side wait, not us.

mod datagrams;
mod flow;

use crate::net::Served;
use berth_oci::{Context, Result};
use datagrams::Datagrams;
use flow::Flow;
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, listen, socket_with};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Each has two descriptors.
const MOST_FLOWS: usize = 1024;
/// Those that a monitor has for other things.
const OTHERS: u64 = 256;
/// How many a process needs that serves ports: more than users are given by themselves.
pub(crate) const DESCRIPTORS: u64 = 2 * MOST_FLOWS as u64 + OTHERS;
const BACKLOG: i32 = 1024;

/// What `poll` is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Connections(usize),
    Datagrams(usize),
    Answers(usize, SocketAddr),
    Client(u32),
    Server(u32),
}

/// A port on which connections are taken.
#[derive(Debug)]
struct Listener {
    network: String,
    socket: OwnedFd,
    to: SocketAddr,
}

/// All of a container's.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    listeners: Vec<Listener>,
    datagrams: Vec<(String, Datagrams)>,
    flows: BTreeMap<u32, Flow>,
    next_number: u32,
    /// The network that containers are reached from, if it is not ours.
    from: Option<OwnedFd>,
}

/// A connection for which there is no descriptor would be offered again and again.
fn most_flows() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS);
    let most = usize::try_from(descriptors.saturating_sub(OTHERS) / 2).unwrap_or(MOST_FLOWS);
    most.clamp(1, MOST_FLOWS)
}

/// A socket for what a container is told, in the network from which it can be reached.
fn towards(to: SocketAddr, kind: SocketType, from: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let open = || Ok(socket_with(family, kind, flags, None)?);
    match from {
        Some(namespace) => berth_sys::netns::within(namespace.as_fd(), open),
        None => open(),
    }
}

impl Relays {
    /// From now on containers are reached from this network, or from ours.
    pub(crate) fn reach_from(&mut self, namespace: Option<OwnedFd>) {
        self.from = namespace;
    }

    /// Serves further ports, those of a network that the container has joined.
    pub(crate) fn serve(&mut self, network: &str, ports: Vec<Served>) -> Result<()> {
        for Served { socket, to, is_stream } in ports {
            let network = network.to_owned();
            match is_stream {
                true => {
                    listen(&socket, BACKLOG)
                        .and_then(|()| rustix::io::ioctl_fionbio(&socket, true))
                        .map_err(std::io::Error::from)
                        .context(|| "cannot listen on a published port")?;
                    self.listeners.push(Listener { network, socket, to });
                }
                false => self.datagrams.push((network, Datagrams::new(socket, to)?)),
            }
        }
        Ok(())
    }

    /// Stops serving the ports of a network; conversations that are under way end.
    pub(crate) fn leave(&mut self, network: &str) {
        let left = |listener: &Listener| (listener.network == network).then_some(listener.to);
        let gone: Vec<SocketAddr> = self.listeners.iter().filter_map(left).collect();
        self.flows.retain(|_, flow| !gone.contains(&flow.to));
        self.listeners.retain(|listener| listener.network != network);
        self.datagrams.retain(|(of, _)| of != network);
    }

    /// What is waited for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (Interest, BorrowedFd<'_>, PollFlags)> {
        let has_room = self.flows.len() < most_flows();
        let listeners = self.listeners.iter().enumerate().filter(move |_| has_room);
        let listeners = listeners
            .map(|(at, listener)| (Interest::Connections(at), listener.socket.as_fd(), PollFlags::IN));
        let datagrams = self.datagrams.iter().enumerate().flat_map(|(at, (_, datagrams))| {
            let answers =
                datagrams.answers().map(move |(of, fd)| (Interest::Answers(at, of), fd, PollFlags::IN));
            std::iter::once((Interest::Datagrams(at), datagrams.as_fd(), PollFlags::IN)).chain(answers)
        });
        let flows = self.flows.iter().flat_map(|(number, flow)| {
            let (client, server) = flow.flags();
            let sides = [
                (Interest::Client(*number), flow.client(), client),
                (Interest::Server(*number), flow.server(), server),
            ];
            sides.into_iter().filter(|(_, _, flags)| !flags.is_empty())
        });
        listeners.chain(datagrams).chain(flows)
    }

    /// When somebody was silent for so long that nobody waits for him any more.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.datagrams.iter().filter_map(|(_, datagrams)| datagrams.deadline()).min()
    }

    /// Something is ready.
    pub(crate) fn handle(&mut self, interest: Interest) {
        match interest {
            Interest::Connections(at) => self.accept(at),
            Interest::Datagrams(at) => {
                if let Some((_, datagrams)) = self.datagrams.get_mut(at) {
                    datagrams.receive(self.from.as_ref());
                }
            }
            Interest::Answers(at, of) => {
                if let Some((_, datagrams)) = self.datagrams.get_mut(at) {
                    datagrams.answer(of);
                }
            }
            Interest::Client(number) | Interest::Server(number) => {
                if self.flows.get_mut(&number).is_some_and(|flow| !flow.advance()) {
                    self.flows.remove(&number);
                }
            }
        }
    }

    /// Forgets who was silent for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.datagrams.iter_mut().for_each(|(_, datagrams)| datagrams.expire(now));
    }

    fn accept(&mut self, at: usize) {
        let Some(listener) = self.listeners.get(at) else { return };
        let client = match accept_with(&listener.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(client) => client,
            // It has gone again already; or there is no descriptor left, and it waits.
            Err(_) => return,
        };
        // A container that cannot be reached looks as a port on which nobody listens: the connection ends.
        let server = towards(listener.to, SocketType::STREAM, self.from.as_ref());
        if let Ok(flow) = server.and_then(|server| Flow::new(client, server, listener.to)) {
            self.next_number = self.next_number.wrapping_add(1);
            self.flows.insert(self.next_number, flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, poll};
    use std::io::{Read, Write};
    use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket};

    /// Lets it work until `done` answers something.
    fn until<T>(relays: &mut Relays, mut done: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(value) = done() {
                return value;
            }
            let ready: Vec<_> = {
                let (interests, mut polled): (Vec<_>, Vec<_>) = relays
                    .interests()
                    .map(|(interest, fd, flags)| (interest, PollFd::from_borrowed_fd(fd, flags)))
                    .unzip();
                let soon = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                poll(&mut polled, Some(&soon)).unwrap();
                let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
                interests.into_iter().zip(&polled).filter(|(_, fd)| ready(fd)).map(|(i, _)| i).collect()
            };
            ready.into_iter().for_each(|interest| relays.handle(interest));
        }
    }

    fn held(socket: impl Into<OwnedFd>) -> OwnedFd {
        socket.into()
    }

    #[test]
    fn a_conversation_goes_through_and_ends_on_both_sides() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let place = port.local_addr().unwrap();
        let mut relays = Relays::default();
        let served = Served { socket: held(port), to: server.local_addr().unwrap(), is_stream: true };
        relays.serve("n", vec![served]).unwrap();
        // More than the buffers of all sockets on the way, each way, at different speeds.
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let sent = bytes.clone();
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(place).unwrap();
            let mut reading = stream.try_clone().unwrap();
            let echo = std::thread::spawn(move || {
                let mut heard = Vec::new();
                reading.read_to_end(&mut heard).unwrap();
                heard
            });
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            echo.join().unwrap()
        });
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
        });
        until(&mut relays, || client.is_finished().then_some(()));
        assert!(client.join().unwrap() == bytes);
        echo.join().unwrap();
        let left = std::cell::Cell::new(usize::MAX);
        while left.get() != 0 {
            left.set(relays.flows.len());
            let mut looked = false;
            until(&mut relays, || std::mem::replace(&mut looked, true).then_some(()));
        }
    }

    #[test]
    fn a_port_where_nobody_listens_ends_the_connection() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let place = port.local_addr().unwrap();
        let mut relays = Relays::default();
        relays.serve("n", vec![Served { socket: held(port), to: nobody, is_stream: true }]).unwrap();
        let client =
            std::thread::spawn(move || TcpStream::connect(place).unwrap().read(&mut [0; 1]).is_err());
        until(&mut relays, || client.is_finished().then_some(()));
        assert!(client.join().unwrap(), "a reset, not an orderly end");
        relays.leave("n");
        assert_eq!(relays.interests().count(), 0);
    }

    #[test]
    fn datagrams_find_their_way_back() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let place = port.local_addr().unwrap();
        let mut relays = Relays::default();
        let to = server.local_addr().unwrap();
        relays.serve("n", vec![Served { socket: held(port), to, is_stream: false }]).unwrap();
        let echo = std::thread::spawn(move || {
            for _ in 0..2 {
                let mut bytes = [0; 16];
                let (length, from) = server.recv_from(&mut bytes).unwrap();
                server.send_to(&bytes[..length], from).unwrap();
            }
        });
        let ask = |text: &'static [u8]| {
            std::thread::spawn(move || {
                let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
                client.send_to(text, place).unwrap();
                let mut bytes = [0; 16];
                let (length, from) = client.recv_from(&mut bytes).unwrap();
                assert_eq!(from, place);
                bytes[..length].to_vec()
            })
        };
        let (one, two) = (ask(b"one"), ask(b"two"));
        until(&mut relays, || (one.is_finished() && two.is_finished()).then_some(()));
        assert_eq!((one.join().unwrap(), two.join().unwrap()), (b"one".to_vec(), b"two".to_vec()));
        echo.join().unwrap();
        relays.expire(Instant::now() + std::time::Duration::from_secs(3600));
        assert_eq!((relays.interests().count(), relays.deadline()), (1, None));
    }
}
