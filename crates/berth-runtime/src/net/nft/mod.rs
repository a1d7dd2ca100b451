//! Our nftables table: a plan as a value, its text, its bytes.
//!
//! Here: [`Ruleset`] (what the table holds, printed as `nft` would) and, below, its encoding for the kernel.
//! Not here: other people's tables. Invariant: rules never change while containers come and go; only elements
//! of the maps `published…` do, one for each published port and family.
//!
//! How a packet for `host:8080` reaches a container: `prerouting` (from outside and from containers) and
//! `output` (from the host itself, `127.0.0.1` included) look its destination up in the maps and rewrite it.
//! `forward` lets published and answering packets through and keeps the rest of the world, other networks
//! included, out. `postrouting` hides containers behind the host, and makes answers come back through us where
//! they would not by themselves: to the host's loopback, and between neighbours of one bridge.

mod element;
mod encode;
mod resolver;
mod rule;
mod table;

use std::fmt;
use std::net::IpAddr;

use super::network::{Network, Published};

pub(super) use element::Element;
pub(super) use resolver::Redirection;
use rule::Chain;
pub(super) use rule::{Match, Rule, Verdict};
pub(super) use table::{ForeignChain, INET, IPV4, IPV6, Tables, Transaction};

/// The table of one berth: its networks and its published ports with the addresses they lead to.
#[derive(Clone, Debug)]
pub(super) struct Ruleset<'a> {
    /// The table's name.
    pub(super) table: &'a str,
    /// Every network of the root.
    pub(super) networks: Vec<&'a Network>,
    /// Every published port.
    pub(super) published: Vec<(Published, IpAddr)>,
}

/// A set or a map of the table: its name, its type as `nft` writes it, and whether it holds ranges.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) key: &'static [Type],
    pub(super) value: &'static [Type],
    pub(super) ranges: bool,
}

/// nftables' own types, as far as we use them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Address,
    Address6,
    Protocol,
    Port,
    Interface,
}

impl Type {
    fn text(self) -> &'static str {
        match self {
            Type::Address => "ipv4_addr",
            Type::Address6 => "ipv6_addr",
            Type::Protocol => "inet_proto",
            Type::Port => "inet_service",
            Type::Interface => "ifname",
        }
    }
}

pub(super) const SETS: [Set; 9] = [
    Set { name: "bridges", key: &[Type::Interface], value: &[], ranges: false },
    Set { name: "links", key: &[Type::Interface, Type::Interface], value: &[], ranges: false },
    Set { name: "internal", key: &[Type::Interface], value: &[], ranges: false },
    Set { name: "subnets", key: &[Type::Address], value: &[], ranges: true },
    Set { name: "subnets6", key: &[Type::Address6], value: &[], ranges: true },
    Set {
        name: "published",
        key: &[Type::Protocol, Type::Port],
        value: &[Type::Address, Type::Port],
        ranges: false,
    },
    Set {
        name: "published_at",
        key: &[Type::Address, Type::Protocol, Type::Port],
        value: &[Type::Address, Type::Port],
        ranges: false,
    },
    Set {
        name: "published6",
        key: &[Type::Protocol, Type::Port],
        value: &[Type::Address6, Type::Port],
        ranges: false,
    },
    Set {
        name: "published6_at",
        key: &[Type::Address6, Type::Protocol, Type::Port],
        value: &[Type::Address6, Type::Port],
        ranges: false,
    },
];

/// The maps of published ports among them.
pub(super) const PUBLISHED: [&str; 4] = ["published", "published_at", "published6", "published6_at"];

impl Ruleset<'_> {
    /// What each of [`SETS`] holds.
    pub(super) fn elements(&self) -> Vec<Element> {
        let mut elements = Vec::new();
        for network in &self.networks {
            let bridge = || network.bridge.clone();
            elements.push(Element::Bridge(bridge()));
            if !network.isolated {
                elements.push(Element::Link(bridge()));
            }
            match network {
                Network { internal: true, .. } => elements.push(Element::Internal(bridge())),
                Network { unmasked: true, .. } => {}
                _ => elements.extend(network.pools().map(|pool| Element::Subnet(pool.subnet))),
            }
        }
        elements.extend(self.published.iter().map(|(port, to)| Element::Published(*port, *to)));
        elements
    }

    /// The chains with their rules: the same for every berth.
    fn chains() -> Vec<Chain> {
        use Match::{
            Answer, ForUs, FromBridge, FromInternal, FromLoopback, FromSubnet, FromSubnet6, Rewritten,
            SameBridge, ToBridge, ToInternal, ToLoopback, ToLoopback6, ToOthers, ToSubnet, ToSubnet6,
        };
        use Verdict::{Accept, Drop, Masquerade, Publish, Publish6, PublishAt, PublishAt6};
        vec![
            // The bridges route 127/8 (see `sysctl.rs`), so what pretends to come from or go to the host's
            // loopback must be stopped before anything looks at it.
            Chain::base("guard", "filter", "prerouting", -300)
                .rule(&[FromBridge, ToLoopback], Drop)
                .rule(&[FromBridge, FromLoopback], Drop),
            Chain::base("prerouting", "nat", "prerouting", -100).rule(&[ForUs], Verdict::Jump("publish")),
            // IPv6 packets from the loopback never leave it: the container's monitor serves these itself.
            Chain::base("output", "nat", "output", -100)
                .rule(&[ToLoopback6], Accept)
                .rule(&[ForUs], Verdict::Jump("publish")),
            Chain::plain("publish")
                .rule(&[], PublishAt)
                .rule(&[], Publish)
                .rule(&[], PublishAt6)
                .rule(&[], Publish6),
            Chain::base("forward", "filter", "forward", 0)
                .rule(&[Answer], Accept)
                .rule(&[SameBridge], Accept)
                .rule(&[FromInternal], Drop)
                .rule(&[ToInternal], Drop)
                .rule(&[Rewritten], Accept)
                .rule(&[ToBridge], Drop),
            Chain::base("postrouting", "nat", "postrouting", 100)
                .rule(&[FromSubnet, ToOthers], Masquerade)
                .rule(&[FromLoopback, ToBridge], Masquerade)
                .rule(&[FromSubnet, ToSubnet, Rewritten], Masquerade)
                .rule(&[FromSubnet6, ToOthers], Masquerade)
                .rule(&[FromSubnet6, ToSubnet6, Rewritten], Masquerade),
        ]
    }
}

/// The table as `nft -f` reads it.
impl fmt::Display for Ruleset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.elements();
        writeln!(f, "table inet {} {{", self.table)?;
        for set in &SETS {
            let types = |types: &[Type]| types.iter().map(|kind| kind.text()).collect::<Vec<_>>().join(" . ");
            let (word, value) = match set.value {
                [] => ("set", String::new()),
                value => ("map", format!(" : {}", types(value))),
            };
            writeln!(f, "\t{word} {} {{\n\t\ttype {}{value}", set.name, types(set.key))?;
            if set.ranges {
                writeln!(f, "\t\tflags interval")?;
            }
            let held: Vec<_> = elements
                .iter()
                .filter(|element| element.set() == set.name)
                .map(ToString::to_string)
                .collect();
            if !held.is_empty() {
                writeln!(f, "\t\telements = {{ {} }}", held.join(", "))?;
            }
            writeln!(f, "\t}}")?;
        }
        for chain in Self::chains() {
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}
