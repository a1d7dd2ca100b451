//! What a container's network is to be, as values: nothing here touches the kernel.
//!
//! Here: [`Names`] (derived from a root, so that several berths live side by side), [`Network`], [`Endpoint`],
//! [`NetworkPlan`], [`Mac`]. Not here: carrying a plan out. Invariant: equal roots give equal names, different
//! roots different ones, and every interface name fits the kernel's 15 bytes.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::port::{PortMapping, Protocol};
use super::subnet::Subnet;

/// The names by which one berth's networks are known to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The bridge of the network every container joins unless told otherwise.
    pub bridge: String,
    /// The nftables table of the family `inet`, one for all networks of the root.
    pub nft_table: String,
    seed: u64,
}

impl Names {
    /// The names of the berth with this root; the machine's usual one has the plain names.
    #[must_use]
    pub fn of(root: &Path, usual: bool) -> Self {
        let seed = hash(root.as_os_str().as_encoded_bytes());
        match usual {
            true => Self { bridge: "berth0".into(), nft_table: "berth".into(), seed },
            false => Self { bridge: bridge_name(seed), nft_table: format!("berth-{seed:016x}"), seed },
        }
    }

    /// The bridge of another network of this root.
    #[must_use]
    pub fn bridge_of(&self, network: &str) -> String {
        bridge_name(self.seed_of(network))
    }

    /// Where the search for `network`'s subnet begins.
    pub(super) fn seed_of(&self, network: &str) -> u64 {
        let mut bytes = self.seed.to_ne_bytes().to_vec();
        bytes.extend(network.bytes());
        hash(&bytes)
    }
}

fn bridge_name(hash: u64) -> String {
    format!("br-{:012x}", hash & 0xffff_ffff_ffff)
}

/// FNV-1a: short, and the same in every version of every build, which names on disk and in the kernel need.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// One network: a bridge with a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What people call it.
    pub name: String,
    /// The bridge's interface name.
    pub bridge: String,
    /// Where its containers' addresses come from.
    pub subnet: Subnet,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// The nftables table that carries its rules.
    pub nft_table: String,
    /// Where addresses and ports in use are written down; shared by all networks of a root, gone after a boot.
    pub run_dir: PathBuf,
    /// Nothing leaves it and nothing enters.
    #[serde(default)]
    pub internal: bool,
    /// Its containers reach the outside and published ports, but not one another. (Where bridged packets pass the
    /// host's firewall, by the module br_netfilter, they do not reach a neighbour's published ports either.)
    #[serde(default)]
    pub isolated: bool,
    /// The largest packet.
    pub mtu: u32,
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's id.
    pub container: String,
    /// The container's name, for messages.
    pub name: String,
    /// An address asked for; otherwise the lowest free one.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// A hardware address asked for; otherwise one made from the IP address.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The ports to publish.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
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
    /// The host's address, `0.0.0.0` for every one.
    pub host_ip: Ipv4Addr,
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
        let addresses =
            self.host_ip == other.host_ip || self.host_ip.is_unspecified() || other.host_ip.is_unspecified();
        addresses && self.host_port == other.host_port && self.protocol == other.protocol
    }
}

/// `0.0.0.0:8080->80/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}->{}/{}", self.host_ip, self.host_port, self.container_port, self.protocol)
    }
}

/// A container's place on a network, as it turned out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The network's name.
    pub network: String,
    /// The container's address.
    pub ip: Ipv4Addr,
    /// How many bits of it name the network.
    pub prefix: u8,
    /// The container's hardware address.
    pub mac: Mac,
    /// The way out; none on an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// The host's end of its connection.
    pub interface: String,
    /// Its published ports, each with the host's port it got.
    pub ports: Vec<Published>,
}

impl Joined {
    /// The line of the container's `/etc/hosts` that names itself; `domain` is empty for most.
    #[must_use]
    pub fn hosts_line(&self, hostname: &str, domain: &str) -> String {
        match domain {
            "" => format!("{}\t{hostname}\n", self.ip),
            domain => format!("{}\t{hostname}.{domain} {hostname}\n", self.ip),
        }
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address that carries `ip`: who gets an address again after its owner is gone
    /// has the same hardware address too, so nobody's neighbour table is wrong.
    #[must_use]
    pub fn for_ip(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = berth_oci::Error;

    fn from_str(text: &str) -> berth_oci::Result<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        let read = bytes.iter_mut().all(|byte| {
            let part = parts.next().filter(|part| part.len() == 2);
            part.and_then(|part| u8::from_str_radix(part, 16).ok()).map(|value| *byte = value).is_some()
        });
        match read && parts.next().is_none() && bytes[0] & 1 == 0 {
            true => Ok(Self(bytes)),
            false => Err(berth_oci::Error::invalid(format!("invalid mac address {text}"))
                .hint("write six bytes, the first one even: 02:42:ac:11:00:02")),
        }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = berth_oci::Error;

    fn try_from(text: String) -> berth_oci::Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_have_their_own_names_and_all_fit() {
        let usual = Names::of(Path::new("/var/lib/berth"), true);
        assert_eq!((usual.bridge.as_str(), usual.nft_table.as_str()), ("berth0", "berth"));
        let (one, other) = (Names::of(Path::new("/tmp/a"), false), Names::of(Path::new("/tmp/b"), false));
        assert_eq!(one, Names::of(Path::new("/tmp/a"), false));
        assert!(one.bridge != other.bridge && one.nft_table != other.nft_table);
        assert_ne!(one.bridge_of("web"), other.bridge_of("web"));
        assert_ne!(one.bridge_of("web"), one.bridge);
        for name in [&one.bridge, &one.bridge_of("a rather long name of a network")] {
            assert_eq!(name.len(), 15, "{name}");
        }
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(Mac::for_ip(Ipv4Addr::new(172, 20, 0, 2)).to_string(), "02:42:ac:14:00:02");
        assert_eq!("92:d0:c6:0a:29:33".parse::<Mac>().unwrap().to_string(), "92:d0:c6:0a:29:33");
        for wrong in [
            "",
            "02:42",
            "02:42:ac:14:00:02:03",
            "02:42:ac:14:00:zz",
            "01:42:ac:14:00:02",
            "2:42:ac:14:0:002",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_survives_the_state_file_and_names_itself() {
        let joined = Joined {
            network: "bridge".into(),
            ip: Ipv4Addr::new(172, 20, 0, 2),
            prefix: 16,
            mac: Mac::for_ip(Ipv4Addr::new(172, 20, 0, 2)),
            gateway: None,
            interface: "veth1".into(),
            ports: Vec::new(),
        };
        let json = serde_json::to_string(&joined).unwrap();
        assert_eq!(serde_json::from_str::<Joined>(&json).unwrap(), joined);
        assert_eq!(joined.hosts_line("web", ""), "172.20.0.2\tweb\n");
        assert_eq!(joined.hosts_line("web", "example.org"), "172.20.0.2\tweb.example.org web\n");
    }

    #[test]
    fn every_address_clashes_with_each() {
        let at = |ip: [u8; 4], host_port, protocol| Published {
            host_ip: ip.into(),
            host_port,
            container_port: 1,
            protocol,
        };
        let any = at([0; 4], 80, Protocol::Tcp);
        let rows = [
            (at([127, 0, 0, 1], 80, Protocol::Tcp), true),
            (any, true),
            (at([127, 0, 0, 1], 81, Protocol::Tcp), false),
            (at([127, 0, 0, 1], 80, Protocol::Udp), false),
        ];
        for (other, expected) in rows {
            assert_eq!((any.clashes(&other), other.clashes(&any)), (expected, expected), "{other}");
        }
        assert!(!at([127, 0, 0, 1], 80, Protocol::Tcp).clashes(&at([127, 0, 0, 2], 80, Protocol::Tcp)));
    }
}
