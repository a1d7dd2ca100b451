//! Who reaches whom, and who does not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::lab::{
    Container, HOST, LOCAL, Lab, OUTSIDE, bridged_packets_pass_the_firewall, gateway, lab,
    lead_loopback_to_the_bridge, silent, talk, talk_udp, teardown, udp, within,
};
use crate::net::{Driver, Network, Published};
use berth_sys::netns;

struct Scene {
    network: Network,
    web: Container,
    other: Container,
    host: OwnedFd,
}

fn scene(lab: &Lab, ports: &[&str]) -> Scene {
    let network = lab.network("one", "10.7.0.0/24");
    let web = lab.start(&network, "web", ports);
    let other = lab.start(&network, "other", &[]);
    Scene { network, web, other, host: netns::current().unwrap() }
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    lab(|lab| {
        let Scene { network, web, other, host } = scene(lab, &["8080:80"]);
        let server = web.serve(80);
        let gateway = gateway(&network);
        let rows = [
            ("the outside", &lab.outside, (HOST, 8080), OUTSIDE),
            ("the host by its loopback", &host, (LOCAL, 8080), gateway),
            ("the host by another of its loopbacks", &host, (Ipv4Addr::new(127, 0, 0, 53), 8080), gateway),
            ("the host by its own address", &host, (HOST, 8080), HOST),
            ("the host by the container's address", &host, (web.ip(), 80), gateway),
            ("a neighbour by the host's address", &other.namespace, (HOST, 8080), gateway),
            ("a neighbour by the gateway", &other.namespace, (gateway, 8080), gateway),
            ("a neighbour directly", &other.namespace, (web.ip(), 80), other.ip()),
            ("itself by the host's address", &web.namespace, (HOST, 8080), gateway),
            ("itself by its loopback", &web.namespace, (LOCAL, 80), LOCAL),
        ];
        for bridged in [false, true] {
            bridged_packets_pass_the_firewall(bridged);
            for (who, namespace, to, seen) in rows {
                let answer = within(namespace, || talk(to, &server));
                assert_eq!(
                    answer.map_err(|error| format!("{who}, {bridged}: {error}")),
                    Ok(seen),
                    "{who}, {bridged}"
                );
            }
        }
    });
}

#[test]
fn a_container_reaches_the_outside_behind_the_host() {
    lab(|lab| {
        let Scene { web, .. } = scene(lab, &[]);
        let server = within(&lab.outside, || std::net::TcpListener::bind((OUTSIDE, 443)).unwrap());
        assert_eq!(within(&web.namespace, || talk((OUTSIDE, 443), &server)).unwrap(), HOST);
        assert!(within(&lab.outside, || silent((web.ip(), 80))), "no route leads there");
    });
}

#[test]
fn a_port_published_on_one_address_is_reached_only_there() {
    lab(|lab| {
        let Scene { network, web, other, host } = scene(lab, &["127.0.0.1:8080:80", "192.0.2.1:8081:80"]);
        let server = web.serve(80);
        let gateway = gateway(&network);
        assert_eq!(within(&host, || talk((LOCAL, 8080), &server)).unwrap(), gateway);
        assert_eq!(within(&lab.outside, || talk((HOST, 8081), &server)).unwrap(), OUTSIDE);
        let rows = [
            ("the outside", &lab.outside, (HOST, 8080)),
            ("the host by another address", &host, (HOST, 8080)),
            ("a neighbour", &other.namespace, (gateway, 8080)),
            ("the host by its loopback", &host, (LOCAL, 8081)),
            ("a neighbour by the gateway", &other.namespace, (gateway, 8081)),
        ];
        for (who, namespace, to) in rows {
            assert!(within(namespace, || silent(to)), "{who} reached {to:?}");
        }
    });
}

#[test]
fn the_hosts_loopback_is_closed_to_containers() {
    lab(|lab| {
        let Scene { network, web, .. } = scene(lab, &["127.0.0.1:8080:80"]);
        let _server = web.serve(80);
        let secret = std::net::TcpListener::bind((LOCAL, 9000)).unwrap();
        lead_loopback_to_the_bridge(&web, gateway(&network));
        assert!(within(&web.namespace, || silent((LOCAL, 9000))));
        secret.set_nonblocking(true).unwrap();
        assert_eq!(secret.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn ranges_and_ports_the_kernel_chooses() {
    lab(|lab| {
        let Scene { web, other, .. } = scene(lab, &["8000-8001:80-81", "127.0.0.1::80", "82"]);
        let servers = [web.serve(80), web.serve(81), web.serve(82)];
        let ipv4 = |container: &Container| -> Vec<Published> {
            let ports = &container.attached.joined.ports;
            let both = ports.iter().filter(|port| {
                let same = |other: &&Published| {
                    (other.host_port, other.container_port) == (port.host_port, port.container_port)
                };
                port.host_ip.is_ipv4()
                    && (!port.host_ip.is_unspecified() || ports.iter().filter(same).count() == 2)
            });
            both.copied().collect()
        };
        let shown: Vec<_> = ipv4(&web).iter().map(ToString::to_string).collect();
        assert_eq!(shown[..2], ["0.0.0.0:8000->80/tcp", "0.0.0.0:8001->81/tcp"]);
        let (local, any) = (ipv4(&web)[2].host_port, ipv4(&web)[3].host_port);
        assert_eq!(web.attached.held.len(), 4);
        for (namespace, to, server) in [
            (&lab.outside, (HOST, 8000), &servers[0]),
            (&lab.outside, (HOST, 8001), &servers[1]),
            (&lab.outside, (HOST, any), &servers[2]),
            (&other.namespace, (HOST, any), &servers[2]),
        ] {
            within(namespace, || talk(to, server)).unwrap();
        }
        talk((LOCAL, local), &servers[0]).unwrap();
        let more = lab.start(&lab.network("one", "10.7.0.0/24"), "more", &["8000-8005:80"]);
        assert_eq!(more.attached.joined.ports[0].host_port, 8002, "the first free one of the range");
    });
}

#[test]
fn udp_is_published_and_finds_the_next_container() {
    lab(|lab| {
        let Scene { network, web, .. } = scene(lab, &["5353:53/udp"]);
        let server = web.serve_udp(53);
        let client = within(&lab.outside, || udp(UdpSocket::bind((OUTSIDE, 0)).unwrap()));
        assert_eq!(talk_udp(&client, (HOST, 5353), &server).unwrap(), OUTSIDE);
        let local = udp(UdpSocket::bind((LOCAL, 0)).unwrap());
        assert_eq!(talk_udp(&local, (LOCAL, 5353), &server).unwrap(), gateway(&network));

        let first = web.ip();
        teardown(&network, &web.id).unwrap();
        drop((web, server));
        client.send_to(b"lost", (HOST, 5353)).unwrap();
        let _blocker = lab.start(&network, "blocker", &[]);
        let next = lab.start(&network, "next", &["5353:53/udp"]);
        assert_ne!(next.ip(), first);
        let server = next.serve_udp(53);
        assert_eq!(talk_udp(&client, (HOST, 5353), &server).unwrap(), OUTSIDE, "the same client socket");
    });
}

#[test]
fn networks_meet_at_published_ports_only() {
    lab(|lab| {
        let Scene { web, host, .. } = scene(lab, &["8080:80"]);
        let two = lab.network("two", "10.8.0.0/24");
        let stranger = lab.start(&two, "stranger", &[]);
        let server = web.serve(80);
        assert!(within(&stranger.namespace, || silent((web.ip(), 80))), "a direct way between networks");
        within(&stranger.namespace, || talk((HOST, 8080), &server)).unwrap();
        within(&host, || talk((web.ip(), 80), &server)).unwrap();
    });
}

#[test]
fn an_internal_network_has_no_outside() {
    lab(|lab| {
        let network = Network { internal: true, ..lab.network("in", "10.9.0.0/24") };
        let (web, other) = (lab.start(&network, "web", &["8080:80"]), lab.start(&network, "other", &[]));
        let server = web.serve(80);
        within(&other.namespace, || talk((web.ip(), 80), &server)).unwrap();
        assert!(web.attached.joined.ipv4.unwrap().gateway.is_none());
        assert!(within(&lab.outside, || silent((HOST, 8080))), "a way in");
        assert!(within(&web.namespace, || silent((OUTSIDE, 443))), "a way out");
    });
}

#[test]
fn isolated_neighbours_do_not_meet() {
    lab(|lab| {
        let network = Network { isolated: true, ..lab.network("iso", "10.9.0.0/24") };
        let (web, other) = (lab.start(&network, "web", &["8080:80"]), lab.start(&network, "other", &[]));
        let server = web.serve(80);
        bridged_packets_pass_the_firewall(false);
        assert!(within(&other.namespace, || silent((web.ip(), 80))), "neighbours met");
        within(&other.namespace, || talk((HOST, 8080), &server)).unwrap();
        within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
        bridged_packets_pass_the_firewall(true);
        assert!(within(&other.namespace, || silent((web.ip(), 80))), "neighbours met");
        within(&lab.outside, || talk((HOST, 8080), &server)).unwrap();
    });
}

#[test]
fn a_namespace_is_named_by_descriptor_only() {
    lab(|lab| {
        let Scene { web, .. } = scene(lab, &[]);
        assert_eq!(within(web.namespace.as_fd(), super::lab::interfaces), ["eth0", "lo"]);
    });
}

/// A port of IPv6: the kernel leads it to a container that has such an address, source and all; for others, and for
/// the host's own loopback, there is something to serve.
#[test]
fn ipv6_ports_lead_to_ipv6_addresses() {
    lab(|lab| {
        let six = lab.network("six", "fd07::/64").ipv4;
        let network = Network { ipv6: six, ..lab.network("six", "10.7.0.0/24") };
        let web = lab.start(&network, "web", &["8080:80"]);
        let other = lab.start(&network, "other", &[]);
        let server = within(&web.namespace, || TcpListener::bind("[::]:80").unwrap());
        let seen = |to: &str| -> IpAddr {
            let to: SocketAddr = to.parse().unwrap();
            let _client = TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap();
            server.accept().unwrap().1.ip()
        };
        assert_eq!(within(&other.namespace, || seen("[fd07::2]:80")).to_string(), "fd07::3");
        assert_eq!(within(&other.namespace, || seen("[fd07::1]:8080")).to_string(), "fd07::1");
        assert_eq!(seen("[fd07::1]:8080").to_string(), "fd07::1", "the host by its own address");
        let served: Vec<_> = web.attached.served.iter().map(|served| served.to.to_string()).collect();
        assert_eq!(served, ["[fd07::2]:80"]);
        let plain = lab.start(&lab.network("one", "10.8.0.0/24"), "plain", &["8081:80"]);
        let served: Vec<_> = plain.attached.served.iter().map(|served| served.to.to_string()).collect();
        assert_eq!(served, ["10.8.0.2:80"]);
    });
}

#[test]
fn a_containers_own_address_on_the_hosts_interface() {
    lab(|lab| {
        let mut network = lab.network("lan", "192.0.2.0/24");
        network.driver = Driver::Macvlan;
        network.mode = 4;
        network.bridge = "br-uplink".into();
        network.ipv4.as_mut().unwrap().gateway = HOST.into();
        network.ipv4.as_mut().unwrap().auxiliary.insert("outside".into(), OUTSIDE.into());
        let web = match lab.try_start(&network, "web", &["8080:80"]) {
            Err(error) if error.kind() == berth_oci::Kind::Unsupported => return,
            other => other.unwrap(),
        };
        assert!(web.attached.joined.interface.is_none() && web.attached.joined.ports.is_empty());
        assert_eq!(web.ip(), Ipv4Addr::new(192, 0, 2, 3));
        let server = web.serve(80);
        assert_eq!(within(&lab.outside, || talk((web.ip(), 80), &server)).unwrap(), OUTSIDE);
        web.leave(&network);
        assert_eq!(within(&web.namespace, super::lab::interfaces), ["lo"]);
    });
}
