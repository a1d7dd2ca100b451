//! One element of one of our sets: its text and its bytes.
//!
//! Not here: sending it. Invariant: every part of a concatenated key is padded to four bytes, as the kernel's
//! registers are.

use std::fmt;
use std::net::IpAddr;

use crate::net::network::Published;
use crate::net::subnet::{Subnet, octets};

/// What a set or a map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Element {
    /// An interface of ours.
    Bridge(String),
    /// From this interface to itself: neighbours may speak.
    Link(String),
    /// An interface whose packets stay on it.
    Internal(String),
    /// Addresses that are hidden behind the host.
    Subnet(Subnet),
    /// A port of the host and the container's address it leads to.
    Published(Published, IpAddr),
}

impl Element {
    /// The set it belongs to.
    pub(in crate::net) fn set(&self) -> &'static str {
        match self {
            Element::Bridge(_) => "bridges",
            Element::Link(_) => "links",
            Element::Internal(_) => "internal",
            Element::Subnet(subnet) if subnet.is_ipv4() => "subnets",
            Element::Subnet(_) => "subnets6",
            Element::Published(port, _) => match (port.host_ip.is_ipv4(), port.host_ip.is_unspecified()) {
                (true, true) => "published",
                (true, false) => "published_at",
                (false, true) => "published6",
                (false, false) => "published6_at",
            },
        }
    }

    /// Its key.
    pub(in crate::net) fn key(&self) -> Vec<u8> {
        match self {
            Element::Bridge(name) | Element::Internal(name) => interface(name).to_vec(),
            Element::Link(name) => [interface(name), interface(name)].concat(),
            Element::Subnet(subnet) => octets(subnet.address()),
            Element::Published(port, _) => {
                let mut key = Vec::with_capacity(24);
                if !port.host_ip.is_unspecified() {
                    key.extend(octets(port.host_ip));
                }
                key.extend([port.protocol.number(), 0, 0, 0]);
                key.extend(padded_port(port.host_port));
                key
            }
        }
    }

    /// For a range: the first key behind it.
    pub(super) fn end(&self) -> Option<Vec<u8>> {
        match self {
            Element::Subnet(subnet) => Some(match subnet.last() {
                IpAddr::V4(last) => u32::from(last).wrapping_add(1).to_be_bytes().to_vec(),
                IpAddr::V6(last) => u128::from(last).wrapping_add(1).to_be_bytes().to_vec(),
            }),
            _ => None,
        }
    }

    /// For a map: the value.
    pub(super) fn value(&self) -> Option<Vec<u8>> {
        match self {
            Element::Published(port, to) => {
                Some([&octets(*to)[..], &padded_port(port.container_port)].concat())
            }
            _ => None,
        }
    }
}

/// An interface's name as the kernel compares it: 16 bytes, filled with zeros.
pub(super) fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (byte, letter) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *byte = letter;
    }
    bytes
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Bridge(name) | Element::Internal(name) => write!(f, "\"{name}\""),
            Element::Link(name) => write!(f, "\"{name}\" . \"{name}\""),
            Element::Subnet(subnet) => subnet.fmt(f),
            Element::Published(port, to) => {
                if !port.host_ip.is_unspecified() {
                    write!(f, "{} . ", port.host_ip)?;
                }
                write!(f, "{} . {} : {to} . {}", port.protocol, port.host_port, port.container_port)
            }
        }
    }
}
