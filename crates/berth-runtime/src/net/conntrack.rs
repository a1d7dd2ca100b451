//! Conversations without connections that the kernel remembers by their old way.
//!
//! Here: forgetting them for published UDP ports. A client that kept sending while no container was there would
//! otherwise never reach the new one, and a container's old address might get what was meant for another. Not
//! here: TCP, which notices by itself. Invariant: only entries with exactly the given destination port go.

use std::io;

use berth_oci::{Context, Result};
use berth_sys::netlink::{Message, Protocol as Family, Refused, Reply, Socket, attribute};
use rustix::io::Errno;

use super::network::Published;
use super::port::Protocol;

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;

/// Whether a conversation with this port would go on by itself.
pub(super) fn remembers(port: &Published) -> bool {
    port.protocol == Protocol::Udp
}

/// Forgets the conversations with these UDP ports of the host.
pub(super) fn forget(udp: &[Published]) -> Result<()> {
    for (family, is_ipv4) in [(IPV4, true), (IPV6, false)] {
        let of_family = udp.iter().filter(|port| port.host_ip.is_ipv4() == is_ipv4);
        let ports: Vec<u16> = of_family.map(|port| port.host_port).collect();
        if !ports.is_empty() {
            forget_ports(family, &ports)
                .map_err(io::Error::from)
                .context(|| "cannot end the remembered conversations of the published UDP ports")?;
        }
    }
    Ok(())
}

fn forget_ports(family: u8, ports: &[u16]) -> Result<(), Refused> {
    let mut socket = Socket::open(Family::Netfilter)?;
    let header = [family, 0, 0, 0];
    let all = match socket.list(&Message::new(SUBSYSTEM << 8 | GET, 0, &header)) {
        // A kernel without this part remembers conversations but does not let us look.
        Err(refused) if refused.is(Errno::INVAL) || refused.is(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    for tuple in all.iter().filter_map(|reply| tuple_to(reply, ports)) {
        let delete = Message::new(SUBSYSTEM << 8 | DELETE, 0, &header).nest(ORIGINAL, |nest| {
            berth_sys::netlink::attributes(tuple).fold(nest, |nest, (kind, value)| {
                // The two parts of a tuple are nests themselves.
                nest.attribute(kind | 0x8000, value)
            })
        });
        match socket.transact(&[delete]) {
            Err(refused) if !refused.is(Errno::NOENT) => return Err(refused),
            _ => {}
        }
    }
    Ok(())
}

/// The original tuple of a UDP conversation with one of the ports.
fn tuple_to<'a>(reply: &'a Reply, ports: &[u16]) -> Option<&'a [u8]> {
    let tuple = attribute(reply.payload.get(4..)?, ORIGINAL)?;
    let protocol = attribute(tuple, TUPLE_PROTOCOL)?;
    let udp = attribute(protocol, NUMBER)? == [Protocol::Udp.number()];
    let port = u16::from_be_bytes(attribute(protocol, DESTINATION_PORT)?.try_into().ok()?);
    (udp && ports.contains(&port)).then_some(tuple)
}
