//! Ports of the host: taken by binding them, so that no other program can take them too.
//!
//! Here: [`reserve`], [`Held`]. Not here: leading packets anywhere. Invariant: a port that is published is held
//! by a bound socket, without which the kernel would let another program listen on it and get nothing.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use berth_oci::{Error, Result};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with};

use super::ledger::Record;
use super::network::{Network, Published};
use super::owner;
use super::port::{PortMapping, PortRange, Protocol};

/// A published port and the socket that keeps others off it; none where the kernel lacks the protocol, and
/// with it every program that might want the port.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) published: Published,
    pub(super) socket: Option<OwnedFd>,
}

/// A port whose connections the container's monitor takes itself.
#[derive(Debug)]
pub struct Served {
    /// Where they come.
    pub socket: OwnedFd,
    /// Where they go.
    pub to: SocketAddr,
    /// TCP; otherwise UDP.
    pub is_stream: bool,
}

/// What is held only, and what is served, of the ports of a container with these addresses.
pub(super) fn split(
    held: Vec<Held>,
    network: &Network,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
) -> (Vec<OwnedFd>, Vec<Served>) {
    let is_apart = network.home.apart.is_some();
    let (held, served): (Vec<_>, Vec<_>) =
        held.into_iter().map(|held| held.split(is_apart, ipv4, ipv6)).unzip();
    (held.into_iter().flatten().collect(), served.into_iter().flatten().collect())
}

impl Held {
    /// The kernel leads IPv4 wherever it goes. IPv6 it leads only to a container with such an address, and never from
    /// the loopback: those are served. So is everything where containers are on a network apart from the host's. What
    /// remains is held only.
    fn split(
        self,
        is_apart: bool,
        ipv4: Option<IpAddr>,
        ipv6: Option<IpAddr>,
    ) -> (Option<OwnedFd>, Option<Served>) {
        let Published { host_ip, container_port, protocol, .. } = self.published;
        let to = ipv6.or(ipv4).map(|ip| SocketAddr::new(ip, container_port));
        match (self.socket, to) {
            (Some(socket), Some(to)) if (is_apart || host_ip.is_ipv6()) && protocol != Protocol::Sctp => {
                (None, Some(Served { socket, to, is_stream: protocol == Protocol::Tcp }))
            }
            (socket, _) => {
                if let (Some(socket), true) = (&socket, protocol == Protocol::Udp) {
                    // Nobody reads it. Broadcasts are not rewritten and would fill it; it becomes as small as it may be.
                    let _ = set_socket_recv_buffer_size(socket, 0);
                }
                (socket, None)
            }
        }
    }
}

/// How often the kernel may offer a port that a container of ours has (it can: a record whose monitor was
/// killed has no socket any more), or whose twin of the other family somebody has.
const OFFERS: usize = 64;

/// Takes a port of the host for each mapping of a container on `network`. `records` are the other containers of this
/// root.
pub(super) fn reserve(mappings: &[PortMapping], records: &[Record], network: &Network) -> Result<Vec<Held>> {
    let is_apart = network.home.apart.is_some();
    let hold: Hold<'_> = &|wanted| hold(wanted, is_apart);
    let mut held: Vec<Held> = Vec::new();
    for mapping in mappings {
        if is_apart && mapping.protocol == Protocol::Sctp {
            return Err(Error::unsupported("without root, ports of SCTP cannot be published")
                .hint("leave the port out, or run berth as root"));
        }
        let places = places(mapping.host_ip.or(network.publish_at), mapping.protocol);
        let wish = |host_ip, host_port| Published {
            host_ip,
            host_port,
            container_port: mapping.container_port,
            protocol: mapping.protocol,
        };
        let taken = |wanted: &Published| allocated(wanted, records, &held);
        let all = match mapping.host_ports {
            None => any(&places, &wish, &taken, hold)?,
            Some(range) if range.first == range.last => {
                let each = places.iter().map(|ip| exact(wish(*ip, range.first), &taken, hold));
                each.collect::<Result<_>>()?
            }
            Some(range) => first_free(range, &places, &wish, &taken, hold)?,
        };
        held.extend(all);
    }
    Ok(held)
}
/// Every address is every one of both families, on a host that has both.
fn places(ip: Option<IpAddr>, protocol: Protocol) -> Vec<IpAddr> {
    match ip {
        Some(ip) => vec![ip],
        // Nobody relays SCTP, and few containers have IPv6.
        None if protocol != Protocol::Sctp
            && fs::exists("/proc/thread-self/net/if_inet6").unwrap_or(false) =>
        {
            vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        }
        None => vec![Ipv4Addr::UNSPECIFIED.into()],
    }
}

type Wish<'a> = &'a dyn Fn(IpAddr, u16) -> Published;
type Taken<'a> = &'a dyn Fn(&Published) -> Option<String>;
type Hold<'a> = &'a dyn Fn(Published) -> io::Result<Held>;

fn exact(wanted: Published, taken: Taken<'_>, hold: Hold<'_>) -> Result<Held> {
    if let Some(owner) = taken(&wanted) {
        return Err(Error::conflict(format!(
            "Bind for {} failed: port is already allocated (by {owner})",
            wanted.place()
        ))
        .hint("publish another port of the host, or stop that container"));
    }
    hold(wanted).map_err(|error| refused(wanted, &error))
}

fn first_free(
    range: PortRange,
    places: &[IpAddr],
    wish: Wish<'_>,
    taken: Taken<'_>,
    hold: Hold<'_>,
) -> Result<Vec<Held>> {
    for port in range.first..=range.last {
        let wanted: Vec<_> = places.iter().map(|ip| wish(*ip, port)).collect();
        if let Some(held) = all_of(&wanted, taken, hold)? {
            return Ok(held);
        }
    }
    let Published { host_ip, protocol, .. } = wish(places[0], range.first);
    Err(Error::conflict(format!("all ports are allocated: {host_ip}:{range}/{protocol}"))
        .hint("name a larger range, or leave the host's port out to get any free one"))
}

/// None where somebody has one of them.
fn all_of(wanted: &[Published], taken: Taken<'_>, hold: Hold<'_>) -> Result<Option<Vec<Held>>> {
    let mut held = Vec::new();
    for one in wanted {
        if taken(one).is_some() {
            return Ok(None);
        }
        match hold(*one) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(None),
            other => held.push(other.map_err(|error| refused(*one, &error))?),
        }
    }
    Ok(Some(held))
}

/// The kernel chooses. A port it offers is kept until another is found, or it would offer the same again.
fn any(places: &[IpAddr], wish: Wish<'_>, taken: Taken<'_>, hold: Hold<'_>) -> Result<Vec<Held>> {
    let mut passed_over = Vec::new();
    while passed_over.len() < OFFERS {
        let first = wish(places[0], 0);
        let offered = hold(first).map_err(|error| refused(first, &error))?;
        let others: Vec<_> = places[1..].iter().map(|ip| wish(*ip, offered.published.host_port)).collect();
        if taken(&offered.published).is_none()
            && let Some(others) = all_of(&others, taken, hold)?
        {
            return Ok(std::iter::once(offered).chain(others).collect());
        }
        passed_over.push(offered);
    }
    Err(Error::conflict("no free port of the host was found").hint("name one: `-p 8080:80`"))
}

fn allocated(wanted: &Published, records: &[Record], held: &[Held]) -> Option<String> {
    let theirs = records.iter().find(|record| record.published.iter().any(|port| port.clashes(wanted)));
    let own = || held.iter().find(|held| held.published.clashes(wanted));
    theirs
        .map(|record| format!("container {}", record.name))
        .or_else(|| own().map(|_| "this container itself".into()))
}

/// `is_served`: its connections will be taken by us.
fn hold(wanted: Published, is_served: bool) -> io::Result<Held> {
    let (kind, protocol) = match wanted.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = if wanted.host_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = match socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if wanted.host_port != 0 => {
            return Ok(Held { published: wanted, socket: None });
        }
        other => other?,
    };
    if family == AddressFamily::INET6 {
        set_ipv6_v6only(&socket, true)?;
    }
    // Without SO_REUSEADDR, so that nobody shares the port; without `listen`, so that nobody is answered by us. A port
    // that we serve is not shared either, once somebody listens; it could not be had again for a minute otherwise.
    if is_served && kind == SocketType::STREAM {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(wanted.host_ip, wanted.host_port))?;
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok(Held { published: Published { host_port: bound.port(), ..wanted }, socket: Some(socket) })
}

fn refused(wanted: Published, error: &io::Error) -> Error {
    let Published { host_ip, protocol, .. } = wanted;
    let message = |why: &str| format!("failed to bind host port {}/{protocol}: {why}", wanted.place());
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner::of(wanted) {
            Some(owner) => Error::conflict(message(&format!("address already in use (by {owner})")))
                .hint(format!("stop process {}, or publish another port of the host", owner.pid)),
            None => Error::conflict(message("address already in use")).hint(
                "another program (or the berth of another root) holds it: publish another port of the host",
            ),
        },
        io::ErrorKind::AddrNotAvailable => Error::invalid(message("cannot assign requested address"))
            .hint(format!("{host_ip} is no address of this host: `ip address` lists those it has")),
        io::ErrorKind::PermissionDenied => Error::denied(message("permission denied")).hint(
            "ports below 1024 need root: publish a higher one, or let everybody have them: \
                 `sysctl -w net.ipv4.ip_unprivileged_port_start=80`",
        ),
        _ => Error::internal(message(&error.to_string())),
    }
}
