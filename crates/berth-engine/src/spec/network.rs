//! Whose network a container is on and how it finds others: `--add-host`, `--dns…`, `--hostname`, `--expose`.
//!
//! Not here: the networks it joins (`attachment.rs`), port mappings (the runtime's), anything that touches a network.

use berth_oci::{Error, Result};
use berth_runtime::net::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Whose network a container is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NetworkMode {
    /// berth's bridge, with an address of its own.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// None but loopback.
    None,
    /// Another container's.
    Container(String),
    /// One that people made, by name or id.
    User(String),
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::User(name) => f.write_str(name),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("container:") {
                Some("") => {
                    Err(Error::invalid("invalid network mode: invalid container format container:<name|id>"))
                }
                Some(container) => Ok(Self::Container(container.to_owned())),
                None => Ok(Self::User(text.to_owned())),
            },
        }
    }
}

impl From<NetworkMode> for String {
    fn from(mode: NetworkMode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for NetworkMode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl NetworkMode {
    /// Whether it has a network namespace of its own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        !matches!(self, Self::Host | Self::Container(_))
    }
}

/// A line for `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; none is the host's own, seen from the bridge.
    pub address: Option<IpAddr>,
}

/// The word that stands for the host's own address.
const HOST_GATEWAY: &str = "host-gateway";

impl FromStr for ExtraHost {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad =
            || Error::invalid(format!("bad format for add-host: \"{text}\"")).hint("write NAME:ADDRESS");
        let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad());
        }
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address = match address {
            HOST_GATEWAY => None,
            _ => Some(
                bare.parse()
                    .map_err(|_| Error::invalid(format!("invalid IP address in add-host: \"{address}\"")))?,
            ),
        };
        Ok(Self { name: name.to_owned(), address })
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}:{address}", self.name),
            None => write!(f, "{}:{HOST_GATEWAY}", self.name),
        }
    }
}

/// How names are looked up; what is empty comes from the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Servers.
    pub servers: Vec<IpAddr>,
    /// Domains that a short name is tried in; `.` for none.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// One `--dns`.
///
/// # Errors
/// It is not an address.
pub fn parse_dns_server(text: &str) -> Result<IpAddr> {
    text.trim().parse().map_err(|_| Error::invalid(format!("IP address is not correctly formatted: {text}")))
}

/// One `--dns-search`: a domain, or `.` for none.
///
/// # Errors
/// It is not a domain.
pub fn parse_dns_search(text: &str) -> Result<String> {
    let text = text.trim();
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let domain = text.strip_suffix('.').unwrap_or(text);
    match text == "." || (domain.len() <= 253 && domain.split('.').all(label)) {
        true => Ok(text.to_owned()),
        false => Err(Error::invalid(format!("{text} is not a valid domain"))),
    }
}

/// One `--hostname`.
///
/// # Errors
/// It is longer than the kernel's 64 bytes, or has blanks or slashes.
pub fn parse_hostname(text: &str) -> Result<String> {
    let wrong = text.is_empty()
        || text.len() > 64
        || text.contains(|c: char| c.is_whitespace() || c == '/' || c == '\0');
    match wrong {
        true => Err(Error::invalid(format!("invalid hostname: `{text}`"))
            .hint("1 to 64 letters, digits, dots and hyphens")),
        false => Ok(text.to_owned()),
    }
}

/// One port that a container listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExposedPort {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl TryFrom<String> for ExposedPort {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match parse_expose(&text)?[..] {
            [port] => Ok(port),
            _ => Err(Error::invalid(format!("`{text}` is not one port"))),
        }
    }
}

impl From<ExposedPort> for String {
    fn from(port: ExposedPort) -> Self {
        port.to_string()
    }
}

/// `--expose` and an image's `ExposedPorts`: `80`, `80/udp`, `8000-8010/tcp`.
///
/// # Errors
/// It is not a port or a range of ports.
pub fn parse_expose(text: &str) -> Result<Vec<ExposedPort>> {
    if text.contains(':') {
        return Err(Error::invalid(format!("invalid port format for --expose: {text}")));
    }
    let invalid = |why: &str| {
        let comma = if why.is_empty() { "" } else { ", error: " };
        Error::invalid(format!("invalid range format for --expose: {text}{comma}{why}"))
            .hint("write PORT[-PORT][/tcp|/udp], for example 8000-8010/tcp")
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid("")),
    };
    let number = |part: &str| match port_number(part) {
        Ok(0) => Err(invalid("")),
        Ok(port) => Ok(port),
        Err(why) => Err(invalid(&why)),
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ports)?, number(ports)?),
    };
    match first <= last {
        true => Ok((first..=last).map(|port| ExposedPort { port, protocol }).collect()),
        false => Err(invalid(&format!("invalid range specified for port: {ports}"))),
    }
}

/// A number of a port, or Go's words for why it is none.
///
/// # Errors
/// `strconv.ParseUint`'s.
pub fn port_number(text: &str) -> std::result::Result<u16, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show<T: ToString>(result: Result<T>) -> String {
        result.map_or_else(|e| e.to_string(), |value| value.to_string())
    }

    #[test]
    fn names_and_addresses() {
        for (text, expected) in [
            ("db:10.0.0.1", "db:10.0.0.1"),
            ("db=10.0.0.1", "db:10.0.0.1"),
            ("db:::1", "db:::1"),
            ("db:[::1]", "db:::1"),
            ("me:host-gateway", "me:host-gateway"),
            ("db", "bad format for add-host: \"db\""),
            (":10.0.0.1", "bad format for add-host: \":10.0.0.1\""),
            ("db:10.0.0", "invalid IP address in add-host: \"10.0.0\""),
        ] {
            assert_eq!(show(text.parse::<ExtraHost>()), expected);
        }
        assert_eq!(show(parse_dns_server("1.1.1.x")), "IP address is not correctly formatted: 1.1.1.x");
        for (text, expected) in [
            ("a.b", "a.b"),
            (".", "."),
            ("a..b", "a..b is not a valid domain"),
            ("", " is not a valid domain"),
        ] {
            assert_eq!(show(parse_dns_search(text)), expected);
        }
        assert_eq!(show(parse_hostname("a b")), "invalid hostname: `a b`");
        assert_eq!(show(parse_hostname(&"a".repeat(64))), "a".repeat(64));
    }

    #[test]
    fn exposed_ports() {
        let list = |text: &str| {
            parse_expose(text)
                .map(|ports| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("80", "80/tcp"),
            ("53/udp", "53/udp"),
            ("8000-8002/TCP", "8000/tcp 8001/tcp 8002/tcp"),
            ("80:80", "invalid port format for --expose: 80:80"),
            ("0", "invalid range format for --expose: 0"),
            (
                "65536",
                "invalid range format for --expose: 65536, error: strconv.ParseUint: parsing \"65536\": value out of range",
            ),
            ("9-8", "invalid range format for --expose: 9-8, error: invalid range specified for port: 9-8"),
            ("80/sctp", "80/sctp"),
            ("80/x", "invalid range format for --expose: 80/x"),
        ] {
            assert_eq!(show(list(text)), expected);
        }
    }
}
