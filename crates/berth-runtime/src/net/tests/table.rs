//! The nftables plan: as text, and as `nft` sees what we told the kernel.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::lab::{lab, within};
use crate::net::nft::{Ruleset, Tables, Transaction};
use crate::net::{Network, Protocol, Published};
use berth_sys::netns;

fn networks(lab: &super::lab::Lab) -> [Network; 3] {
    let one = Network { ipv6: lab.network("one", "fd07::/64").ipv4, ..lab.network("one", "10.7.0.0/24") };
    let inner = Network { internal: true, ..lab.network("inner", "10.8.0.0/16") };
    let alone = Network { isolated: true, ..lab.network("alone", "10.9.4.0/22") };
    [one, inner, alone]
}

fn ruleset(networks: &[Network]) -> Ruleset<'_> {
    let port = |host_ip: &str, host_port, container_port, protocol| {
        let host_ip: IpAddr = host_ip.parse().unwrap();
        let to = if host_ip.is_ipv4() { "10.7.0.2" } else { "fd07::2" };
        (Published { host_ip, host_port, container_port, protocol }, to.parse().unwrap())
    };
    let published = vec![
        port("0.0.0.0", 8080, 80, Protocol::Tcp),
        port("0.0.0.0", 53, 5353, Protocol::Udp),
        port("127.0.0.1", 8081, 80, Protocol::Tcp),
        port("::", 8080, 80, Protocol::Tcp),
        port("fd00::1", 8081, 80, Protocol::Tcp),
    ];
    Ruleset { table: "berth-test", networks: networks.iter().collect(), published }
}

#[test]
fn the_plan_as_text() {
    lab(|lab| {
        let text = ruleset(&networks(lab)).to_string();
        assert_eq!(text, include_str!("ruleset.nft"));
    });
}

/// Two namespaces, one given our bytes and one our text: `nft` must list the same in both.
#[test]
fn nft_reads_our_bytes_as_our_text() {
    if Command::new("nft").arg("--version").output().is_err() {
        return;
    }
    lab(|lab| {
        let networks = networks(lab);
        let plan = ruleset(&networks);
        let bytes = || {
            Tables::open().unwrap().commit(&Transaction::default().replace(&plan)).unwrap();
            nft(&["list", "table", "inet", "berth-test"], "")
        };
        let text = || {
            nft(&["-f", "-"], &plan.to_string());
            nft(&["list", "table", "inet", "berth-test"], "")
        };
        let [by_bytes, by_text] =
            [within(netns::create().unwrap(), bytes), within(netns::create().unwrap(), text)];
        assert!(by_bytes.contains("masquerade"), "{by_bytes}");
        assert_eq!(sorted(&by_bytes), sorted(&by_text), "ours:\n{by_bytes}\nnft's:\n{by_text}");
    });
}

/// A hash gives its elements back in any order.
fn sorted(listing: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside = false;
    for line in listing.lines() {
        let starts = line.trim_start().starts_with("elements");
        match inside {
            true => {
                let last: &mut String = blocks.last_mut().expect("a block began before it went on");
                last.push_str(line.trim());
            }
            false => blocks.push(line.trim().to_owned()),
        }
        inside = (inside || starts) && !line.contains('}');
    }
    let in_order = |line: String| match line.split_once("{ ") {
        Some((head, list)) if head.starts_with("elements") => {
            let mut list: Vec<_> = list.trim_end_matches([' ', '}']).split(',').map(str::trim).collect();
            list.sort_unstable();
            format!("{head}{}", list.join(","))
        }
        _ => line,
    };
    blocks.into_iter().map(in_order).collect()
}

pub(super) fn nft(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
