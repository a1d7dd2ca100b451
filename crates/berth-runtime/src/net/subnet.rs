//! Subnets of both families: text, containment, and the choice of one that is nobody else's.
//!
//! Here: [`Subnet`] and [`choose`]. Not here: asking the kernel which are taken. Invariant: a [`Subnet`]'s
//! address has no bit set outside its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};

/// A network, as in `172.20.0.0/16` or `fd00:1::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The network of `prefix` bits in which `address` lies.
    #[must_use]
    pub fn around(address: impl Into<IpAddr>, prefix: u8) -> Self {
        let address = address.into();
        let prefix = prefix.min(width(address));
        Self { address: like(address, number(address) & mask(address, prefix)), prefix }
    }

    /// Its first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits name the network.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Is it one of IPv4 addresses?
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Its last address; that of IPv4's broadcasts.
    #[must_use]
    pub fn last(self) -> IpAddr {
        like(self.address, number(self.address) | !mask(self.address, self.prefix) & all(self.address))
    }

    /// The addresses hosts may have: not the first, and of IPv4 not the last.
    pub fn hosts(self) -> impl Iterator<Item = IpAddr> {
        let (first, last) = (number(self.address), number(self.last()));
        let end = if self.is_ipv4() { last } else { last.saturating_add(1) };
        (first.saturating_add(1)..end).map(move |host| like(self.address, host))
    }

    /// May a host have `address`?
    #[must_use]
    pub fn is_host(self, address: IpAddr) -> bool {
        self.contains(address) && address != self.address && !(self.is_ipv4() && address == self.last())
    }

    /// Does `address` lie in it?
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4()
            && number(address) & mask(address, self.prefix) == number(self.address)
    }

    /// Do the two share an address?
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Does the other one lie in it?
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.contains(other.address) && self.prefix <= other.prefix
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of this number, of the family of `family`.
fn like(family: IpAddr, number: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

fn all(family: IpAddr) -> u128 {
    u128::MAX >> (128 - u32::from(width(family)))
}

fn mask(family: IpAddr, prefix: u8) -> u128 {
    all(family).checked_shl(u32::from(width(family) - prefix)).unwrap_or(0) & all(family)
}

/// As the kernel and `nft` want the bytes of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
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
            let address: IpAddr = address.parse().ok()?;
            let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix: u8 = digits.then(|| prefix.parse().ok())??;
            (1..=width(address)).contains(&prefix).then(|| Self::around(address, prefix))
        });
        parsed.ok_or_else(|| {
            Error::invalid(format!("invalid subnet {text}: invalid CIDR block notation"))
                .hint("a subnet is written as `172.30.0.0/16`")
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
pub(super) enum Choice {
    /// A /16, as docker's own default network has; from the second half of docker's pool, so that a docker
    /// installed later finds its usual place free.
    Wide,
    /// A /24, of which there are enough for many networks.
    Narrow,
    /// A /64 of the unique local addresses.
    Local6,
}

/// The first candidate, starting where `seed` says, that overlaps nothing in `taken`.
pub(super) fn choose(choice: Choice, seed: u64, taken: &[Subnet]) -> Result<Subnet> {
    let free = |candidate: &Subnet| !taken.iter().any(|other| other.overlaps(*candidate));
    let mut wide = (20..32).chain(17..20).map(|second| Subnet::around(Ipv4Addr::new(172, second, 0, 0), 16));
    let found = match choice {
        Choice::Wide => wide.find(free).or_else(|| narrow(seed).find(free)),
        Choice::Narrow => narrow(seed).find(free),
        Choice::Local6 => local6(seed).find(free),
    };
    let family = if choice == Choice::Local6 { "IPv6" } else { "IPv4" };
    found.ok_or_else(|| {
        Error::unavailable(format!(
            "could not find an available, non-overlapping {family} address pool for the network"
        ))
        .hint("every private range overlaps a route of this host (a VPN?): name a subnet yourself")
    })
}

/// Every /24 of the private ranges, each range begun at a place that `seed` picks.
fn narrow(seed: u64) -> impl Iterator<Item = Subnet> {
    [(0x0a80_0000_u32, 15), (0xac14_0000, 10), (0xc0a8_0000, 8)].into_iter().flat_map(move |(base, bits)| {
        let count = 1_u64 << bits;
        (0..count).map(move |step| {
            let place = u32::try_from(seed.wrapping_add(step) % count).expect("below 2^15");
            Subnet::around(Ipv4Addr::from(base + (place << 8)), 24)
        })
    })
}

/// `fd`, forty bits of `seed` (RFC 4193 wants them to be chance), and 2^16 subnets of those.
fn local6(seed: u64) -> impl Iterator<Item = Subnet> {
    (0..=u16::MAX).map(move |subnet| {
        let global = u128::from(0xfd_u8) << 120 | u128::from(seed & 0xff_ffff_ffff) << 80;
        Subnet::around(Ipv6Addr::from(global | u128::from(subnet) << 64), 64)
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
        for (text, expected) in [
            ("172.20.3.4/16", "172.20.0.0/16"),
            ("10.0.0.7/30", "10.0.0.4/30"),
            ("fd00:1::7/64", "fd00:1::/64"),
            ("10.0.0.7/32", "10.0.0.7/32"),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), expected);
        }
        for wrong in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/0", "::/129", "10.0.0.0/+8", "a/8"]
        {
            assert_eq!(
                wrong.parse::<Subnet>().unwrap_err().message(),
                format!("invalid subnet {wrong}: invalid CIDR block notation")
            );
        }
    }

    #[test]
    fn hosts_leave_out_the_ends() {
        let hosts = |text: &str| {
            let subnet: Subnet = text.parse().unwrap();
            assert!(subnet.hosts().all(|host| subnet.is_host(host)));
            subnet.hosts().map(|host| host.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(hosts("10.0.0.4/30"), "10.0.0.5 10.0.0.6");
        assert_eq!(hosts("fd00::4/126"), "fd00::5 fd00::6 fd00::7");
        let subnet: Subnet = "10.0.0.4/30".parse().unwrap();
        for (text, expected) in [("10.0.0.4", false), ("10.0.0.7", false), ("10.0.0.8", false)] {
            assert_eq!(subnet.is_host(text.parse().unwrap()), expected, "{text}");
        }
        assert_eq!("fd00::/64".parse::<Subnet>().unwrap().last().to_string(), "fd00::ffff:ffff:ffff:ffff");
    }

    #[test]
    fn families_have_nothing_in_common() {
        let (old, new): (Subnet, Subnet) = ("10.0.0.0/8".parse().unwrap(), "::/8".parse().unwrap());
        assert!(!old.overlaps(new) && !new.contains("10.0.0.1".parse().unwrap()));
        assert!(old.covers("10.1.0.0/16".parse().unwrap()) && !old.covers("10.0.0.0/7".parse().unwrap()));
    }

    #[test]
    fn what_is_taken_is_passed_over() {
        let rows: [(Choice, u64, &[&str], &str); 8] = [
            (Choice::Wide, 9, &[], "172.20.0.0/16"),
            (Choice::Wide, 9, &["172.20.5.0/24"], "172.21.0.0/16"),
            (Choice::Wide, 2, &["172.16.0.0/12"], "10.128.2.0/24"),
            (Choice::Narrow, 3, &[], "10.128.3.0/24"),
            (Choice::Narrow, 3, &["10.128.3.128/25", "10.128.4.0/30"], "10.128.5.0/24"),
            (Choice::Narrow, 3, &["10.0.0.0/8"], "172.20.3.0/24"),
            (Choice::Local6, 0x12_3456_789a, &[], "fd12:3456:789a::/64"),
            (Choice::Local6, 0x12_3456_789a, &["fd12:3456:789a::/64"], "fd12:3456:789a:1::/64"),
        ];
        for (choice, seed, taken, expected) in rows {
            let chosen = choose(choice, seed, &subnets(taken)).unwrap();
            assert_eq!(chosen.to_string(), expected, "{choice:?} {seed} {taken:?}");
        }
        assert!(choose(Choice::Wide, 0, &subnets(&["10.0.0.0/8", "172.0.0.0/8", "192.0.0.0/8"])).is_err());
    }
}
