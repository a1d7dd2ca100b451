//! Roots, their networks, and the subnets they remember.

use std::path::Path;

use super::lab::{Lab, lab};
use crate::net::{NetworkOptions, NetworkPlan, Site, cleanup, setup, unplug};
use berth_oci::Kind;
use berth_sys::netns;
use std::os::fd::AsFd;

fn site(lab: &Lab, root: &str) -> Site {
    Site::new(&lab.run_dir().join(root), &lab.run_dir().join(root).join("run"), false)
}

fn subnet(text: &str) -> NetworkOptions {
    NetworkOptions { subnet: Some(text.parse().unwrap()), ..NetworkOptions::default() }
}

#[test]
fn a_subnet_is_remembered_until_it_is_forgotten() {
    lab(|lab| {
        let site = site(lab, "a");
        let first = site.network("bridge", &NetworkOptions::default()).unwrap();
        assert_eq!(
            (first.bridge.as_str(), first.gateway),
            (site.names().bridge.as_str(), first.subnet.hosts().next().unwrap())
        );
        assert_eq!(site.network("bridge", &NetworkOptions::default()).unwrap(), first);
        let web = site.network("web", &subnet("10.50.0.0/24")).unwrap();
        assert_eq!(site.network("web", &NetworkOptions::default()).unwrap(), web);
        site.forget("web").unwrap();
        site.forget("web").unwrap();
        assert_ne!(site.network("web", &NetworkOptions::default()).unwrap().subnet, web.subnet);
    });
}

#[test]
fn the_usual_root_has_plain_names() {
    lab(|lab| {
        let site = Site::new(lab.run_dir(), &lab.run_dir().join("run"), true);
        let network = site.network("bridge", &NetworkOptions::default()).unwrap();
        assert_eq!(
            (network.bridge.as_str(), network.nft_table.as_str(), network.subnet.to_string().as_str()),
            ("berth0", "berth", "172.20.0.0/16")
        );
        let _docker = lab.start(&lab.network("other", "172.20.3.0/24"), "x", &[]);
        let moved = site.network("bridge", &NetworkOptions::default()).unwrap();
        assert_eq!(moved.subnet.to_string(), "172.21.0.0/16", "somebody else has it now");
    });
}

#[test]
fn a_subnet_that_is_taken_is_refused() {
    lab(|lab| {
        let site = site(lab, "a");
        let taken = site.network("web", &subnet("192.0.2.0/25")).unwrap_err();
        assert_eq!(taken.kind(), Kind::Conflict);
        assert_eq!(
            taken.message(),
            "invalid pool request: Pool overlaps with other one on this address space: 192.0.2.0/25"
        );
        let wrong = NetworkOptions { gateway: Some("10.9.0.1".parse().unwrap()), ..subnet("10.50.0.0/24") };
        assert_eq!(
            site.network("web", &wrong).unwrap_err().message(),
            "no matching subnet for gateway 10.9.0.1"
        );
    });
}

#[test]
fn two_roots_live_side_by_side() {
    lab(|lab| {
        let join = |root: &str| {
            let network = site(lab, root).network("bridge", &NetworkOptions::default()).unwrap();
            let NetworkPlan { endpoint, .. } = super::lab::plan(&network, "same-id", &["80"]);
            let namespace = netns::create().unwrap();
            let attached =
                setup(&NetworkPlan { network: network.clone(), endpoint }, namespace.as_fd()).unwrap();
            (network, attached, namespace)
        };
        let (a, b) = (join("a"), join("b"));
        assert!(a.0.bridge != b.0.bridge && !a.0.subnet.overlaps(b.0.subnet));
        let changed = site(lab, "a").network("bridge", &subnet("10.60.0.0/24")).unwrap_err();
        assert_eq!(changed.kind(), Kind::Conflict, "{changed}");
        std::fs::remove_dir_all(lab.run_dir().join("a/network")).unwrap();
        let known = site(lab, "a").network("bridge", &NetworkOptions::default()).unwrap();
        assert_eq!(known, a.0, "the bridge itself remembers");
        for (network, ..) in [&a, &b] {
            unplug(network, "same-id").unwrap();
            cleanup(network).unwrap();
        }
        assert_eq!(super::table::nft(&["list", "tables"], ""), "");
    });
}

#[test]
fn a_file_that_is_no_network_is_told() {
    lab(|lab| {
        let site = site(lab, "a");
        site.network("bridge", &NetworkOptions::default()).unwrap();
        let file = lab.run_dir().join("a/network/bridge.json");
        std::fs::write(&file, "{").unwrap();
        let error = site.network("bridge", &NetworkOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.message().contains(&*file.to_string_lossy()) && error.hint_text().is_some());
        assert!(Path::new(&file).exists());
    });
}
