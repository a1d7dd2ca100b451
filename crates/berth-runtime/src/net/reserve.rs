//! Ports of the host: taken by binding them, so that no other program can take them too.
//!
//! Here: [`reserve`], [`Held`]. Not here: leading packets anywhere. Invariant: a port that is published is held
//! by a bound socket, without which the kernel would let another program listen on it and get nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use berth_oci::{Error, Result};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with};

use super::ledger::Record;
use super::owner;
use super::plan::Published;
use super::port::{PortMapping, PortRange, Protocol};

/// A published port and the socket that keeps others off it; none where the kernel lacks the protocol, and
/// with it every program that might want the port.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) published: Published,
    pub(super) socket: Option<OwnedFd>,
}

/// How often the kernel may offer a port that a container of ours has (it can: a record whose monitor was
/// killed has no socket any more).
const OFFERS: usize = 64;

/// Takes a port of the host for each mapping. `records` are the other containers of this root.
pub(super) fn reserve(mappings: &[PortMapping], records: &[Record]) -> Result<Vec<Held>> {
    let mut held: Vec<Held> = Vec::new();
    for mapping in mappings {
        let host_ip = host_address(mapping)?;
        let wish = |host_port| Published {
            host_ip,
            host_port,
            container_port: mapping.container_port,
            protocol: mapping.protocol,
        };
        let taken = |wanted: &Published| allocated(wanted, records, &held);
        let one = match mapping.host_ports {
            None => any(&wish, &taken)?,
            Some(range) if range.first == range.last => exact(wish(range.first), &taken)?,
            Some(range) => first_free(range, &wish, &taken)?,
        };
        held.push(one);
    }
    Ok(held)
}

fn host_address(mapping: &PortMapping) -> Result<Ipv4Addr> {
    match mapping.host_ip {
        None => Ok(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V4(ip)) => Ok(ip),
        Some(IpAddr::V6(ip)) => Err(Error::unsupported(format!(
            "cannot publish a port on the IPv6 address {ip}"
        ))
        .hint(
            "containers have IPv4 addresses only: publish on an IPv4 address, or on all by leaving it out",
        )),
    }
}

fn exact(wanted: Published, taken: &dyn Fn(&Published) -> Option<String>) -> Result<Held> {
    let Published { host_ip, host_port, .. } = wanted;
    if let Some(owner) = taken(&wanted) {
        return Err(Error::conflict(format!(
            "Bind for {host_ip}:{host_port} failed: port is already allocated (by {owner})"
        ))
        .hint("publish another port of the host, or stop that container"));
    }
    hold(wanted).map_err(|error| refused(wanted, &error))
}

fn first_free(
    range: PortRange,
    wish: &dyn Fn(u16) -> Published,
    taken: &dyn Fn(&Published) -> Option<String>,
) -> Result<Held> {
    for port in range.first..=range.last {
        let wanted = wish(port);
        if taken(&wanted).is_some() {
            continue;
        }
        match hold(wanted) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other.map_err(|error| refused(wanted, &error)),
        }
    }
    let Published { host_ip, protocol, .. } = wish(range.first);
    Err(Error::conflict(format!("all ports are allocated: {host_ip}:{range}/{protocol}"))
        .hint("name a larger range, or leave the host's port out to get any free one"))
}

/// The kernel chooses. A port it offers is kept until another is found, or it would offer the same again.
fn any(wish: &dyn Fn(u16) -> Published, taken: &dyn Fn(&Published) -> Option<String>) -> Result<Held> {
    let mut passed_over = Vec::new();
    while passed_over.len() < OFFERS {
        let held = hold(wish(0)).map_err(|error| refused(wish(0), &error))?;
        if taken(&held.published).is_none() {
            return Ok(held);
        }
        passed_over.push(held);
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

fn hold(wanted: Published) -> io::Result<Held> {
    let (kind, protocol) = match wanted.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = match socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(protocol)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if wanted.host_port != 0 => {
            return Ok(Held { published: wanted, socket: None });
        }
        other => other?,
    };
    // Without SO_REUSEADDR, so that nobody shares the port; without `listen`, so that nobody is answered by us.
    if wanted.protocol == Protocol::Udp {
        // Broadcasts are not rewritten and would fill it; the kernel makes it as small as it may be.
        set_socket_recv_buffer_size(&socket, 0)?;
    }
    bind(&socket, &SocketAddrV4::new(wanted.host_ip, wanted.host_port))?;
    let bound = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok(Held { published: Published { host_port: bound.port(), ..wanted }, socket: Some(socket) })
}

fn refused(wanted: Published, error: &io::Error) -> Error {
    let Published { host_ip, host_port, protocol, .. } = wanted;
    let message = |why: &str| format!("failed to bind host port {host_ip}:{host_port}/{protocol}: {why}");
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
        io::ErrorKind::PermissionDenied => Error::denied(message("permission denied"))
            .hint("ports below 1024 need root: publish a higher one"),
        _ => Error::internal(message(&error.to_string())),
    }
}
