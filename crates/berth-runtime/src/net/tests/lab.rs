//! A host, an outside world and containers, each a network namespace that nothing else knows of.
//!
//! The host has 192.0.2.1 on a bridge of its own, the outside 192.0.2.2 and no route to anything else: what
//! reaches it from a container was hidden behind the host.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use berth_sys::netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::net::attach::Locked;
use crate::net::ledger::{Lives, peek};
use crate::net::link::{Links, Pair};
use crate::net::{
    self, Address, Attached, Endpoint, Mac, Network, NetworkPlan, Place, PortMapping, setup, tests::network,
};

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SOON: Duration = Duration::from_secs(3);
/// Long enough for any packet on one machine, short enough to wait for one that never comes.
const NEVER: Duration = Duration::from_millis(400);

pub(super) struct Lab {
    dir: TempDir,
    pub(super) outside: OwnedFd,
}

/// A container: its namespace and what `setup` said.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) namespace: OwnedFd,
    pub(super) attached: Attached,
}

/// Runs `test` as a process of a fresh host.
pub(super) fn lab(test: impl FnOnce(&Lab) + Send) {
    let host = netns::create().unwrap();
    let outside = netns::create().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab { dir, outside };
    netns::within(host.as_fd(), || {
        lab.wire();
        test(&lab);
        Ok(())
    })
    .unwrap();
}

impl Lab {
    fn wire(&self) {
        // A new namespace has it from the machine.
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let mut links = Links::open().unwrap();
        let lo = links.find("lo").unwrap().unwrap();
        links.up(lo.index, "lo").unwrap();
        let uplink = network(self.run_dir(), "uplink", "192.0.2.0/24");
        let bridge = links.create_bridge(&uplink).unwrap();
        links.address(bridge, &uplink.bridge, uplink.ipv4.as_ref().unwrap()).unwrap();
        links.up(bridge, &uplink.bridge).unwrap();
        let pair = Pair {
            name: "cable",
            inside: "eth0",
            bridge,
            mac: Mac::for_ip(OUTSIDE),
            namespace: self.outside.as_fd(),
            isolated: false,
            mtu: 1500,
        };
        links.connect(&pair).unwrap();
        within(&self.outside, || {
            let address = Address { ip: OUTSIDE.into(), prefix: 24, gateway: None };
            Links::open().unwrap().configure("eth0", &[address]).unwrap();
        });
    }

    pub(super) fn run_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn network(&self, name: &str, subnet: &str) -> Network {
        network(self.run_dir(), name, subnet)
    }

    /// Starts `id` on `network`, with `ports` as after `-p`.
    pub(super) fn start(&self, network: &Network, id: &str, ports: &[&str]) -> Container {
        eventually(|| self.try_start(network, id, ports))
    }

    pub(super) fn try_start(
        &self,
        network: &Network,
        id: &str,
        ports: &[&str],
    ) -> berth_oci::Result<Container> {
        let namespace = netns::create()?;
        let attached = setup(&plan(network, id, ports), place(&namespace))?;
        Ok(Container { id: id.into(), namespace, attached })
    }
}

pub(super) fn plan(network: &Network, id: &str, ports: &[&str]) -> NetworkPlan {
    let ports = ports.iter().flat_map(|text| PortMapping::parse(text).unwrap()).collect();
    let endpoint =
        Endpoint { container: id.into(), name: format!("name-of-{id}"), ports, ..Endpoint::default() };
    NetworkPlan { network: network.clone(), endpoint }
}

/// The only network of a container that leads out.
pub(super) fn place(namespace: &OwnedFd) -> Place<'_> {
    let pid = std::process::id().cast_signed();
    Place { namespace: namespace.as_fd(), pid, number: 0, leads_out: (true, true) }
}

pub(super) fn gateway(network: &Network) -> Ipv4Addr {
    match network.ipv4.as_ref().unwrap().gateway {
        IpAddr::V4(gateway) => gateway,
        IpAddr::V6(gateway) => panic!("{gateway} is no IPv4 address"),
    }
}

pub(super) fn cleanup(network: &Network) -> berth_oci::Result<()> {
    Locked::open(&network.home)?.dissolve(network)
}

pub(super) fn teardown(network: &Network, container: &str) -> berth_oci::Result<()> {
    net::teardown(&network.home, container)
}

pub(super) fn restore(network: &Network) -> berth_oci::Result<()> {
    net::restore(&network.home)
}

/// Teardown, and the interface goes without waiting for the namespace.
pub(super) fn unplug(network: &Network, container: &str) -> berth_oci::Result<()> {
    for record in peek(&network.home.run_dir)?.iter().filter(|record| record.container == container) {
        let Lives::Interface(interface) = &record.lives else { continue };
        Links::open()?.remove(interface)?;
    }
    teardown(network, container)
}

impl Container {
    /// As the monitor does it.
    pub(super) fn leave(&self, network: &Network) {
        net::unplug(&network.home, &self.id, &self.attached.joined, self.namespace.as_fd()).unwrap();
    }

    /// The host's end.
    pub(super) fn interface(&self) -> String {
        self.attached.joined.interface.clone().expect("it is on a bridge")
    }

    pub(super) fn ip(&self) -> Ipv4Addr {
        match self.attached.joined.ip() {
            Some(IpAddr::V4(ip)) => ip,
            other => panic!("{other:?} is no IPv4 address"),
        }
    }

    /// A server inside, on every address it has.
    pub(super) fn serve(&self, port: u16) -> TcpListener {
        within(&self.namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
    }

    pub(super) fn serve_udp(&self, port: u16) -> UdpSocket {
        udp(within(&self.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()))
    }
}

pub(super) fn within<T: Send>(namespace: impl AsFd, work: impl FnOnce() -> T + Send) -> T {
    let namespace: BorrowedFd<'_> = namespace.as_fd();
    netns::within(namespace, || Ok(work())).unwrap()
}

/// A conversation from the calling thread's namespace with `to`; the address the server saw. An error when
/// nobody answers, or somebody else does.
pub(super) fn talk(to: (Ipv4Addr, u16), server: &TcpListener) -> io::Result<Ipv4Addr> {
    let mut client = TcpStream::connect_timeout(&SocketAddrV4::new(to.0, to.1).into(), SOON)?;
    if !readable(server.as_fd(), SOON) {
        return Err(io::Error::other("somebody else answered"));
    }
    let (mut accepted, peer) = server.accept()?;
    client.write_all(b"ping")?;
    let mut heard = [0; 4];
    accepted.read_exact(&mut heard)?;
    accepted.write_all(&heard)?;
    client.read_exact(&mut heard)?;
    assert_eq!(&heard, b"ping");
    Ok(ipv4(peer))
}

/// Does nobody answer at `to`?
pub(super) fn silent(to: (Ipv4Addr, u16)) -> bool {
    TcpStream::connect_timeout(&SocketAddrV4::new(to.0, to.1).into(), NEVER).is_err()
}

/// A question and an answer by UDP; the address the server saw.
pub(super) fn talk_udp(client: &UdpSocket, to: (Ipv4Addr, u16), server: &UdpSocket) -> io::Result<Ipv4Addr> {
    client.send_to(b"ping", to)?;
    let mut heard = [0; 8];
    let (length, peer) = server.recv_from(&mut heard)?;
    server.send_to(&heard[..length], peer)?;
    let (length, from) = client.recv_from(&mut heard)?;
    assert_eq!((&heard[..length], from), (&b"ping"[..], SocketAddr::from(to)));
    Ok(ipv4(peer))
}

pub(super) fn udp(socket: UdpSocket) -> UdpSocket {
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn readable(socket: BorrowedFd<'_>, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

fn ipv4(address: SocketAddr) -> Ipv4Addr {
    match address {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

/// What `attempt` gives once it gives something. Between fork and exec of a program that another test starts, that
/// child has a copy of every descriptor of this process, and so for a moment every port we have just let go.
pub(super) fn eventually<T, E: std::fmt::Debug>(attempt: impl Fn() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(start.elapsed() < SOON, "{error:?}"),
        }
        std::thread::yield_now();
    }
}

/// Waits until the kernel has removed an interface of the calling thread's namespace, as it does some time after
/// the namespace of its other end is gone.
pub(super) fn until_gone(name: &str) {
    let mut links = Links::open().unwrap();
    while links.find(name).unwrap().is_some() {
        std::thread::yield_now();
    }
}

/// Every interface of the calling thread's namespace.
pub(super) fn interfaces() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let mut names: Vec<_> =
        text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    names.sort();
    names
}

/// On hosts with the module br_netfilter, as docker loads it, packets between neighbours pass the firewall too, and
/// a published port is rewritten before the bridge decides.
pub(super) fn bridged_packets_pass_the_firewall(yes: bool) {
    match fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", if yes { "1" } else { "0" }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.unwrap(),
    }
}

/// A container's interface with its loopback off and its own 127/8 led to the bridge: what an attacker with the
/// right to configure its own network would do.
pub(super) fn lead_loopback_to_the_bridge(container: &Container, gateway: Ipv4Addr) {
    use berth_sys::netlink::{Message, Protocol, Socket};
    within(&container.namespace, || {
        let index = Links::open().unwrap().find("eth0").unwrap().unwrap().index;
        fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        let lo_down = [&[0; 4][..], &1i32.to_ne_bytes(), &0u32.to_ne_bytes(), &1u32.to_ne_bytes()].concat();
        let route = [2, 8, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let batch = [
            Message::new(16, 0, &lo_down),
            Message::new(24, 0x600, &route)
                .attribute(1, &[127, 0, 0, 0])
                .attribute(5, &gateway.octets())
                .number(4, index.cast_unsigned()),
        ];
        socket.transact(&batch).unwrap();
    });
}
