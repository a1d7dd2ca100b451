//! The one table of ours inside a container: what it asks `127.0.0.11:53` goes to its monitor's sockets.
//!
//! Those have ports of their own, so that a container's own name server finds port 53 free on every address.

use std::net::Ipv4Addr;

use super::rule::{Chain, Match, Verdict};
use super::table::Transaction;
use crate::net::port::Protocol;

const TABLE: &str = "berth-names";

/// Where names are answered.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Redirection {
    /// The address that the container asks.
    pub(in crate::net) address: Ipv4Addr,
    /// The port of the UDP socket on it.
    pub(in crate::net) udp: u16,
    /// The port of the TCP socket on it.
    pub(in crate::net) tcp: u16,
}

impl Redirection {
    /// What is to be said to the kernel of the container's namespace.
    pub(in crate::net) fn transaction(self) -> Transaction {
        const DOMAIN: u16 = 53;
        let to = |protocol| [Match::ToAddress(self.address), Match::ToPort(protocol, DOMAIN)];
        let chain = Chain::base("output", "nat", "output", -100)
            .rule(&to(Protocol::Udp), Verdict::Redirect(self.address, self.udp))
            .rule(&to(Protocol::Tcp), Verdict::Redirect(self.address, self.tcp));
        Transaction::default().replace_with(TABLE, &chain)
    }
}
