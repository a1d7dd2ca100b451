//! `--network`, repeated, with what belongs to it: `--ip`, `--ip6`, `--mac-address`, `--network-alias`, `--link`.
//!
//! Not here: whether a network of that name exists. Invariant: only networks that people made have aliases or chosen
//! addresses, and no network comes twice.

use super::network::NetworkMode;
use berth_oci::{Error, Result};
use berth_runtime::net::Mac;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A container's place on one network, as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The network, by name or id.
    pub network: String,
    /// Names that others on the network find it by, beside its own.
    pub aliases: Vec<String>,
    /// Other containers and what it calls them.
    pub links: Vec<Link>,
    /// Its address, where it must be this one.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, where it must be this one.
    pub ipv6: Option<Ipv6Addr>,
    /// Addresses of the link that it has, too.
    pub link_local: Vec<IpAddr>,
    /// Its hardware address, where it must be this one.
    pub mac: Option<Mac>,
    /// The network with the highest number has the way out.
    pub gateway_priority: i32,
}

impl Attachment {
    /// To this network, with nothing asked for.
    #[must_use]
    pub fn to(network: impl Into<String>) -> Self {
        Self { network: network.into(), ..Self::default() }
    }
}

/// `--link CONTAINER[:ALIAS]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other container.
    pub container: String,
    /// What this one calls it.
    pub alias: String,
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("bad format for links: {text}")).hint("write CONTAINER[:ALIAS]");
        if text.is_empty() {
            return Err(Error::invalid("empty string specified for links"));
        }
        let mut parts = text.split(':');
        let container = parts.next().filter(|part| !part.is_empty()).ok_or_else(bad)?;
        let alias = parts.next().unwrap_or_else(|| container.trim_start_matches('/'));
        // It becomes a word of `/etc/hosts`, and a part of names of variables and of the path `/container/alias`.
        let is_word = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '=' | '#');
        match parts.next().is_none() && !alias.is_empty() && alias.chars().all(is_word) {
            true => Ok(Self { container: container.to_owned(), alias: alias.to_owned() }),
            false => Err(bad()),
        }
    }
}

/// One `--network`: a name, or `name=…,alias=…,ip=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFlag(Attachment);

impl FromStr for NetworkFlag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if !text.contains('=') {
            return Ok(Self(Attachment::to(text)));
        }
        let mut attachment = Attachment::default();
        for field in text.split(',') {
            let Some((key, value)) = field.split_once('=') else {
                return Err(Error::invalid(format!("invalid field {field}")));
            };
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => value.clone_into(&mut attachment.network),
                "alias" => attachment.aliases.push(value.to_owned()),
                "ip" => attachment.ipv4 = Some(parse_ipv4(value)?),
                "ip6" => attachment.ipv6 = Some(parse_ipv6(value)?),
                "mac-address" => attachment.mac = Some(value.parse()?),
                "gw-priority" => {
                    attachment.gateway_priority = value.parse().map_err(|_| {
                        Error::invalid(format!("invalid gw-priority ({value}): invalid syntax"))
                    })?;
                }
                "link-local-ip" => attachment.link_local.push(parse_link_local(value)?),
                "driver-opt" => {
                    return Err(Error::unsupported(format!("--network {key}=… is not supported"))
                        .hint("leave it out"));
                }
                key => return Err(Error::invalid(format!("invalid field key {key}"))),
            }
        }
        Ok(Self(attachment))
    }
}

/// One `--ip`.
///
/// # Errors
/// It is no IPv4 address.
pub fn parse_ipv4(text: &str) -> Result<Ipv4Addr> {
    text.parse().map_err(|_| wrong_address("IPv4", text))
}

/// One `--ip6`.
///
/// # Errors
/// It is no IPv6 address.
pub fn parse_ipv6(text: &str) -> Result<Ipv6Addr> {
    text.parse().map_err(|_| wrong_address("IPv6", text))
}

/// One `--link-local-ip`.
///
/// # Errors
/// It is no address, or not one of a link: 169.254.0.0/16, fe80::/64.
pub fn parse_link_local(text: &str) -> Result<IpAddr> {
    let ip: IpAddr = text.parse().map_err(|_| wrong_address("link-local IP", text))?;
    let is_of_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match is_of_link {
        true => Ok(ip),
        false => Err(Error::invalid(format!("invalid link local IP address: {text}"))
            .hint("they begin with 169.254. or fe80:")),
    }
}

fn wrong_address(family: &str, text: &str) -> Error {
    Error::invalid(format!("invalid endpoint settings:\ninvalid {family} address: {text}"))
}

/// What a command line says about networks.
#[derive(Clone, Debug, Default)]
pub struct NetworkFlags {
    /// Every `--network`.
    pub networks: Vec<NetworkFlag>,
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// Every `--link-local-ip`.
    pub link_local: Vec<IpAddr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// Every `--network-alias`.
    pub aliases: Vec<String>,
    /// Every `--link`.
    pub links: Vec<Link>,
}

impl NetworkFlags {
    /// The mode, and the networks to join; the flags beside `--network` are about the first.
    ///
    /// # Errors
    /// They contradict each other, in docker's words.
    pub fn read(self) -> Result<(NetworkMode, Vec<Attachment>)> {
        let mut attachments: Vec<Attachment> = self.networks.iter().map(|flag| flag.0.clone()).collect();
        if attachments.is_empty() {
            attachments.push(Attachment::to("default"));
        }
        self.add_to(&mut attachments[0])?;
        let modes = attachments.iter().map(|a| a.network.parse()).collect::<Result<Vec<NetworkMode>>>()?;
        for (at, (attachment, mode)) in attachments.iter().zip(&modes).enumerate() {
            check(attachment, mode)?;
            if modes.len() > 1 && !matches!(mode, NetworkMode::User(_)) {
                return Err(Error::invalid(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
                ));
            }
            if modes[..at].contains(mode) {
                return Err(Error::invalid(format!(
                    "network {:?} is specified multiple times",
                    attachment.network
                )));
            }
        }
        let mode = modes.into_iter().next().unwrap_or_default();
        match mode {
            NetworkMode::User(_) => {}
            NetworkMode::Bridge => "bridge".clone_into(&mut attachments[0].network),
            _ => attachments.clear(),
        }
        Ok((mode, attachments))
    }

    /// Whether there is anybody to be linked to: on a network of the container's own. Docker's daemon finds it, and not
    /// its client.
    ///
    /// # Errors
    /// There is not, in docker's words.
    pub fn check_links(&self) -> Result<()> {
        let mode = self.networks.first().map(|flag| flag.0.network.parse()).transpose()?.unwrap_or_default();
        let shared = match mode {
            NetworkMode::Host => "host type networking",
            NetworkMode::None => "none type networking",
            NetworkMode::Container(_) => "container type network",
            NetworkMode::Bridge | NetworkMode::User(_) => return Ok(()),
        };
        match self.links.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "conflicting options: {shared} can't be used with links. This would result in undefined behavior"
            ))),
        }
    }

    fn add_to(&self, first: &mut Attachment) -> Result<()> {
        let conflict = |one: &str, other: &str| {
            Err(Error::invalid(format!(
                "conflicting options: cannot specify both --{one} and per-network {other}"
            )))
        };
        if !self.aliases.is_empty() {
            if !first.aliases.is_empty() {
                return conflict("network-alias", "alias");
            }
            first.aliases.clone_from(&self.aliases);
        }
        if self.ipv4.is_some() {
            if first.ipv4.is_some() {
                return conflict("ip", "IPv4 address");
            }
            first.ipv4 = self.ipv4;
        }
        if self.ipv6.is_some() {
            if first.ipv6.is_some() {
                return conflict("ip6", "IPv6 address");
            }
            first.ipv6 = self.ipv6;
        }
        if !self.link_local.is_empty() {
            if !first.link_local.is_empty() {
                return conflict("link-local-ip", "link-local IP addresses");
            }
            first.link_local.clone_from(&self.link_local);
        }
        if self.mac.is_some() {
            if first.mac.is_some() {
                return conflict("mac-address", "MAC address");
            }
            first.mac = self.mac;
        }
        first.links.clone_from(&self.links);
        Ok(())
    }
}

fn check(attachment: &Attachment, mode: &NetworkMode) -> Result<()> {
    if attachment.network.trim().is_empty() {
        return Err(Error::invalid("no name set for network"));
    }
    if matches!(mode, NetworkMode::User(_)) {
        return Ok(());
    }
    if !attachment.aliases.is_empty() {
        return Err(Error::invalid("network-scoped aliases are only supported for user-defined networks"));
    }
    if let (Some(ip), false) = (attachment.link_local.first(), *mode == NetworkMode::Bridge) {
        return Err(Error::invalid(format!(
            "conflicting options: link-local address {ip} and the network mode {mode}"
        ))
        .hint("only a network of its own has a link for it"));
    }
    let address = attachment.ipv4.map(IpAddr::from).or(attachment.ipv6.map(IpAddr::from));
    match (address, mode) {
        (Some(_), _) => Err(Error::invalid(format!(
            "invalid config for network {mode}: invalid endpoint settings:\nuser specified IP address is supported \
             on user defined networks only"
        ))),
        (None, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(networks: &[&str], change: impl FnOnce(&mut NetworkFlags)) -> String {
        let networks = networks.iter().map(|text| text.parse()).collect::<Result<Vec<NetworkFlag>>>();
        let flags = networks.and_then(|networks| {
            let mut flags = NetworkFlags { networks, ..NetworkFlags::default() };
            change(&mut flags);
            flags.check_links().and_then(|()| flags.read())
        });
        let show = |a: &Attachment| {
            let mut text = a.network.clone();
            a.aliases.iter().for_each(|alias| text += &format!(" alias {alias}"));
            a.ipv4.iter().for_each(|ip| text += &format!(" ip {ip}"));
            a.ipv6.iter().for_each(|ip| text += &format!(" ip {ip}"));
            a.link_local.iter().for_each(|ip| text += &format!(" link {ip}"));
            a.mac.iter().for_each(|mac| text += &format!(" mac {mac}"));
            a.links.iter().for_each(|link| text += &format!(" {} as {}", link.container, link.alias));
            if a.gateway_priority != 0 {
                text += &format!(" priority {}", a.gateway_priority);
            }
            text
        };
        match flags {
            Ok((mode, all)) => {
                format!("{mode}: {}", all.iter().map(show).collect::<Vec<_>>().join(", "))
            }
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn networks_as_docker_reads_them() {
        let both = "conflicting options: cannot attach both user-defined and non-user-defined network-modes";
        for (networks, expected) in [
            (&[][..], "bridge: bridge"),
            (&["default"], "bridge: bridge"),
            (&["host"], "host: "),
            (&["none"], "none: "),
            (&["container:x"], "container:x: "),
            (&["mine"], "mine: mine"),
            (&["a", "b"], "a: a, b"),
            (
                &["name=a,alias=x,alias=y,ip=10.0.0.9,gw-priority=2"],
                "a: a alias x alias y ip 10.0.0.9 priority 2",
            ),
            (&["name=a,ip6=fd00::9,mac-address=02:42:ac:11:00:02"], "a: a ip fd00::9 mac 02:42:ac:11:00:02"),
            (
                &["name=a,link-local-ip=169.254.7.7,link-local-ip=fe80::9"],
                "a: a link 169.254.7.7 link fe80::9",
            ),
            (&["name=bridge,link-local-ip=169.254.7.7"], "bridge: bridge link 169.254.7.7"),
            (
                &["name=none,link-local-ip=169.254.7.7"],
                "conflicting options: link-local address 169.254.7.7 and the network mode none",
            ),
            (&["name=a,link-local-ip=x"], "invalid endpoint settings:\ninvalid link-local IP address: x"),
            (&["name=a,link-local-ip=10.1.2.3"], "invalid link local IP address: 10.1.2.3"),
            (&[""], "no name set for network"),
            (&["alias=x"], "no name set for network"),
            (&["a", "a"], "network \"a\" is specified multiple times"),
            (&["host", "a"], both),
            (&["a", "container:x"], both),
            (&["a,ip=10.0.0.9"], "invalid field a"),
            (&["name=a,foo=x"], "invalid field key foo"),
            (&["name=a,ip=x"], "invalid endpoint settings:\ninvalid IPv4 address: x"),
            (&["name=a,mac-address=zz"], "zz is not a valid mac address"),
            (&["name=bridge,alias=x"], "network-scoped aliases are only supported for user-defined networks"),
            (&["container:"], "invalid network mode: invalid container format container:<name|id>"),
        ] {
            assert_eq!(read(networks, |_| ()), expected, "{networks:?}");
        }
    }

    #[test]
    fn flags_beside_it_are_about_the_first() {
        assert_eq!(
            read(&["a", "b"], |flags| {
                flags.aliases = vec!["x".into()];
                flags.links = vec!["db:d".parse().unwrap(), "/web".parse().unwrap()];
            }),
            "a: a alias x db as d /web as web, b"
        );
        assert_eq!(
            read(&["name=a,alias=y"], |flags| flags.aliases = vec!["x".into()]),
            "conflicting options: cannot specify both --network-alias and per-network alias"
        );
        assert_eq!(
            read(&[], |flags| flags.ipv4 = Some(Ipv4Addr::LOCALHOST)),
            "invalid config for network bridge: invalid endpoint settings:\n\
             user specified IP address is supported on user defined networks only"
        );
        let link = |flags: &mut NetworkFlags| flags.links = vec!["db:d".parse().unwrap()];
        let undefined = "can't be used with links. This would result in undefined behavior";
        for (network, expected) in [
            ("bridge", "bridge: bridge db as d"),
            // Docker takes it, and does nothing.
            ("none", &format!("conflicting options: none type networking {undefined}")),
            ("host", &format!("conflicting options: host type networking {undefined}")),
            ("container:x", &format!("conflicting options: container type network {undefined}")),
        ] {
            assert_eq!(read(&[network], link), expected);
        }
        for wrong in ["a:b:c", ":x", "a:", "a:x/y", "a:x y", "a:x\n1.2.3.4", "a:x=y"] {
            let error = wrong.parse::<Link>().unwrap_err();
            assert_eq!(error.message(), format!("bad format for links: {wrong}"));
        }
    }
}
