//! A container on a bridge: its address inside, outside, and afterwards.

use crate::sandbox::Sandbox;
use berth_runtime::net::{Endpoint, NetworkPlan, Site};
use berth_runtime::{Connection, Status};
use std::fs;

/// On a network of its own root, which goes with the container.
fn on_a_network(script: &str) -> Option<(Sandbox, Site)> {
    let mut sandbox = Sandbox::shell(script)?;
    let site =
        Site::new(&sandbox.dir.path().join("root"), &sandbox.dir.path().join("runroot"), false, None, None);
    let network = site.network(&site.usual_network().unwrap()).unwrap();
    let endpoint =
        Endpoint { container: sandbox.bundle.id.clone(), name: "test".into(), ..Endpoint::default() };
    sandbox.bundle.networks = vec![NetworkPlan { network, endpoint }];
    let hosts = sandbox.dir.path().join("hosts");
    fs::write(&hosts, "127.0.0.1\tlocalhost\n").unwrap();
    sandbox.bundle.hosts = Some(hosts);
    Some((sandbox, site))
}

#[test]
fn a_container_has_its_address_and_gives_it_back() {
    let Some((mut sandbox, site)) = on_a_network("cat /etc/hosts; ip -4 -o addr; read x") else { return };
    let hosts = sandbox.dir.path().join("hosts").to_str().unwrap().to_owned();
    let mut mounts = sandbox.bundle.spec.mounts().clone().unwrap();
    mounts.push(crate::common::mount("/etc/hosts", "bind", &hosts, &["rbind"]));
    sandbox.bundle.spec.set_mounts(Some(mounts));
    sandbox.bundle.stdin = berth_runtime::Stdin::Once;
    let mut connection = sandbox.start().unwrap();
    let ip = sandbox.state().networks[0].ip().unwrap();
    connection.input().unwrap().close().unwrap();
    let outcome = crate::sandbox::outcome(&mut connection);
    // The bridge is busy only with containers: it can go when there are none.
    site.remove(&site.usual_network().unwrap()).unwrap();
    assert!(outcome.stdout.contains(&format!("{ip}\tberth\n")), "{outcome:?}");
    assert!(outcome.stdout.contains(&format!("inet {ip}/")), "{outcome:?}");
    assert!(sandbox.state().networks.is_empty());
    sandbox.assert_clean();
}

#[test]
fn a_killed_monitor_gives_the_address_back_when_someone_looks() {
    let Some((sandbox, site)) = on_a_network("sleep 1000") else { return };
    let connection = sandbox.start().unwrap();
    crate::kills::kill_the_monitor(&sandbox);
    drop(connection);
    let state = sandbox.state();
    assert!(state.status == Status::Exited && state.networks.is_empty());
    site.remove(&site.usual_network().unwrap()).unwrap();
    assert!(Connection::open(&sandbox.bundle.run_dir).is_err());
}
