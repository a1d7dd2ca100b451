//! Networks: a bridge, addresses on it, and ports of the host that lead into containers.
//!
//! Here, from a user's word down to the kernel: published ports as text ([`PortMapping`]); what a network and a
//! container's place on it are to be, as values ([`Site`], [`Network`], [`NetworkPlan`]); carrying that out
//! ([`setup`], [`teardown`], [`Site::create`]). Everything is said to the kernel directly, by
//! netlink; no other program is run. Not here: answering for names (`dns/`), docker's JSON.
//!
//! Invariant: what one berth does is named after its root, and nothing of another berth, of docker or of the
//! host's administrator is changed (but for two commented rules in docker's `DOCKER-USER` chain, see `foreign.rs`).

mod apart;
mod attach;
mod conntrack;
mod foreign;
mod ledger;
mod link;
mod mac;
mod moved;
mod names;
mod network;
mod nft;
mod options;
mod owner;
mod port;
mod reserve;
mod site;
mod subnet;
mod sysctl;
#[cfg(test)]
mod tests;
mod uplink;

pub(crate) use apart::Presence;
pub(crate) use attach::redirect_names;
pub use attach::{
    Attached, Member, Place, lead_out, members, publish, rename, restore, setup, strays, teardown, unplug,
};
#[cfg(test)]
pub(crate) use ledger::Lives;
pub(crate) use ledger::{Record, path as ledger_path, peek};
pub use mac::Mac;
pub(crate) use moved::give;
pub use names::Names;
pub use network::{
    Address, Apart, Driver, Endpoint, Home, Joined, Network, NetworkPlan, Pool, Published, leader, way_out,
};
pub use port::{PortMapping, PortRange, Protocol};
pub use reserve::Served;
pub use site::{DEFAULT, NetworkRecord, NetworkRequest, PoolRequest, Site};
pub use subnet::Subnet;
