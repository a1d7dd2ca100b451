//! A container on a bridge: its address inside, outside, and afterwards.

use crate::kills::{monitor_with, pidfd, wait};
use crate::sandbox::Sandbox;
use berth_runtime::net::{Endpoint, NetworkPlan, Site};
use berth_runtime::{Connection, LinkedHost, Status, create};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Pid;
use std::fs::{self, File};

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

#[test]
fn a_process_that_ends_before_its_network_comes_has_the_last_word() {
    let Some((mut sandbox, site)) = on_a_network("") else { return };
    sandbox.bundle.spec.set_process(Some(crate::common::process(&["nope"])));
    // Reading this the monitor waits, between the process and its network.
    let hosts = sandbox.dir.path().join("fifo");
    mknodat(CWD, &hosts, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let nobody = LinkedHost { container: "nobody".into(), network: "bridge".into(), names: "other".into() };
    (sandbox.bundle.hosts, sandbox.bundle.linked) = (Some(hosts.clone()), vec![nobody]);
    let mut connection = create(&sandbox.bundle).unwrap();
    let monitor = monitor_with(&sandbox.bundle.id).as_raw_nonzero();
    let children = format!("/proc/{monitor}/task/{monitor}/children");
    let process = loop {
        match fs::read_to_string(&children).unwrap().trim().parse() {
            Ok(pid) => break pidfd(Pid::from_raw(pid).unwrap()),
            Err(_) => std::thread::yield_now(),
        }
    };
    wait(&process);
    drop(File::options().write(true).open(&hosts).unwrap());
    let error = connection.start().unwrap_err();
    site.remove(&site.usual_network().unwrap()).unwrap();
    assert_eq!(error.to_string(), "exec: \"nope\": executable file not found in $PATH");
}
