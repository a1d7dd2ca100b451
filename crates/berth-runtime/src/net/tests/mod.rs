//! Networks in namespaces of their own, with real packets.

mod failure;
mod lab;
mod places;
mod table;
mod traffic;

use std::path::Path;

use super::{Network, Subnet};

pub(super) fn network(run_dir: &Path, name: &str, subnet: &str) -> Network {
    let subnet: Subnet = subnet.parse().unwrap();
    Network {
        name: name.into(),
        bridge: format!("br-{name}"),
        subnet,
        gateway: subnet.hosts().next().unwrap(),
        nft_table: "berth-test".into(),
        run_dir: run_dir.into(),
        internal: false,
        isolated: false,
        mtu: 1500,
    }
}
