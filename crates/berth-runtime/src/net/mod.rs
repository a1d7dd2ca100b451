//! Networks: a bridge, addresses on it, and ports of the host that lead into containers.
//!
//! Here, from a user's word down to the kernel: published ports as text ([`PortMapping`]); what a network and a
//! container's place on it are to be, as values ([`Site`], [`Network`], [`NetworkPlan`]); carrying that out
//! ([`setup`], [`teardown`], [`cleanup`]). Everything is said to the kernel directly, by
//! netlink; no other program is run. Not here: DNS, IPv6 inside containers, docker's JSON.
//!
//! Invariant: what one berth does is named after its root, and nothing of another berth, of docker or of the
//! host's administrator is changed (but for two commented rules in docker's `DOCKER-USER` chain, see `foreign.rs`).

mod attach;
mod conntrack;
mod foreign;
mod ledger;
mod link;
mod nft;
mod owner;
mod plan;
mod port;
mod reserve;
mod site;
mod subnet;
mod sysctl;
#[cfg(test)]
mod tests;

pub use attach::{Attached, cleanup, restore, setup, teardown, unplug};
pub use plan::{Endpoint, Joined, Mac, Names, Network, NetworkPlan, Published};
pub use port::{PortMapping, PortRange, Protocol};
pub use site::{DEFAULT, NetworkOptions, Site};
pub use subnet::Subnet;
