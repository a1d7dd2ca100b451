//! Chains and rules in the words of this product, and how `nft` would write them.
//!
//! Not here: their bytes. Invariant: a rule is its conditions, all of which must hold, and one verdict.

use std::fmt;
use std::net::Ipv4Addr;

use crate::net::port::Protocol;

/// A chain with its rules.
#[derive(Clone, Debug)]
pub(in crate::net) struct Chain {
    pub(super) name: &'static str,
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// Where the kernel enters a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) kind: &'static str,
    pub(super) hook: &'static str,
    pub(super) priority: i32,
}

/// Conditions and what follows.
#[derive(Clone, Debug)]
pub(in crate::net) struct Rule {
    pub(in crate::net) when: Vec<Match>,
    pub(in crate::net) then: Verdict,
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Match {
    /// It came in by one of our bridges.
    FromBridge,
    /// It leaves by one of our bridges.
    ToBridge,
    /// It leaves by anything else.
    ToOthers,
    /// It came in by a bridge that is closed to the outside.
    FromInternal,
    /// It would leave by such a bridge.
    ToInternal,
    /// It leaves by the bridge it came from, where neighbours may speak.
    SameBridge,
    /// It came in by this interface.
    From(String),
    /// It leaves by this interface.
    To(String),
    /// Its source is one of our containers.
    FromSubnet,
    /// Its destination is one of our containers.
    ToSubnet,
    /// Its source is in 127/8.
    FromLoopback,
    /// Its destination is in 127/8.
    ToLoopback,
    /// Its source is one of our containers' IPv6 addresses.
    FromSubnet6,
    /// Its destination is one of them.
    ToSubnet6,
    /// Its destination is `::1`.
    ToLoopback6,
    /// Its destination is this address.
    ToAddress(Ipv4Addr),
    /// Its destination is this port.
    ToPort(Protocol, u16),
    /// Its destination is an address of this host.
    ForUs,
    /// It belongs to a conversation that was let through before.
    Answer,
    /// Its destination was rewritten: it was sent to a published port.
    Rewritten,
}

/// What happens to a packet that meets the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Verdict {
    Accept,
    Drop,
    Jump(&'static str),
    Masquerade,
    /// To the container that published this port on every address, if any did.
    Publish,
    /// To the container that published this port on the packet's destination address, if any did.
    PublishAt,
    /// The same for IPv6.
    Publish6,
    /// The same for IPv6.
    PublishAt6,
    /// To another port of this address.
    Redirect(Ipv4Addr, u16),
}

impl Chain {
    pub(super) fn base(name: &'static str, kind: &'static str, hook: &'static str, priority: i32) -> Self {
        Self { name, base: Some(Base { kind, hook, priority }), rules: Vec::new() }
    }

    pub(super) fn plain(name: &'static str) -> Self {
        Self { name, base: None, rules: Vec::new() }
    }

    pub(super) fn rule(mut self, when: &[Match], then: Verdict) -> Self {
        self.rules.push(Rule { when: when.to_vec(), then });
        self
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(Base { kind, hook, priority }) = self.base {
            writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy accept;")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.when {
            write!(f, "{condition} ")?;
        }
        self.then.fmt(f)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Match::FromBridge => "iifname @bridges",
            Match::ToBridge => "oifname @bridges",
            Match::ToOthers => "oifname != @bridges",
            Match::FromInternal => "iifname @internal",
            Match::ToInternal => "oifname @internal",
            Match::SameBridge => "iifname . oifname @links",
            Match::From(name) => return write!(f, "iifname \"{name}\""),
            Match::To(name) => return write!(f, "oifname \"{name}\""),
            Match::FromSubnet => "ip saddr @subnets",
            Match::ToSubnet => "ip daddr @subnets",
            Match::FromLoopback => "ip saddr 127.0.0.0/8",
            Match::ToLoopback => "ip daddr 127.0.0.0/8",
            Match::FromSubnet6 => "ip6 saddr @subnets6",
            Match::ToSubnet6 => "ip6 daddr @subnets6",
            Match::ToLoopback6 => "ip6 daddr ::1",
            Match::ToAddress(address) => return write!(f, "ip daddr {address}"),
            Match::ToPort(protocol, port) => return write!(f, "{protocol} dport {port}"),
            Match::ForUs => "fib daddr type local",
            Match::Answer => "ct state established,related",
            Match::Rewritten => "ct status dnat",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
            Verdict::Jump(chain) => return write!(f, "jump {chain}"),
            Verdict::Masquerade => "masquerade",
            Verdict::Publish => "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @published",
            Verdict::PublishAt => "dnat ip to ip daddr . meta l4proto . th dport map @published_at",
            Verdict::Publish6 => "meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @published6",
            Verdict::PublishAt6 => "dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6_at",
            Verdict::Redirect(address, port) => return write!(f, "dnat ip to {address}:{port}"),
        })
    }
}
