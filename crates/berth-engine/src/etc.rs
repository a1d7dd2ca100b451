//! The files of `/etc` that the engine writes for a container: `hosts`, `hostname`, `resolv.conf`.
//!
//! Invariant: the texts are pure functions; [`write`] puts them into the container's directory, unsynced, for
//! they are written anew at every start.

use crate::runtime_spec::EtcFile;
use crate::spec::{ContainerSpec, Dns, NetworkMode};
use berth_oci::{AtPath, Result};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Where names are asked for when the host itself only knows a server on its own loopback, as docker does.
const PUBLIC_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

const HOSTS: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// The three texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcTexts {
    /// `/etc/hosts`, without the container's own address, which is not known yet.
    pub hosts: String,
    /// `/etc/hostname`.
    pub hostname: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// What the host has in those files, and where it is seen from the container's network.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostTexts {
    /// The host's `/etc/hosts`.
    pub hosts: String,
    /// The host's `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The host's address on the container's network.
    pub gateway: Option<IpAddr>,
}

/// What the container finds in `/etc`.
#[must_use]
pub(crate) fn texts(spec: &ContainerSpec, hostname: &str, host: &HostTexts) -> EtcTexts {
    let own = spec.network != NetworkMode::Host;
    EtcTexts {
        hosts: hosts(spec, if own { HOSTS } else { &host.hosts }, host.gateway),
        hostname: format!("{hostname}\n"),
        resolv_conf: resolv_conf(&spec.dns, &host.resolv_conf, spec.network),
    }
}

fn hosts(spec: &ContainerSpec, base: &str, gateway: Option<IpAddr>) -> String {
    let mut text = base.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in &spec.extra_hosts {
        if let Some(address) = extra.address.or(gateway) {
            let _ = writeln!(text, "{address}\t{}", extra.name);
        }
    }
    text
}

/// The host's file with what was asked for in its place. A container with a network of its own cannot reach a
/// server on the host's loopback.
fn resolv_conf(dns: &Dns, host: &str, network: NetworkMode) -> String {
    if *dns == Dns::default() && network != NetworkMode::Bridge {
        return host.to_owned();
    }
    let of = |key: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(key));
        lines.filter(|rest| rest.starts_with([' ', '\t'])).map(|rest| rest.trim().to_owned()).collect()
    };
    let reachable = |server: &String| {
        let address: Option<IpAddr> = server.split('%').next().and_then(|a| a.parse().ok());
        address.is_some_and(|a| network == NetworkMode::Host || !a.is_loopback())
    };
    let mut servers: Vec<String> = match dns.servers.is_empty() {
        true => of("nameserver").into_iter().filter(reachable).collect(),
        false => dns.servers.iter().map(ToString::to_string).collect(),
    };
    if servers.is_empty() {
        servers = PUBLIC_SERVERS.map(str::to_owned).to_vec();
    }
    let search = match dns.search.is_empty() {
        true => of("search").pop().into_iter().collect(),
        false => dns.search.iter().filter(|domain| *domain != ".").cloned().collect::<Vec<_>>(),
    };
    let options = if dns.options.is_empty() { of("options") } else { dns.options.clone() };
    let mut text: String =
        servers.iter().fold(String::new(), |text, server| text + "nameserver " + server + "\n");
    for (key, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{key} {}", words.join(" "));
        }
    }
    text
}

/// Writes the texts into `directory` and says which file is mounted where.
///
/// # Errors
/// The directory cannot be written to.
pub(crate) fn write(directory: &Path, texts: &EtcTexts) -> Result<Vec<EtcFile>> {
    [
        ("resolv.conf", "/etc/resolv.conf", &texts.resolv_conf),
        ("hostname", "/etc/hostname", &texts.hostname),
        ("hosts", "/etc/hosts", &texts.hosts),
    ]
    .into_iter()
    .map(|(name, target, text)| {
        let source = directory.join(name);
        fs::write(&source, text).at(&source)?;
        Ok(EtcFile { source, target: target.into() })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_files() {
        let host = HostTexts {
            hosts: "127.0.0.1 localhost\n10.0.0.1 me".to_owned(),
            gateway: Some("172.20.0.1".parse().unwrap()),
            ..HostTexts::default()
        };
        let spec = ContainerSpec {
            extra_hosts: vec!["db:10.0.0.9".parse().unwrap(), "up:host-gateway".parse().unwrap()],
            ..ContainerSpec::default()
        };
        let own = texts(&spec, "abc", &host);
        assert_eq!(own.hosts, format!("{HOSTS}10.0.0.9\tdb\n172.20.0.1\tup\n"));
        assert_eq!(own.hostname, "abc\n");
        let shared = texts(&ContainerSpec { network: NetworkMode::Host, ..spec }, "abc", &host);
        assert_eq!(shared.hosts, "127.0.0.1 localhost\n10.0.0.1 me\n10.0.0.9\tdb\n172.20.0.1\tup\n");
    }

    #[test]
    fn resolv_conf_files() {
        const HOST: &str = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\n";
        let dns = |servers: &[&str], search: &[&str], options: &[&str]| Dns {
            servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
            search: search.iter().map(|s| (*s).to_owned()).collect(),
            options: options.iter().map(|s| (*s).to_owned()).collect(),
        };
        for (dns, host, network, expected) in [
            (
                Dns::default(),
                HOST,
                NetworkMode::Bridge,
                "nameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\n",
            ),
            (Dns::default(), HOST, NetworkMode::Host, HOST),
            (
                Dns::default(),
                "nameserver 127.0.0.1\n",
                NetworkMode::Bridge,
                "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
            ),
            (Dns::default(), "", NetworkMode::Bridge, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
            (
                dns(&["1.1.1.1"], &["c.example"], &["timeout:1"]),
                HOST,
                NetworkMode::Bridge,
                "nameserver 1.1.1.1\nsearch c.example\noptions timeout:1\n",
            ),
            (dns(&[], &["."], &[]), HOST, NetworkMode::Bridge, "nameserver 10.0.0.2\noptions ndots:2\n"),
            (
                dns(&[], &["x.example"], &[]),
                HOST,
                NetworkMode::Host,
                "nameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch x.example\noptions ndots:2\n",
            ),
        ] {
            assert_eq!(resolv_conf(&dns, host, network), expected);
        }
    }
}
