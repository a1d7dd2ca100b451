//! IPv4 subnets: text, containment, and the choice of one that is nobody else's.
//!
//! Here: [`Subnet`] and [`choose`]. Not here: asking the kernel which are taken. Invariant: a [`Subnet`]'s
//! address has no bit set outside its prefix.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};

/// An IPv4 network, as in `172.20.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network of `prefix` bits in which `address` lies.
    #[must_use]
    pub fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { address: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix }
    }

    /// Its first address.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// How many bits name the network.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its last address.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !mask(self.prefix))
    }

    /// The addresses hosts may have.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = (u32::from(self.address), u32::from(self.broadcast()));
        (first.saturating_add(1)..last).map(Ipv4Addr::from)
    }

    /// Does `address` lie in it?
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.address)
    }

    /// Do the two share an address?
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let prefix: u8 = prefix.parse().ok().filter(|prefix| (1..=30).contains(prefix))?;
            Some(Self::around(address.parse().ok()?, prefix))
        });
        parsed.ok_or_else(|| {
            Error::invalid(format!("invalid subnet: {text}")).hint("a subnet is written as `172.30.0.0/16`")
        })
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Which addresses a network may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// A /16, as docker's own default network has; from the second half of docker's pool, so that a docker
    /// installed later finds its usual place free.
    Wide,
    /// A /24, of which there are enough for many networks.
    Narrow,
}

/// The first candidate, starting where `seed` says, that overlaps nothing in `taken`.
pub(super) fn choose(pool: Pool, seed: u64, taken: &[Subnet]) -> Result<Subnet> {
    let free = |candidate: &Subnet| !taken.iter().any(|other| other.overlaps(*candidate));
    let mut wide = (20..32).chain(17..20).map(|second| Subnet::around(Ipv4Addr::new(172, second, 0, 0), 16));
    let found = match pool {
        Pool::Wide => wide.find(free),
        Pool::Narrow => None,
    };
    found.or_else(|| narrow(seed).find(free)).ok_or_else(|| {
        Error::unavailable("could not find an available, non-overlapping IPv4 address pool for the network")
            .hint("every private range overlaps a route of this host (a VPN?): name a subnet yourself")
    })
}

/// Every /24 of the private ranges, each range begun at a place that `seed` picks.
fn narrow(seed: u64) -> impl Iterator<Item = Subnet> {
    [(0x0a80_0000_u32, 15), (0xac14_0000, 10), (0xc0a8_0000, 8)].into_iter().flat_map(move |(base, bits)| {
        let count = 1_u64 << bits;
        (0..count).map(move |step| {
            let place = u32::try_from((seed + step) % count).expect("below 2^15");
            Subnet::around(Ipv4Addr::from(base + (place << 8)), 24)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn text_and_back() {
        for (text, expected) in [("172.20.3.4/16", "172.20.0.0/16"), ("10.0.0.7/30", "10.0.0.4/30")] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), expected);
        }
        for wrong in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/0", "::/8", "10.0.0.0/31"] {
            assert_eq!(wrong.parse::<Subnet>().unwrap_err().message(), format!("invalid subnet: {wrong}"));
        }
    }

    #[test]
    fn hosts_leave_out_both_ends() {
        let hosts: Vec<_> = "10.0.0.4/30".parse::<Subnet>().unwrap().hosts().collect();
        assert_eq!(hosts, [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6)]);
    }

    #[test]
    fn what_is_taken_is_passed_over() {
        let rows: [(Pool, u64, &[&str], &str); 6] = [
            (Pool::Wide, 9, &[], "172.20.0.0/16"),
            (Pool::Wide, 9, &["172.20.5.0/24"], "172.21.0.0/16"),
            (Pool::Wide, 2, &["172.16.0.0/12"], "10.128.2.0/24"),
            (Pool::Narrow, 3, &[], "10.128.3.0/24"),
            (Pool::Narrow, 3, &["10.128.3.128/25", "10.128.4.0/30"], "10.128.5.0/24"),
            (Pool::Narrow, 3, &["10.0.0.0/8"], "172.20.3.0/24"),
        ];
        for (pool, seed, taken, expected) in rows {
            let chosen = choose(pool, seed, &subnets(taken)).unwrap();
            assert_eq!(chosen.to_string(), expected, "{pool:?} {seed} {taken:?}");
        }
        assert!(choose(Pool::Wide, 0, &subnets(&["10.0.0.0/8", "172.0.0.0/8", "192.0.0.0/8"])).is_err());
    }
}
