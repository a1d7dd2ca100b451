//! Hardware addresses: text, and the one that goes with an IP address.
//!
//! Invariant: a [`Mac`] is one station's, never a group's.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address that carries (the last four bytes of) `ip`: who gets an address again
    /// after its owner is gone has the same hardware address too, so nobody's neighbour table is wrong.
    #[must_use]
    pub fn for_ip(ip: impl Into<IpAddr>) -> Self {
        match ip.into() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                Self([0x02, 0x42, a, b, c, d])
            }
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                Self([0x02, 0x43, a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        let read = bytes.iter_mut().all(|byte| {
            let part = parts.next().filter(|part| part.len() == 2);
            part.and_then(|part| u8::from_str_radix(part, 16).ok()).map(|value| *byte = value).is_some()
        });
        match read && parts.next().is_none() && bytes[0] & 1 == 0 {
            true => Ok(Self(bytes)),
            false => Err(Error::invalid(format!("{text} is not a valid mac address"))
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
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn hardware_addresses() {
        assert_eq!(Mac::for_ip(Ipv4Addr::new(172, 20, 0, 2)).to_string(), "02:42:ac:14:00:02");
        assert_eq!(Mac::for_ip("fd00::1:2".parse::<IpAddr>().unwrap()).to_string(), "02:43:00:01:00:02");
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
}
