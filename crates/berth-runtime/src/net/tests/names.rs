//! A container's questions for names, asked as its programs ask them, with servers of the world as they are: quick,
//! dead, unwilling, and hostile.

use super::lab::{Container, HOST, Lab, OUTSIDE, lab, within};
use crate::dns::{Interest, Server, Upstream};
use crate::net::Home;
use berth_sys::netns;
use rustix::event::{PollFd, Timespec, poll};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A question for the IPv4 address of `name`; its number is 7.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// A server's answer: one address, or a code that is none.
fn answer(question: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = question.to_vec();
    (bytes[2], bytes[3]) = (0x81, 0x80 | code);
    if code == 0 {
        bytes[7] = 1;
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 5]);
    }
    bytes
}

const FOUND: [u8; 4] = [203, 0, 113, 5];

/// Asks within the container by UDP, and again when nothing is heard, as resolvers do: a datagram may be lost.
fn ask(container: &Container, name: &str) -> Vec<u8> {
    let (name, bytes) = (name.to_owned(), question(name));
    within(&container.namespace, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
        let mut heard = [0; 4096];
        let attempt = |_| {
            socket.send_to(&bytes, "127.0.0.11:53").unwrap();
            socket.recv_from(&mut heard).ok()
        };
        let (length, from) = (0..3).find_map(attempt).unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(from.to_string(), "127.0.0.11:53");
        heard[..length].to_vec()
    })
}

/// The same by TCP, two questions at once.
fn ask_by_tcp(container: &Container, names: [&str; 2]) -> Vec<Vec<u8>> {
    within(&container.namespace, || {
        let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
        for name in names {
            let bytes = question(name);
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &bytes].concat()).unwrap();
        }
        let mut message = || {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut bytes).unwrap();
            bytes
        };
        vec![message(), message()]
    })
}

/// Answers in the container's stead, as its monitor does, while `work` goes on.
fn serving<T: Send>(
    lab: &Lab,
    container: &Container,
    upstreams: &[Upstream],
    work: impl FnOnce() -> T + Send,
) -> T {
    let home = Home { nft_table: "berth-test".into(), run_dir: lab.run_dir().into(), apart: None };
    let namespace = container.namespace.try_clone().unwrap();
    let mut server = Server::open(namespace, &home, upstreams.to_vec()).unwrap();
    server.set_networks(std::slice::from_ref(&container.attached.joined));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            done.store(true, Ordering::Release);
            result
        });
        while !done.load(Ordering::Acquire) {
            turn(&mut server);
        }
        worker.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn turn(server: &mut Server) {
    let ready: Vec<Interest> = {
        let (interests, mut polled): (Vec<_>, Vec<_>) = server
            .interests()
            .map(|(interest, fd, flags)| (interest, PollFd::from_borrowed_fd(fd, flags)))
            .unzip();
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).unwrap();
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        interests.into_iter().zip(&polled).filter(|(_, fd)| ready(fd)).map(|(i, _)| i).collect()
    };
    ready.into_iter().for_each(|interest| server.handle(interest));
    server.expire(Instant::now());
}

/// Servers of the world at `address`, by UDP and TCP, each answering a few questions with `code`.
fn world(namespace: &OwnedFd, address: Ipv4Addr, code: u8) {
    let (datagrams, connections) = within(namespace, || {
        (UdpSocket::bind((address, 53)).unwrap(), TcpListener::bind((address, 53)).unwrap())
    });
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, from)) = datagrams.recv_from(&mut bytes) {
            // A guess at the answer, from nobody who was asked, and then the answer.
            let mut guess = answer(&bytes[..length], 0);
            guess[0] ^= 0xff;
            datagrams.send_to(&guess, from).unwrap();
            datagrams.send_to(&answer(&bytes[..length], code), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = connections.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut bytes).unwrap();
            let bytes = answer(&bytes, code);
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            // In two pieces: a stream has no edges.
            stream.write_all(&length).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
}

fn upstream(address: impl Into<IpAddr>, from_host: bool) -> Upstream {
    Upstream { address: SocketAddr::new(address.into(), 53), from_host }
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0xf
}

#[test]
fn neighbours_and_the_world_are_found() {
    lab(|lab| {
        world(&lab.outside, OUTSIDE, 0);
        let network = lab.network("one", "10.7.0.0/24");
        let mut named = super::lab::plan(&network, "db", &[]);
        named.endpoint.dns_names = vec!["db".into(), "store".into()];
        let namespace = netns::create().unwrap();
        let _db = crate::net::setup(&named, super::lab::place(&namespace)).unwrap();
        let web = lab.start(&network, "web", &[]);
        let ways = [upstream(OUTSIDE, true), upstream(OUTSIDE, false)];
        for way in ways {
            serving(lab, &web, &[way], || {
                for name in ["db", "STORE", "db.one"] {
                    let heard = ask(&web, name);
                    assert!(code(&heard) == 0 && heard.ends_with(&[10, 7, 0, 2]), "{name}: {heard:?}");
                }
                let heard = ask(&web, "www.example.org");
                assert!(code(&heard) == 0 && heard.ends_with(&FOUND) && heard[..2] == [0, 7], "{heard:?}");
                let both = ask_by_tcp(&web, ["www.example.org", "db"]);
                assert!(both.iter().any(|heard| heard.ends_with(&FOUND)), "{both:?}");
                assert!(both.iter().any(|heard| heard.ends_with(&[10, 7, 0, 2])), "{both:?}");
            });
        }
    });
}

#[test]
fn a_server_that_is_dead_or_unwilling_is_passed_over() {
    lab(|lab| {
        const DEAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
        const UNWILLING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
        world(&lab.outside, OUTSIDE, 0);
        world(&netns::current().unwrap(), UNWILLING, 5);
        let web = lab.start(&lab.network("one", "10.7.0.0/24"), "web", &[]);
        let answering = upstream(OUTSIDE, true);
        // Nobody at all, nobody on that port, somebody who refuses.
        let rows = [upstream(DEAD, true), upstream(HOST, true), upstream(UNWILLING, true)];
        for before in rows {
            let start = Instant::now();
            serving(lab, &web, &[before, answering], || {
                assert!(ask(&web, "www.example.org").ends_with(&FOUND), "{before:?}");
            });
            assert!(start.elapsed() < Duration::from_secs(5), "before a resolver loses patience");
        }
        let nobody = serving(lab, &web, &[upstream(HOST, true)], || ask(&web, "www.example.org"));
        assert_eq!(code(&nobody), 2, "a server failure");
        let nobody = serving(lab, &web, &[], || ask(&web, "www.example.org"));
        assert_eq!(code(&nobody), 2);
    });
}

#[test]
fn a_refusal_is_told_when_nobody_else_can_answer() {
    lab(|lab| {
        world(&lab.outside, OUTSIDE, 5);
        let web = lab.start(&lab.network("one", "10.7.0.0/24"), "web", &[]);
        let heard = serving(lab, &web, &[upstream(OUTSIDE, true)], || ask(&web, "www.example.org"));
        assert_eq!(code(&heard), 5);
    });
}

#[test]
fn an_internal_network_asks_nobody() {
    lab(|lab| {
        world(&lab.outside, OUTSIDE, 0);
        let mut network = lab.network("one", "10.7.0.0/24");
        network.internal = true;
        let web = lab.start(&network, "web", &[]);
        let heard = serving(lab, &web, &[upstream(OUTSIDE, true)], || ask(&web, "www.example.org"));
        assert_eq!(code(&heard), 2);
    });
}

/// More questions than are kept, connections that say nothing, and nonsense: the next honest question is answered.
#[test]
fn a_flood_drowns_nobody() {
    lab(|lab| {
        const DEAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
        let network = lab.network("one", "10.7.0.0/24");
        let mut plan = super::lab::plan(&network, "db", &[]);
        plan.endpoint.dns_names = vec!["db".into()];
        let namespace = netns::create().unwrap();
        let _db = crate::net::setup(&plan, super::lab::place(&namespace)).unwrap();
        let web = lab.start(&network, "web", &[]);
        serving(lab, &web, &[upstream(DEAD, true)], || {
            let _silent: Vec<TcpStream> = within(&web.namespace, || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for number in 0..2000_u32 {
                    let bytes = match number % 3 {
                        0 => question(&format!("n{number}.example")),
                        1 => number.to_le_bytes().repeat(30),
                        _ => question("db")[..15].to_vec(),
                    };
                    socket.send_to(&bytes, "127.0.0.11:53").unwrap();
                }
                (0..40).map(|_| TcpStream::connect("127.0.0.11:53").unwrap()).collect()
            });
            assert!(ask(&web, "db").ends_with(&[10, 7, 0, 2]));
        });
    });
}

/// A container's own name server has port 53 on every address, and what it asks `127.0.0.11` is answered still.
#[test]
fn port_53_stays_free() {
    lab(|lab| {
        let web = lab.start(&lab.network("one", "10.7.0.0/24"), "web", &[]);
        serving(lab, &web, &[], || {
            let _own = within(&web.namespace, || {
                (TcpListener::bind("0.0.0.0:53").unwrap(), UdpSocket::bind("0.0.0.0:53").unwrap())
            });
            assert_eq!(code(&ask(&web, "x.example")), 2);
        });
    });
}
