//! Networks in namespaces of their own, with real packets.

mod failure;
mod lab;
mod names;
mod places;
mod table;
mod traffic;

use std::path::Path;

use super::{Driver, Home, Network, Pool, Subnet};

pub(super) fn network(run_dir: &Path, name: &str, subnet: &str) -> Network {
    let subnet: Subnet = subnet.parse().unwrap();
    let gateway = subnet.hosts().next().unwrap();
    Network {
        id: format!("id-of-{name}"),
        name: name.into(),
        driver: Driver::Bridge,
        bridge: format!("br-{name}"),
        mode: 0,
        ipv4: Some(Pool { subnet, gateway, range: None, auxiliary: Default::default() }),
        ipv6: None,
        home: Home { nft_table: "berth-test".into(), run_dir: run_dir.into(), apart: None },
        internal: false,
        isolated: false,
        unmasked: false,
        mtu: 1500,
        publish_at: None,
        interface_prefix: None,
        names: true,
    }
}
