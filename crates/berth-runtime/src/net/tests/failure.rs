//! What is in the way, what was killed, what is left.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::{
    HOST, LOCAL, cleanup, eventually, interfaces, lab, place, plan, restore, silent, talk, teardown, unplug,
    until_gone, within,
};
use super::table::nft;
use crate::net::link::{Links, Pair};
use crate::net::{Mac, setup, strays};
use berth_oci::Kind;
use berth_sys::netns;

#[test]
fn nothing_is_left_behind() {
    lab(|lab| {
        let before = interfaces();
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80", "53:53/udp"]);
        let busy = cleanup(&network).unwrap_err();
        assert_eq!(busy.kind(), Kind::Denied);
        let id = web.attached.joined.endpoint_id.get(..12).unwrap();
        assert_eq!(
            busy.message(),
            format!(
                "error while removing network: network one has active endpoints (name:\"name-of-web\" id:\"{id}\")"
            )
        );
        teardown(&network, "web").unwrap();
        teardown(&network, "web").unwrap();
        let interface = web.interface();
        drop(web);
        until_gone(&interface);
        cleanup(&network).unwrap();
        cleanup(&network).unwrap();
        assert_eq!(interfaces(), before);
        assert_eq!(nft(&["list", "tables"], ""), "");
        let left: Vec<_> =
            std::fs::read_dir(lab.run_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    });
}

#[test]
fn a_network_ends_alone() {
    lab(|lab| {
        let (one, two) = (lab.network("one", "10.7.0.0/24"), lab.network("two", "10.8.0.0/24"));
        let web = lab.start(&two, "web", &["8080:80"]);
        unplug(&one, &lab.start(&one, "x", &[]).id).unwrap();
        cleanup(&one).unwrap();
        let server = web.serve(80);
        within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
        assert!(!nft(&["list", "table", "inet", "berth-test"], "").contains("br-one"));
    });
}

#[test]
fn unplugged_is_gone_at_once() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80"]);
        web.leave(&network);
        assert_eq!(within(&web.namespace, interfaces), ["lo"]);
        assert!(silent((HOST, 8080)));
    });
}

#[test]
fn a_port_in_use_is_refused_with_its_owner() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let _web = lab.start(&network, "web", &["8080:80"]);
        let _listener = TcpListener::bind((LOCAL, 9000)).unwrap();
        let _socket = UdpSocket::bind((HOST, 9001)).unwrap();
        let pid = std::process::id();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let me = format!("pid {pid} ({})", comm.trim_end());
        let rows = [
            (
                &["8080:80"][..],
                "Bind for 0.0.0.0:8080 failed: port is already allocated (by container name-of-web)".into(),
            ),
            (
                &["127.0.0.1:8080:80"],
                "Bind for 127.0.0.1:8080 failed: port is already allocated (by container name-of-web)".into(),
            ),
            (
                &["81:80", "81:81"],
                "Bind for 0.0.0.0:81 failed: port is already allocated (by this container itself)".into(),
            ),
            (
                &["9000:80"],
                format!("failed to bind host port 0.0.0.0:9000/tcp: address already in use (by {me})"),
            ),
            (
                &["9001:80/udp"],
                format!("failed to bind host port 0.0.0.0:9001/udp: address already in use (by {me})"),
            ),
            (
                &["8080-8080:80-80"],
                "Bind for 0.0.0.0:8080 failed: port is already allocated (by container name-of-web)".into(),
            ),
        ];
        for (ports, expected) in rows {
            let error = lab.try_start(&network, "next", ports).map(|_| ()).unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Conflict, expected.as_str()), "{ports:?}");
            assert!(error.hint_text().is_some(), "{ports:?}");
        }
        let absent = lab.try_start(&network, "next", &["198.51.100.7:80:80"]).map(|_| ()).unwrap_err();
        assert_eq!(
            absent.message(),
            "failed to bind host port 198.51.100.7:80/tcp: cannot assign requested address"
        );
        let _listener6 = TcpListener::bind("[::1]:9002").unwrap();
        let six = lab.try_start(&network, "next", &["[::1]:9002:80"]).map(|_| ()).unwrap_err();
        assert!(
            six.message()
                .starts_with("failed to bind host port [::1]:9002/tcp: address already in use (by pid")
        );
        let next = lab.start(&network, "next", &["8080:80/udp", "8081:80"]);
        assert_eq!(next.ip().octets()[3], 3, "the refused ones left no address taken");
    });
}

#[test]
fn a_full_range_is_refused() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let _web = lab.start(&network, "web", &["8080:80", "8081:80"]);
        let error = lab.try_start(&network, "next", &["8080-8081:80"]).map(|_| ()).unwrap_err();
        assert_eq!(error.message(), "all ports are allocated: 0.0.0.0:8080-8081/tcp");
    });
}

#[test]
fn a_published_port_is_kept_from_other_programs() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80", "5353:53/udp"]);
        // The standard library sets SO_REUSEADDR on listeners.
        assert_eq!(TcpListener::bind((LOCAL, 8080)).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(UdpSocket::bind((HOST, 5353)).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        teardown(&network, "web").unwrap();
        drop(web);
        eventually(|| TcpListener::bind((LOCAL, 8080)));
        eventually(|| UdpSocket::bind((HOST, 5353)));
    });
}

/// Its monitor was killed: nobody called `teardown`, its namespace is gone.
#[test]
fn the_killed_leave_nothing_in_the_way() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80"]);
        let (interface, ip) = (web.interface(), web.ip());
        drop(web);
        until_gone(&interface);
        let blocker = lab.start(&network, "blocker", &[]);
        assert_eq!(blocker.ip(), ip, "its address came back");
        assert!(!nft(&["list", "map", "inet", "berth-test", "published"], "").contains("8080"));
        let next = lab.start(&network, "next", &["8080:80"]);
        let server = next.serve(80);
        within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
    });
}

#[test]
fn a_container_that_starts_again_replaces_its_own_record() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let first = lab.start(&network, "web", &["8080:80"]);
        let ip = first.ip();
        drop(first.attached);
        let again = lab.start(&network, "web", &["8080:80"]);
        assert_eq!(again.ip(), ip);
    });
}

#[test]
fn what_others_tore_down_is_built_again() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80"]);
        let server = web.serve(80);
        let reached = || within(&lab.outside, || !silent((HOST, 8080)));
        let damage: [(&[&str], &dyn Fn()); 4] = [
            (&["flush", "ruleset"], &|| drop(lab.start(&network, "next", &[]))),
            (&["flush", "ruleset"], &|| drop(lab.start(&network, "next", &["8081:80"]))),
            (&["flush", "ruleset"], &|| restore(&network).unwrap()),
            (&["flush", "map", "inet", "berth-test", "published"], &|| restore(&network).unwrap()),
        ];
        for (command, repair) in damage {
            nft(command, "");
            assert!(!reached(), "{command:?}");
            repair();
            assert!(reached(), "{command:?}");
            teardown(&network, "next").unwrap();
        }
        let _next = lab.start(&network, "next", &["8081:80"]);
        nft(&["delete", "table", "inet", "berth-test"], "");
        teardown(&network, "next").unwrap();
        assert!(reached(), "a table that is gone, and a container that leaves");
        drop(server);
    });
}

/// The element is there, with another address, and nobody has written it down.
#[test]
fn an_element_nobody_knows_is_replaced() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let _first = lab.start(&network, "first", &[]);
        nft(&["add", "element", "inet", "berth-test", "published", "{ tcp . 8080 : 10.7.0.99 . 1 }"], "");
        let web = lab.start(&network, "web", &["8080:80"]);
        let server = web.serve(80);
        within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
    });
}

#[test]
fn what_belongs_to_nobody_is_named_and_taken_away() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80"]);
        let told = || strays(&network.home).unwrap();
        assert_eq!(told(), Vec::<String>::new());
        let lost = netns::create().unwrap();
        let mut links = Links::open().unwrap();
        let bridge = links.find(&network.bridge).unwrap().unwrap().index;
        let mac = Mac::for_ip(web.ip());
        let pair = |name| Pair {
            name,
            inside: "eth0",
            bridge,
            mac,
            namespace: lost.as_fd(),
            isolated: false,
            mtu: 1500,
        };
        links.connect(&pair("veth0badcafe")).unwrap();
        nft(&["add", "element", "inet", "berth-test", "published", "{ tcp . 8081 : 10.7.0.99 . 1 }"], "");
        let bridge = &network.bridge;
        assert_eq!(
            told(),
            [
                format!("interface `veth0badcafe` of bridge `{bridge}`, which leads to no container"),
                "1 elements of the map `published` in the nft table `berth-test` lead nowhere".to_owned(),
            ]
        );
        restore(&network).unwrap();
        assert_eq!(told(), Vec::<String>::new());
        nft(&["flush", "map", "inet", "berth-test", "published"], "");
        assert_eq!(told(), ["the map `published` in the nft table `berth-test` lacks published ports"]);
        let interface = web.interface();
        drop(web);
        until_gone(&interface);
        let dead = "address 10.7.0.2 on network `one` of container `name-of-web`, which is not there";
        assert_eq!(told(), [dead]);
        restore(&network).unwrap();
        assert_eq!(told(), Vec::<String>::new());
    });
}

#[test]
fn a_bridge_left_half_made_is_made_anew() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        Links::open().unwrap().create_bridge(&network).unwrap();
        let web = lab.start(&network, "web", &["8080:80"]);
        let server = web.serve(80);
        talk((LOCAL, 8080), &server).unwrap();
    });
}

#[test]
fn a_failed_setup_is_undone() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let _first = lab.start(&network, "first", &[]);
        let before = interfaces();
        let no_namespace = std::fs::File::open("/dev/null").unwrap();
        let error = setup(&plan(&network, "web", &["8080:80"]), place(&no_namespace.into())).unwrap_err();
        assert!(error.to_string().contains("to create the interfaces"), "{error}");
        assert_eq!(interfaces(), before);
        assert!(!nft(&["list", "map", "inet", "berth-test", "published"], "").contains("8080"));
        assert_eq!(lab.start(&network, "next", &["8080:80"]).ip().octets()[3], 3);
    });
}

#[test]
fn many_at_once_share_nothing() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let host = netns::current().unwrap();
        let containers: Vec<_> = std::thread::scope(|scope| {
            let start = |number: usize| {
                let (network, host) = (&network, &host);
                scope.spawn(move || {
                    within(host, || lab.start(network, &format!("c{number}"), &["80", "9000-9100:81"]))
                })
            };
            let threads: Vec<_> = (0..12).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut addresses: Vec<_> = containers.iter().map(|container| container.ip()).collect();
        let mut ports: Vec<_> = containers
            .iter()
            .flat_map(|container| &container.attached.joined.ports)
            .map(|port| port.host_port)
            .collect();
        addresses.sort();
        addresses.dedup();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((addresses.len(), ports.len()), (12, 24));
    });
}

/// Docker drops what it does not know; its chain for administrators is where we are let through.
#[test]
fn dockers_firewall_lets_us_through() {
    const DOCKER: &str = "table ip filter {
        chain DOCKER-USER { }
        chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }
    }";
    lab(|lab| {
        nft(&["-f", "-"], DOCKER);
        let network = lab.network("one", "10.7.0.0/24");
        let web = lab.start(&network, "web", &["8080:80"]);
        assert_eq!(web.attached.notes.len(), 1, "forwarding alone: {:?}", web.attached.notes);
        let server = web.serve(80);
        within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
        unplug(&network, &lab.start(&network, "next", &[]).id).unwrap();
        let chain = || nft(&["list", "chain", "ip", "filter", "DOCKER-USER"], "");
        assert_eq!(chain().matches("comment \"berth br-one\"").count(), 2, "{}", chain());
        if Command::new("iptables")
            .arg("--version")
            .output()
            .is_ok_and(|it| it.stdout.ends_with(b"(nf_tables)\n"))
        {
            let listed = Command::new("iptables").args(["-S", "DOCKER-USER"]).output().unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert!(
                listed.contains(r#"-i br-one -m comment --comment "berth br-one" -j ACCEPT"#),
                "{listed}"
            );
            assert!(
                listed.contains(r#"-o br-one -m comment --comment "berth br-one" -j ACCEPT"#),
                "{listed}"
            );
        }
        unplug(&network, "web").unwrap();
        cleanup(&network).unwrap();
        assert!(!chain().contains("berth"), "{}", chain());
    });
}

#[test]
fn a_firewall_that_drops_is_told() {
    lab(|lab| {
        nft(
            &["-f", "-"],
            "table inet mine { chain gate { type filter hook forward priority 0; policy drop;\n}\n}\n",
        );
        let web = lab.start(&lab.network("one", "10.7.0.0/24"), "web", &[]);
        let told = web.attached.notes.iter().any(|note| note.contains("policy of chain gate in table mine"));
        assert!(told, "{:?}", web.attached.notes);
    });
}

/// The best of twenty, so that a busy machine does not matter.
#[test]
fn joining_a_network_takes_a_few_milliseconds() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let _first = lab.start(&network, "first", &[]);
        let timed = |number: u32| {
            let namespace = netns::create().unwrap();
            let plan = plan(&network, &format!("c{number}"), &["80"]);
            let start = Instant::now();
            let attached = setup(&plan, place(&namespace)).unwrap();
            (start.elapsed(), namespace, attached)
        };
        let runs: Vec<_> = (0..20).map(timed).collect();
        let best = runs.iter().map(|run| run.0).min().unwrap();
        println!("best of 20: {best:?}");
        assert!(best.as_millis() < 4, "{best:?}");
    });
}

/// Run by the next test as a process of its own, with a plan's path among its arguments.
#[test]
fn victim() {
    let Some(path) = std::env::args().find(|argument| argument.ends_with("plan.json")) else { return };
    let plan = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let namespace = netns::create().unwrap();
    let _attached = setup(&plan, place(&namespace)).unwrap();
    teardown(&plan.network, &plan.endpoint.container).unwrap();
}

/// Wherever in `setup` and `teardown` the kill hits: the same port is published again at once, and answers.
#[test]
fn a_kill_at_any_moment_is_repaired() {
    lab(|lab| {
        let network = lab.network("one", "10.7.0.0/24");
        let path = lab.run_dir().join("plan.json");
        std::fs::write(
            &path,
            serde_json::to_vec(&plan(&network, "victim", &["8080:80", "53:53/udp"])).unwrap(),
        )
        .unwrap();
        let before = interfaces();
        for round in 0..24 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["failure::victim".as_ref(), path.as_os_str()])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Its first trace, then a little further each time.
            while !lab.run_dir().join("state.json").exists() && child.try_wait().unwrap().is_none() {}
            let moment = Instant::now();
            while moment.elapsed() < Duration::from_micros(200 * round) {}
            child.kill().unwrap();
            child.wait().unwrap();
            let web = lab.start(&network, "web", &["8080:80", "53:53/udp"]);
            let server = web.serve(80);
            within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
            unplug(&network, "web").unwrap();
            for interface in interfaces().iter().filter(|name| name.starts_with("veth")) {
                until_gone(interface);
            }
            cleanup(&network).unwrap();
            assert_eq!(interfaces(), before);
        }
    });
}
