//! Roots, their networks, and what they remember of them.

use super::lab::{Lab, lab, place, unplug};
use crate::net::{Driver, NetworkPlan, NetworkRequest, PoolRequest, Site, setup};
use berth_oci::Kind;
use berth_sys::netns;
use std::net::IpAddr;

fn site(lab: &Lab, root: &str) -> Site {
    Site::new(&lab.run_dir().join(root), &lab.run_dir().join(root).join("run"), false, None, None)
}

fn request(name: &str, subnets: &[&str]) -> NetworkRequest {
    let pool = |text: &&str| PoolRequest {
        subnet: text.parse().unwrap(),
        gateway: None,
        range: None,
        auxiliary: Default::default(),
    };
    NetworkRequest {
        name: name.into(),
        driver: Driver::Bridge,
        pools: subnets.iter().map(pool).collect(),
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        labels: Default::default(),
        options: Default::default(),
    }
}

fn subnet(record: &crate::net::NetworkRecord) -> String {
    record.ipv4.as_ref().unwrap().subnet.to_string()
}

#[test]
fn networks_are_made_once_remembered_and_forgotten() {
    lab(|lab| {
        let site = site(lab, "a");
        let usual = site.usual_network().unwrap();
        assert_eq!(site.usual_network().unwrap(), usual);
        let web = site.create(&request("web", &["10.50.0.0/24"])).unwrap();
        assert_eq!((subnet(&web), web.id.len()), ("10.50.0.0/24".to_owned(), 64));
        let again = site.create(&request("web", &[])).unwrap_err();
        assert_eq!(again.message(), "network with name web already exists");
        let other = site.create(&NetworkRequest { ipv6: true, ..request("a b/../c", &[]) }).unwrap();
        assert!(other.ipv6.as_ref().unwrap().subnet.to_string().starts_with("fd"), "{other:?}");
        assert_eq!(site.records().unwrap(), [other.clone(), usual, web.clone()]);
        let network = site.network(&web).unwrap();
        assert!(
            super::lab::interfaces().contains(&network.bridge) && network.bridge.ends_with(&web.id[..12])
        );
        site.remove(&web).unwrap();
        site.remove(&web).unwrap();
        assert!(!super::lab::interfaces().contains(&network.bridge));
        site.create(&request("web", &["10.50.0.0/24"])).unwrap();
    });
}

#[test]
fn the_usual_root_has_plain_names() {
    lab(|lab| {
        let site = Site::new(lab.run_dir(), &lab.run_dir().join("run"), true, None, None);
        let record = site.usual_network().unwrap();
        let network = site.network(&record).unwrap();
        assert_eq!(
            (network.bridge.as_str(), network.home.nft_table.as_str(), subnet(&record).as_str()),
            ("berth0", "berth", "172.20.0.0/16")
        );
        let _docker = lab.start(&lab.network("other", "172.20.3.0/24"), "x", &[]);
        let moved = site.usual_network().unwrap();
        assert_eq!(subnet(&moved), "172.21.0.0/16", "somebody else has it now");
        assert_eq!(moved.id, record.id);
    });
}

#[test]
fn addresses_that_are_taken_are_refused() {
    lab(|lab| {
        let site = site(lab, "a");
        site.create(&request("web", &["10.50.0.0/16"])).unwrap();
        let overlap = "invalid pool request: Pool overlaps with other one on this address space";
        for taken in ["192.0.2.0/25", "10.50.7.0/24", "10.0.0.0/8"] {
            let error = site.create(&request("other", &[taken])).unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Conflict, overlap), "{taken}");
        }
        let mut wrong = request("other", &["10.60.0.0/24"]);
        wrong.pools[0].gateway = Some("10.9.0.1".parse().unwrap());
        assert_eq!(site.create(&wrong).unwrap_err().message(), "no matching subnet for gateway 10.9.0.1");
        wrong.pools[0].gateway = None;
        wrong.options.insert("com.docker.network.bridge.name".into(), "br-uplink".into());
        let named = site.create(&wrong).unwrap_err();
        assert_eq!(named.message(), "an interface named br-uplink exists on this host already");
        assert_eq!(site.records().unwrap().len(), 1, "what could not be made is not remembered");
    });
}

#[test]
fn two_roots_live_side_by_side() {
    lab(|lab| {
        let join = |root: &str| {
            let site = site(lab, root);
            let record = site.usual_network().unwrap();
            let network = site.network(&record).unwrap();
            let NetworkPlan { endpoint, .. } = super::lab::plan(&network, "same-id", &["80"]);
            let namespace = netns::create().unwrap();
            let attached =
                setup(&NetworkPlan { network: network.clone(), endpoint }, place(&namespace)).unwrap();
            (record, network, attached, namespace)
        };
        let (a, b) = (join("a"), join("b"));
        let overlap = a.0.ipv4.as_ref().unwrap().subnet.overlaps(b.0.ipv4.as_ref().unwrap().subnet);
        assert!(a.1.bridge != b.1.bridge && !overlap);
        std::fs::remove_dir_all(lab.run_dir().join("a/network")).unwrap();
        let known = site(lab, "a").usual_network().unwrap();
        assert_eq!((&known.ipv4, &known.id), (&a.0.ipv4, &a.0.id), "the bridge itself remembers");
        for (root, one) in [("a", &a), ("b", &b)] {
            unplug(&one.1, "same-id").unwrap();
            site(lab, root).remove(&one.0).unwrap();
        }
        assert_eq!(super::table::nft(&["list", "tables"], ""), "");
    });
}

#[test]
fn a_file_that_is_no_network_is_told() {
    lab(|lab| {
        let site = site(lab, "a");
        site.usual_network().unwrap();
        let file = lab.run_dir().join("a/network/bridge.json");
        std::fs::write(&file, "{").unwrap();
        let error = site.usual_network().unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.message().contains(&*file.to_string_lossy()) && error.hint_text().is_some());
        assert!(file.exists());
    });
}

/// Several berths make networks at once: no name twice, no address twice.
#[test]
fn many_at_once_share_neither_names_nor_addresses() {
    lab(|lab| {
        let host = netns::current().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let (lab, host) = (&lab, &host);
                scope.spawn(move || {
                    super::lab::within(host, || {
                        for number in 0..4 {
                            let request =
                                NetworkRequest { ipv6: true, ..request(&format!("n{number}"), &[]) };
                            if let Err(error) = site(lab, "a").create(&request) {
                                let message = format!("network with name n{number} already exists");
                                assert_eq!(error.message(), message);
                            }
                        }
                    });
                });
            }
        });
        let records = site(lab, "a").records().unwrap();
        let mut addresses: Vec<IpAddr> = records
            .iter()
            .flat_map(|record| record.ipv4.iter().chain(&record.ipv6))
            .map(|pool| pool.gateway)
            .collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!((records.len(), addresses.len()), (4, 8));
    });
}
