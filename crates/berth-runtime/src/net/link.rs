//! Interfaces, addresses and routes, in the words of rtnetlink.
//!
//! Here: what exists ([`Links::find`], [`Links::taken`]), bridges, the pair of interfaces between a bridge and a
//! container, interfaces that share one of the host's. Not here: when to do which. Invariant: a bridge of ours that is up is finished, because going up
//! is the last thing that happens to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use berth_oci::{Error, Kind, Result};
use berth_sys::netlink::{Message, Protocol, Refused, Reply, Socket};
use rustix::io::Errno;

use super::mac::Mac;
use super::network::{Address, Driver, Network, Pool};
use super::subnet::{Subnet, octets};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_LINK: u16 = 5;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const PORT_HAIRPIN: u16 = 4;
const PORT_ISOLATED: u16 = 33;
const UP: u32 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const LOOPBACK: i32 = 1;
const ADDRESS_FLAGS: u16 = 8;
/// Usable at once: nobody else can have an address that we hand out.
const NO_DUPLICATE_DETECTION: u32 = 2;
const REPLACE: u16 = 0x100;
const MAIN_TABLE: u8 = 254;

/// An interface as the kernel knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) index: i32,
    pub(super) up: bool,
}

/// What the two ends of a container's connection are to be.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    /// The host's end.
    pub(super) name: &'a str,
    /// The container's end.
    pub(super) inside: &'a str,
    /// The bridge it is plugged into.
    pub(super) bridge: i32,
    /// The hardware address of the container's end.
    pub(super) mac: Mac,
    /// The container's network namespace.
    pub(super) namespace: BorrowedFd<'a>,
    /// The container must not reach its neighbours.
    pub(super) isolated: bool,
    /// The largest packet.
    pub(super) mtu: u32,
}

/// What a container's interface on one of the host's interfaces is to be.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    /// Its name in the container.
    pub(super) inside: &'a str,
    /// The host's interface.
    pub(super) parent: i32,
    /// Macvlan or ipvlan, and its mode.
    pub(super) driver: Driver,
    pub(super) mode: u16,
    /// Its own hardware address, of macvlan.
    pub(super) mac: Mac,
    /// The container's network namespace.
    pub(super) namespace: BorrowedFd<'a>,
    /// The largest packet.
    pub(super) mtu: u32,
}

/// The interfaces of one network namespace.
#[derive(Debug)]
pub(super) struct Links {
    socket: Socket,
}

impl Links {
    /// Opens the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        Socket::open(Protocol::Route).map(|socket| Self { socket })
    }

    /// The interface called `name`.
    pub(super) fn find(&mut self, name: &str) -> Result<Option<Link>> {
        match self.socket.ask(&Message::new(GET_LINK, 0, &link_header(0, 0)).text(LINK_NAME, name)) {
            Ok(reply) => Ok(link(&reply)),
            Err(refused) if refused.is(Errno::NODEV) => Ok(None),
            Err(refused) => Err(explain(refused, &format!("to show interface {name}"))),
        }
    }

    /// The names of the interfaces that are plugged into a bridge.
    pub(super) fn plugged_into(&mut self, bridge: i32) -> Result<Vec<String>> {
        let links = self.list(GET_LINK, &link_header(0, 0), "interfaces")?;
        let name = |reply: &Reply| {
            let value =
                |wanted| reply.attributes(16).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let master = number(value(LINK_MASTER)?, 0)?;
            let name = value(LINK_NAME).map(|name| String::from_utf8_lossy(name).into_owned())?;
            (master == bridge).then(|| name.trim_end_matches('\0').to_owned())
        };
        Ok(links.iter().filter_map(name).collect())
    }

    /// Every subnet that an address or a route of this host claims, but for those of interface `except`. A
    /// default route claims nothing, nor do the two halves that a VPN puts in its place, nor link-local routes.
    pub(super) fn taken(&mut self, except: Option<i32>) -> Result<Vec<Subnet>> {
        let mut taken = Vec::new();
        for family in [IPV4, IPV6] {
            let addresses = self.list(GET_ADDRESS, &address_header(family, 0, 0), "addresses")?;
            let routes = self.list(GET_ROUTE, &route_header(family, 0), "routes")?;
            let claims = addresses.iter().map(address_claim).chain(routes.iter().map(route_claim)).flatten();
            let foreign = claims.filter(|(_, index)| *index != except).map(|(subnet, _)| subnet);
            taken.extend(foreign.filter(|subnet| !is_special(subnet.address())));
        }
        Ok(taken)
    }

    /// The IPv4 address of an interface.
    pub(super) fn address_of(&mut self, index: i32) -> Result<Option<(IpAddr, u8)>> {
        let addresses = self.list(GET_ADDRESS, &address_header(IPV4, 0, 0), "addresses")?;
        Ok(addresses.iter().find_map(|reply| {
            (number(&reply.payload, 4)? == index).then_some(())?;
            let local = reply.attributes(8).find(|(kind, _)| *kind == 2)?.1;
            Some((ip(local)?, *reply.payload.get(1)?))
        }))
    }

    /// The lasting addresses of an interface that are valid everywhere.
    pub(super) fn addresses_of(&mut self, index: i32) -> Result<Vec<Address>> {
        const PERMANENT: u8 = 0x80;
        const EVERYWHERE: u8 = 0;
        let mut found = Vec::new();
        for family in [IPV4, IPV6] {
            let addresses = self.list(GET_ADDRESS, &address_header(family, 0, 0), "addresses")?;
            found.extend(addresses.iter().filter_map(|reply| {
                let [_, prefix, flags, scope, ..] = *reply.payload.as_slice() else { return None };
                let lasts =
                    number(&reply.payload, 4)? == index && flags & PERMANENT != 0 && scope == EVERYWHERE;
                // The local address; where there is no other end, it may have only the general one.
                let value = |wanted| reply.attributes(8).find(|(kind, _)| *kind == wanted);
                let (_, local) = value(2).or_else(|| value(1)).filter(|_| lasts)?;
                Some(Address { ip: ip(local)?, prefix, gateway: None })
            }));
        }
        Ok(found)
    }

    /// Gives an interface to another namespace, under another name.
    pub(super) fn give(
        &mut self,
        index: i32,
        name: &str,
        inside: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let message = Message::new(NEW_LINK, 0, &link_header(index, 0))
            .text(LINK_NAME, inside)
            .number(LINK_NAMESPACE, namespace.as_raw_fd().cast_unsigned());
        self.act(&[(format!("to give interface {name} to the container as {inside}"), message)])
    }

    /// Makes the bridge; it is still down and has no address.
    pub(super) fn create_bridge(&mut self, network: &Network) -> Result<i32> {
        let gateway = network.pools().next().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |pool| pool.gateway);
        let create = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, 0))
            .text(LINK_NAME, &network.bridge)
            .number(LINK_MTU, network.mtu)
            // Without an address of its own a bridge changes to that of its lowest port as ports come and go.
            .attribute(LINK_ADDRESS, &Mac::for_ip(gateway).0)
            .nest(LINK_INFO, |info| info.text(INFO_KIND, "bridge"));
        self.act(&[(format!("to create bridge {}", network.bridge), create)])?;
        Ok(self.find(&network.bridge)?.ok_or_else(|| gone(&network.bridge))?.index)
    }

    /// Gives a bridge its address.
    pub(super) fn address(&mut self, index: i32, name: &str, pool: &Pool) -> Result<()> {
        let address = address_message(index, pool.gateway, pool.subnet.prefix());
        self.act(&[(format!("address {} on {name}", pool.gateway), address)])
    }

    /// Switches an interface on.
    pub(super) fn up(&mut self, index: i32, name: &str) -> Result<()> {
        self.act(&[(format!("to switch on {name}"), switched_on(index))])
    }

    /// Makes both ends of a connection: the host's plugged into the bridge and up, the other in the container's
    /// namespace under the name it has there.
    pub(super) fn connect(&mut self, pair: &Pair<'_>) -> Result<()> {
        let inside = |peer: Message| {
            peer.text(LINK_NAME, pair.inside)
                .number(LINK_MTU, pair.mtu)
                .attribute(LINK_ADDRESS, &pair.mac.0)
                .number(LINK_NAMESPACE, pair.namespace.as_raw_fd().cast_unsigned())
        };
        let create = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, UP))
            .text(LINK_NAME, pair.name)
            .number(LINK_MTU, pair.mtu)
            .number(LINK_MASTER, pair.bridge.cast_unsigned())
            .nest(LINK_INFO, |info| {
                info.text(INFO_KIND, "veth")
                    .nest(INFO_DATA, |data| data.nest_after(VETH_PEER, &link_header(0, 0), inside))
            });
        // Hairpin: on a host where bridged packets pass iptables, a container that calls its own published port
        // gets its packet back through the port it came from.
        let port = Message::new(NEW_LINK, 0, &link_header(0, 0)).text(LINK_NAME, pair.name).nest(
            LINK_INFO,
            |info| {
                info.text(INFO_PORT_KIND, "bridge").nest(INFO_PORT_DATA, |data| {
                    data.attribute(PORT_HAIRPIN, &[1]).attribute(PORT_ISOLATED, &[u8::from(pair.isolated)])
                })
            },
        );
        self.act(&[
            (format!("to create the interfaces {} and {}", pair.name, pair.inside), create),
            (format!("to plug in {}", pair.name), port),
        ])
    }

    /// Makes an interface in the container's namespace that shares the host's `parent`.
    pub(super) fn share(&mut self, shared: &Shared<'_>) -> Result<()> {
        let mode = match shared.driver {
            Driver::Ipvlan => shared.mode.to_ne_bytes().to_vec(),
            _ => u32::from(shared.mode).to_ne_bytes().to_vec(),
        };
        let mut create = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, 0))
            .text(LINK_NAME, shared.inside)
            .number(LINK_LINK, shared.parent.cast_unsigned())
            .number(LINK_NAMESPACE, shared.namespace.as_raw_fd().cast_unsigned());
        if shared.driver == Driver::Macvlan {
            create = create.number(LINK_MTU, shared.mtu).attribute(LINK_ADDRESS, &shared.mac.0);
        }
        let create = create.nest(LINK_INFO, |info| {
            info.text(INFO_KIND, shared.driver.as_str()).nest(INFO_DATA, |data| data.attribute(1, &mode))
        });
        let driver = shared.driver.as_str();
        let what = format!("to create the {driver} interface {}", shared.inside);
        self.act(&[(what, create)]).map_err(|error| match error.kind() {
            Kind::Unsupported => error.hint(format!(
                "this kernel has no {driver}: `modprobe {driver}` loads it where it is a module"
            )),
            _ => error,
        })
    }

    /// From inside the container: its loopback and its interface up, with addresses and, where this network is to
    /// be the way out, default routes.
    pub(super) fn configure(&mut self, inside: &str, addresses: &[Address]) -> Result<()> {
        let index = self.find(inside)?.ok_or_else(|| gone(inside))?.index;
        let mut batch = vec![
            ("to switch on lo".into(), switched_on(LOOPBACK)),
            (format!("to switch on {inside}"), switched_on(index)),
        ];
        for Address { ip, prefix, gateway } in addresses {
            batch.push((format!("address {ip} on {inside}"), address_message(index, *ip, *prefix)));
            if let Some(gateway) = gateway {
                batch.push((format!("a default route by {gateway}"), default_route(*gateway, index)));
            }
        }
        self.act(&batch)
    }

    /// From inside the container: this is the way out from now on.
    pub(super) fn lead_out(&mut self, inside: &str, gateway: IpAddr) -> Result<()> {
        let index = self.find(inside)?.ok_or_else(|| gone(inside))?.index;
        self.act(&[(format!("a default route by {gateway}"), default_route(gateway, index))])
    }

    /// Removes an interface, and with it the other end of a pair. One that is gone already is no error.
    pub(super) fn remove(&mut self, name: &str) -> Result<()> {
        match self.socket.transact(&[Message::new(DELETE_LINK, 0, &link_header(0, 0)).text(LINK_NAME, name)])
        {
            Err(refused) if !refused.is(Errno::NODEV) => Err(explain(refused, &format!("to remove {name}"))),
            _ => Ok(()),
        }
    }

    fn list(&mut self, kind: u16, header: &[u8], what: &str) -> Result<Vec<Reply>> {
        self.socket
            .list(&Message::new(kind, 0, header))
            .map_err(|refused| explain(refused, &format!("to list {what}")))
    }

    fn act(&mut self, batch: &[(String, Message)]) -> Result<()> {
        let messages: Vec<_> = batch.iter().map(|(_, message)| message.clone()).collect();
        self.socket.transact(&messages).map_err(|refused| {
            let what = refused.index.map_or("the request", |index| &batch[index].0).to_owned();
            explain(refused, &what)
        })
    }
}

fn gone(name: &str) -> Error {
    Error::conflict(format!("interface {name} was removed by someone else"))
}

/// The kernel's refusal as an error; a name that is taken is a `Conflict`.
fn explain(refused: Refused, what: &str) -> Error {
    let kind = match refused.error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::EXIST) => Kind::Conflict,
        Some(Errno::PERM | Errno::ACCESS) => Kind::Denied,
        Some(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT) => Kind::Unsupported,
        _ => Kind::Internal,
    };
    let error = Error::new(kind, format!("the kernel refused {what}")).caused_by(io::Error::from(refused));
    match kind {
        Kind::Denied => error.hint("networks need root: use `--network host` or `--network none` without it"),
        Kind::Unsupported => error.hint("the kernel needs bridge and veth: `modprobe -a bridge veth`"),
        _ => error,
    }
}

fn switched_on(index: i32) -> Message {
    Message::new(NEW_LINK, 0, &link_header(index, UP))
}

fn address_message(index: i32, address: IpAddr, prefix: u8) -> Message {
    let header = address_header(family(address), prefix, index);
    let message = Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE, &header)
        .attribute(2, &octets(address))
        .attribute(1, &octets(address));
    match address {
        IpAddr::V4(_) => message.attribute(4, &octets(Subnet::around(address, prefix).last())),
        IpAddr::V6(_) => message.number(ADDRESS_FLAGS, NO_DUPLICATE_DETECTION),
    }
}

fn default_route(gateway: IpAddr, index: i32) -> Message {
    Message::new(NEW_ROUTE, CREATE | REPLACE, &route_header(family(gateway), MAIN_TABLE))
        .attribute(5, &octets(gateway))
        .number(4, index.cast_unsigned())
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// Link-local and multicast addresses, and the loopback's: every interface or host has its own.
fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_multicast() || address.is_unicast_link_local()
        }
    }
}

/// `flags` are switched on; the others stay as they are.
fn link_header(index: i32, flags: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &flags.to_ne_bytes()].concat()
}

fn address_header(family: u8, prefix: u8, index: i32) -> Vec<u8> {
    [&[family, prefix, 0, 0][..], &index.to_ne_bytes()].concat()
}

fn route_header(family: u8, table: u8) -> Vec<u8> {
    const BOOT: u8 = 3;
    const UNICAST: u8 = 1;
    [&[family, 0, 0, 0, table, BOOT, 0, UNICAST][..], &[0; 4]].concat()
}

fn link(reply: &Reply) -> Option<Link> {
    Some(Link { index: number(&reply.payload, 4)?, up: number(&reply.payload, 8)?.cast_unsigned() & UP != 0 })
}

fn address_claim(reply: &Reply) -> Option<(Subnet, Option<i32>)> {
    let address = reply.attributes(8).find(|(kind, _)| *kind == 1)?.1;
    Some((Subnet::around(ip(address)?, *reply.payload.get(1)?), number(&reply.payload, 4)))
}

fn route_claim(reply: &Reply) -> Option<(Subnet, Option<i32>)> {
    let prefix = *reply.payload.get(1).filter(|prefix| **prefix > 1)?;
    let value = |wanted| reply.attributes(12).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    Some((Subnet::around(ip(value(1)?)?, prefix), value(4).and_then(|index| number(index, 0))))
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}
