//! Published ports as docker writes them: `[ip:][hostPort[-end]:]containerPort[-end][/proto]`.
//!
//! Here: text to [`PortMapping`], in docker's syntax and with docker's words when it is wrong. Not here: which
//! port is free. Invariant: a mapping names exactly one port of the container, never 0.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => {
                Err(Error::invalid(format!("invalid proto: {text}"))
                    .hint("a port is `/tcp`, `/udp` or `/sctp`"))
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// The first and the last of a range of ports; one port is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest, included.
    pub last: u16,
}

impl PortRange {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(Self { first, last })
    }

    fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    fn steps(self) -> u16 {
        self.last - self.first
    }
}

/// Digits alone: `u16::from_str` would also take a plus sign.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps() {
            0 => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// One port of the container, and where on the host it is to be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address; none is every address.
    pub host_ip: Option<IpAddr>,
    /// The host's port, or the range from which a free one is taken; none is any free port.
    pub host_ports: Option<PortRange>,
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl PortMapping {
    /// Reads what follows `-p`: docker's short form, or its `published=8080,target=80,protocol=tcp`.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        if text.contains('=') {
            return Self::parse_short(&short_form(text)?);
        }
        Self::parse_short(text)
    }

    fn parse_short(text: &str) -> Result<Vec<Self>> {
        let (host_ip, host, container) = split(text);
        let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
        let host_ip = address(host_ip)?;
        if container.is_empty() {
            return Err(Error::invalid(format!("no port specified: {text}<empty>")).hint(SYNTAX));
        }
        let containers = PortRange::parse(container)
            .filter(|range| range.first != 0)
            .ok_or_else(|| Error::invalid(format!("invalid containerPort: {container}")).hint(SYNTAX))?;
        let hosts = host_range(host)?;
        let protocol = Protocol::parse(protocol)?;
        pair(hosts, containers).map_or_else(
            || {
                let message =
                    format!("invalid ranges specified for container and host Ports: {container} and {host}");
                Err(Error::invalid(message).hint("the two ranges must be of the same length"))
            },
            |pairs| {
                let mapping =
                    |(host_ports, container_port)| Self { host_ip, host_ports, container_port, protocol };
                Ok(pairs.into_iter().map(mapping).collect())
            },
        )
    }
}

const SYNTAX: &str =
    "a mapping is `[address:][hostPort:]containerPort[/protocol]`, as in `-p 127.0.0.1:8080:80/tcp`";

/// `127.0.0.1:auto -> 80/tcp`.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            None => f.write_str("*:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
        }
        match self.host_ports {
            None => f.write_str("auto")?,
            Some(range) => write!(f, "{range}")?,
        }
        write!(f, " -> {}/{}", self.container_port, self.protocol)
    }
}

/// Address, host's part, container's part: the last two colons count, the rest is the address.
fn split(text: &str) -> (&str, &str, &str) {
    let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    (ip, host, container)
}

fn address(text: &str) -> Result<Option<IpAddr>> {
    let bare = match text.strip_prefix('[') {
        None => text,
        Some(open) => open.strip_suffix(']').ok_or_else(|| {
            Error::invalid(format!("invalid IP address {text}: address {text}:: missing ']' in address"))
        })?,
    };
    if bare.is_empty() {
        return Ok(None);
    }
    let parsed = match text.starts_with('[') {
        true => bare.parse::<Ipv6Addr>().map(IpAddr::from).ok().or_else(|| bare.parse().ok()),
        false => bare.parse().ok(),
    };
    parsed.map(Some).ok_or_else(|| {
        Error::invalid(format!("invalid IP address: {bare}"))
            .hint("a name cannot be published on: write the address, as in `-p 127.0.0.1:8080:80`")
    })
}

fn host_range(text: &str) -> Result<Option<PortRange>> {
    if text.is_empty() {
        return Ok(None);
    }
    let range = PortRange::parse(text)
        .filter(|range| range.first != 0 || range.last == 0)
        .ok_or_else(|| Error::invalid(format!("invalid hostPort: {text}")).hint(SYNTAX))?;
    Ok((range.first != 0).then_some(range))
}

/// Port by port; a host's range for one port of the container stays a range to choose from.
fn pair(hosts: Option<PortRange>, containers: PortRange) -> Option<Vec<(Option<PortRange>, u16)>> {
    let steps = 0..=containers.steps();
    match hosts {
        None => Some(steps.map(|step| (None, containers.first + step)).collect()),
        Some(hosts) if containers.steps() == 0 => Some(vec![(Some(hosts), containers.first)]),
        Some(hosts) if hosts.steps() == containers.steps() => Some(
            steps.map(|step| (Some(PortRange::one(hosts.first + step)), containers.first + step)).collect(),
        ),
        Some(_) => None,
    }
}

/// Docker's long form says the same in words. Docker passes over words it does not know; we name them.
fn short_form(text: &str) -> Result<String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for part in text.split(',') {
        match part.split_once('=') {
            None | Some(("", _)) => {
                let message = format!("invalid publish opts format (should be name=value but got '{part}')");
                return Err(Error::invalid(message).hint("as in `-p published=8080,target=80,protocol=tcp`"));
            }
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((name, _)) => {
                return Err(Error::invalid(format!("invalid publish opts: unknown name `{name}`"))
                    .hint("`published`, `target` and `protocol` are known"));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match PortMapping::parse(text) {
            Ok(mappings) => mappings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Err(error) => error.message().to_owned(),
        }
    }

    /// What docker 28 says, but for the rows marked.
    #[test]
    fn docker_and_we_read_the_same() {
        let rows = [
            ("80", "*:auto -> 80/tcp"),
            (":80", "*:auto -> 80/tcp"),
            ("8080:80", "*:8080 -> 80/tcp"),
            ("01:080", "*:1 -> 80/tcp"),
            ("0:80", "*:auto -> 80/tcp"),
            ("80/", "*:auto -> 80/tcp"),
            ("53:53/UDP", "*:53 -> 53/udp"),
            ("9:9/sctp", "*:9 -> 9/sctp"),
            ("127.0.0.1::80", "127.0.0.1:auto -> 80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080 -> 80/tcp"),
            ("[::1]:8080:80", "[::1]:8080 -> 80/tcp"),
            ("::1:8080:80", "[::1]:8080 -> 80/tcp"),
            ("[]:8080:80", "*:8080 -> 80/tcp"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080 -> 80/tcp"),
            ("8000-8002:80", "*:8000-8002 -> 80/tcp"),
            ("80-81", "*:auto -> 80/tcp, *:auto -> 81/tcp"),
            ("8000-8001:80-81/udp", "*:8000 -> 80/udp, *:8001 -> 81/udp"),
            ("80-80:9000-9000", "*:80 -> 9000/tcp"),
            ("published=8080,target=80", "*:8080 -> 80/tcp"),
            ("target=53,protocol=udp", "*:auto -> 53/udp"),
            ("http", "invalid containerPort: http"),
            ("http:80", "invalid hostPort: http"),
            ("8080:http", "invalid containerPort: http"),
            ("127.0.0.1", "invalid containerPort: 127.0.0.1"),
            ("127.0.0.1:80", "invalid hostPort: 127.0.0.1"),
            ("99999:80", "invalid hostPort: 99999"),
            ("8080:65536", "invalid containerPort: 65536"),
            ("-1:80", "invalid hostPort: -1"),
            ("+80:80", "invalid hostPort: +80"),
            (" 80:80", "invalid hostPort:  80"),
            ("8080-8070:80", "invalid hostPort: 8080-8070"),
            ("80/foo", "invalid proto: foo"),
            ("80-82:90-95", "invalid ranges specified for container and host Ports: 90-95 and 80-82"),
            ("80:80-81", "invalid ranges specified for container and host Ports: 80-81 and 80"),
            ("8000-8010:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8000-8010"),
            ("", "no port specified: <empty>"),
            (":", "no port specified: :<empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("/tcp", "no port specified: /tcp<empty>"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("256.1.1.1:80:80", "invalid IP address: 256.1.1.1"),
            ("1.2.3.4:80:80:80", "invalid IP address: 1.2.3.4:80"),
            ("[fe80::1%eth0]:80:80", "invalid IP address: fe80::1%eth0"),
            ("[::1:80:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
            ("x=1,y", "invalid publish opts: unknown name `x`"), // docker passes over `x`
            ("target=1,y", "invalid publish opts format (should be name=value but got 'y')"),
            ("=", "invalid publish opts format (should be name=value but got '=')"),
            ("80:0", "invalid containerPort: 0"), // docker starts it, and nothing answers
            ("0-3:80", "invalid hostPort: 0-3"),  // likewise
            ("80/tcp/udp", "invalid proto: tcp/udp"), // docker passes over `/udp`
            ("80-81-82:1", "invalid hostPort: 80-81-82"), // docker passes over `-82`
        ];
        for (text, expected) in rows {
            assert_eq!(shown(text), expected, "-p {text}");
        }
    }

    #[test]
    fn a_mapping_survives_its_way_to_the_monitor() {
        let mappings = PortMapping::parse("[::1]:8000-8001:80-81/udp").unwrap();
        let json = serde_json::to_string(&mappings).unwrap();
        assert_eq!(serde_json::from_str::<Vec<PortMapping>>(&json).unwrap(), mappings);
    }
}
