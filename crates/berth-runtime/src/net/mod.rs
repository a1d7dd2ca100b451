//! Networks: a bridge, addresses on it, and ports of the host that lead into containers.
//!
//! Here: published ports as text ([`PortMapping`]). Not here: names of hosts to look up, docker's JSON.

mod port;

pub use port::{PortMapping, PortRange, Protocol};
