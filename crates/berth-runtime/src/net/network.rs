//! A network and a container's place on it, as values: nothing here touches the kernel.
//!
//! Here: [`Network`], [`Endpoint`], [`NetworkPlan`] (what is to be), [`Joined`], [`Published`] (what has become of
//! it). Not here: carrying a plan out. Invariant: every value survives its way through a state file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mac::Mac;
use super::port::{PortMapping, Protocol};
use super::subnet::Subnet;

/// How packets get from a container to the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A switch of our own, behind whose addresses the host stands.
    #[default]
    Bridge,
    /// An address of its own beside the host's, on one of the host's interfaces.
    Macvlan,
    /// The same with the host's hardware address.
    Ipvlan,
}

impl Driver {
    /// The driver's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// Where the addresses of one family come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of them.
    pub subnet: Subnet,
    /// The bridge's own address, or a router's.
    pub gateway: IpAddr,
    /// Those that containers get unless they ask for one.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// Those that somebody else has, with who it is.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

impl Pool {
    /// May a container have this address?
    pub(super) fn admits(&self, ip: IpAddr) -> bool {
        self.subnet.is_host(ip) && ip != self.gateway && !self.auxiliary.values().any(|taken| *taken == ip)
    }
}

/// What all networks of one root share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The nftables table that carries their rules.
    pub nft_table: String,
    /// Where addresses and ports in use are written down; gone after a boot.
    pub run_dir: PathBuf,
    /// Where its bridges are, if not on the host's own network.
    #[serde(default)]
    pub apart: Option<Apart>,
}

/// A network of an ordinary user's own, between the containers' and the host's: in there he may do what on the host only
/// root may. What leaves it goes through a helper in user space; what enters is served by monitors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// Its namespace, as a file.
    pub namespace: PathBuf,
    /// The directories that the helper's program is looked for in.
    pub programs: Vec<PathBuf>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How it is made.
    pub driver: Driver,
    /// The bridge's interface name; of macvlan and ipvlan the host's interface.
    pub bridge: String,
    /// The mode of macvlan or ipvlan, as the kernel counts it.
    #[serde(default)]
    pub mode: u16,
    /// Its IPv4 addresses.
    pub ipv4: Option<Pool>,
    /// Its IPv6 addresses.
    pub ipv6: Option<Pool>,
    /// What it shares with the other networks of its root.
    pub home: Home,
    /// Nothing leaves it and nothing enters.
    #[serde(default)]
    pub internal: bool,
    /// Its containers reach the outside and published ports, but not one another. (Where bridged packets pass the
    /// host's firewall, by the module br_netfilter, they do not reach a neighbour's published ports either.)
    #[serde(default)]
    pub isolated: bool,
    /// Its containers' addresses are seen outside as they are.
    #[serde(default)]
    pub unmasked: bool,
    /// The largest packet.
    pub mtu: u32,
    /// Where a port is published that names no address of the host; otherwise on every one.
    #[serde(default)]
    pub publish_at: Option<IpAddr>,
    /// What containers call their interfaces on it, but for the number.
    #[serde(default)]
    pub interface_prefix: Option<String>,
    /// Its containers find one another by name.
    #[serde(default)]
    pub names: bool,
}

impl Network {
    /// Its pools of both families.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.ipv4.iter().chain(&self.ipv6)
    }
}

/// A container's place on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's id.
    pub container: String,
    /// The container's name, for messages.
    pub name: String,
    /// An address asked for; otherwise the lowest free one.
    #[serde(default)]
    pub ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// Addresses of the link beside those, which nobody keeps a ledger of.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// A hardware address asked for; otherwise one made from the IP address.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The ports to publish.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// What others on the network find it by.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// What it alone calls others: its word for it, and one of the other's names.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// The network with the highest number has the way out; among equals the first by name.
    #[serde(default)]
    pub gateway_priority: i32,
}

/// Which network, and which place on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The network.
    pub network: Network,
    /// The container's place on it.
    pub endpoint: Endpoint,
}

/// A port that is published now; this is what `ps` and `port` show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The host's address, `0.0.0.0` or `::` for every one.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl Published {
    /// Would a packet for `self` also be one for `other`?
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let family = self.host_ip.is_ipv4() == other.host_ip.is_ipv4();
        let addresses =
            self.host_ip == other.host_ip || self.host_ip.is_unspecified() || other.host_ip.is_unspecified();
        family && addresses && self.host_port == other.host_port && self.protocol == other.protocol
    }

    /// The host's side, as in `0.0.0.0:8080` or `[::]:8080`.
    #[must_use]
    pub fn place(&self) -> String {
        std::net::SocketAddr::new(self.host_ip, self.host_port).to_string()
    }
}

/// `0.0.0.0:8080->80/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}/{}", self.place(), self.container_port, self.protocol)
    }
}

/// An address of a container with what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it name the network.
    pub prefix: u8,
    /// The way out; none on an internal network.
    pub gateway: Option<IpAddr>,
}

/// A container's place on a network, as it turned out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// How the network is made.
    #[serde(default)]
    pub driver: Driver,
    /// This connection's own id.
    pub endpoint_id: String,
    /// The container's IPv4 address.
    pub ipv4: Option<Address>,
    /// The container's IPv6 address.
    pub ipv6: Option<Address>,
    /// The container's hardware address.
    pub mac: Mac,
    /// The host's end of its connection; of macvlan and ipvlan there is none.
    pub interface: Option<String>,
    /// The container's end.
    pub inside: String,
    /// Its published ports, each with the host's port it got.
    pub ports: Vec<Published>,
    /// See [`Endpoint::gateway_priority`].
    pub gateway_priority: i32,
    /// Names are answered on this network.
    pub names: bool,
    /// Nothing leaves the network.
    pub internal: bool,
    /// See [`Endpoint::links`].
    pub links: Vec<(String, String)>,
}

impl Joined {
    /// The address of either family that it is known by first.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ipv4.or(self.ipv6).map(|address| address.ip)
    }

    /// The lines of the container's `/etc/hosts` that name itself; `domain` is empty for most.
    #[must_use]
    pub fn hosts_lines(&self, hostname: &str, domain: &str) -> String {
        let names = match domain {
            "" => hostname.to_owned(),
            domain => format!("{hostname}.{domain} {hostname}"),
        };
        let line = |address: &Address| format!("{}\t{names}\n", address.ip);
        self.ipv4.iter().chain(&self.ipv6).map(line).collect()
    }
}

/// The one of `networks` that has the way out for a family.
#[must_use]
pub fn way_out(networks: &[Joined], ipv4: bool) -> Option<(&Joined, IpAddr)> {
    let gateway = |joined: &Joined| if ipv4 { joined.ipv4?.gateway } else { joined.ipv6?.gateway };
    let able = networks.iter().filter_map(|joined| Some((joined, gateway(joined)?)));
    able.min_by(|(a, _), (b, _)| {
        b.gateway_priority.cmp(&a.gateway_priority).then_with(|| a.network.cmp(&b.network))
    })
}

/// Which of several networks that are to be joined will have the way out for a family.
#[must_use]
pub fn leader(plans: &[NetworkPlan], ipv4: bool) -> Option<usize> {
    let able = |(_, plan): &(usize, &NetworkPlan)| {
        let pool = if ipv4 { &plan.network.ipv4 } else { &plan.network.ipv6 };
        pool.is_some() && !plan.network.internal
    };
    let order = |(_, plan): &(usize, &NetworkPlan)| {
        (std::cmp::Reverse(plan.endpoint.gateway_priority), plan.network.name.clone())
    };
    plans.iter().enumerate().filter(able).min_by_key(order).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(network: &str, gateway: Option<&str>, gateway_priority: i32) -> Joined {
        let ip: Ipv4Addr = "172.20.0.2".parse().unwrap();
        let gateway = gateway.map(|text| text.parse().unwrap());
        Joined {
            network: network.into(),
            network_id: "1".into(),
            driver: Driver::Bridge,
            endpoint_id: "2".into(),
            ipv4: Some(Address { ip: ip.into(), prefix: 16, gateway }),
            ipv6: None,
            mac: Mac::for_ip(ip),
            interface: Some("veth1".into()),
            inside: "eth0".into(),
            ports: Vec::new(),
            gateway_priority,
            names: false,
            internal: false,
            links: Vec::new(),
        }
    }

    #[test]
    fn a_place_survives_the_state_file_and_names_itself() {
        let mut joined = joined("bridge", None, 0);
        let json = serde_json::to_string(&joined).unwrap();
        assert_eq!(serde_json::from_str::<Joined>(&json).unwrap(), joined);
        assert_eq!(joined.hosts_lines("web", ""), "172.20.0.2\tweb\n");
        assert_eq!(joined.hosts_lines("web", "example.org"), "172.20.0.2\tweb.example.org web\n");
        joined.ipv6 = Some(Address { ip: "fd00::2".parse().unwrap(), prefix: 64, gateway: None });
        assert_eq!(joined.hosts_lines("web", ""), "172.20.0.2\tweb\nfd00::2\tweb\n");
    }

    #[test]
    fn one_network_has_the_way_out() {
        let out = |networks: &[Joined]| way_out(networks, true).map(|(joined, _)| joined.network.clone());
        let (a, b) = (joined("a", Some("172.20.0.1"), 0), joined("b", Some("172.20.0.1"), 0));
        let rows = [
            (vec![], None),
            (vec![joined("a", None, 9)], None),
            (vec![b.clone(), a.clone()], Some("a")),
            (vec![a.clone(), joined("b", Some("172.20.0.1"), 1)], Some("b")),
            (vec![joined("a", None, 9), b], Some("b")),
        ];
        for (networks, expected) in rows {
            assert_eq!(out(&networks).as_deref(), expected, "{networks:?}");
            assert!(way_out(&networks, false).is_none());
        }
    }

    #[test]
    fn every_address_clashes_with_each_of_its_family() {
        let at = |ip: &str, host_port, protocol| Published {
            host_ip: ip.parse().unwrap(),
            host_port,
            container_port: 1,
            protocol,
        };
        let any = at("0.0.0.0", 80, Protocol::Tcp);
        let rows = [
            (at("127.0.0.1", 80, Protocol::Tcp), true),
            (any, true),
            (at("127.0.0.1", 81, Protocol::Tcp), false),
            (at("127.0.0.1", 80, Protocol::Udp), false),
            (at("::", 80, Protocol::Tcp), false),
        ];
        for (other, expected) in rows {
            assert_eq!((any.clashes(&other), other.clashes(&any)), (expected, expected), "{other}");
        }
        assert!(!at("127.0.0.1", 80, Protocol::Tcp).clashes(&at("127.0.0.2", 80, Protocol::Tcp)));
        assert_eq!(at("::", 80, Protocol::Tcp).to_string(), "[::]:80->1/tcp");
    }
}
