//! The files of `/etc` that the engine writes for a container: `hosts` and `hostname` (`resolv.conf`: see `dns.rs`).
//!
//! Invariant: the texts are pure functions; [`write`] puts them into the container's directory, unsynced, for
//! they are written anew at every start.

use crate::dns;
use crate::runtime_spec::EtcFile;
use crate::spec::{ContainerSpec, NetworkMode};
use berth_oci::{AtPath, Result};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

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
    /// What the host's `/etc/resolv.conf` says.
    pub resolver: dns::HostResolver,
    /// The host's address on the container's network.
    pub gateway: Option<IpAddr>,
}

/// What the container finds in `/etc`.
#[must_use]
pub(crate) fn texts(spec: &ContainerSpec, hostname: &str, host: &HostTexts) -> EtcTexts {
    let (base, gateway) = match spec.network {
        NetworkMode::Host => (host.hosts.as_str(), Some(Ipv4Addr::LOCALHOST.into())),
        _ => (HOSTS, host.gateway),
    };
    EtcTexts {
        hosts: hosts(spec, base, gateway),
        hostname: format!("{hostname}\n"),
        resolv_conf: dns::resolv_conf(spec, &host.resolver),
    }
}

/// What the host is called in a container that has a network of its own.
const HOST_NAME: &str = "host.docker.internal";

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
    let is_named = spec.extra_hosts.iter().any(|extra| extra.name == HOST_NAME);
    if let (Some(gateway), true, false) = (gateway, spec.network.is_own(), is_named) {
        let _ = writeln!(text, "{gateway}\t{HOST_NAME}");
    }
    text
}

/// Writes the texts into `directory` and says which file is mounted where.
///
/// # Errors
/// The directory cannot be written to.
pub(crate) fn write(directory: &Path, texts: &EtcTexts) -> Result<Vec<EtcFile>> {
    let written =
        [("resolv.conf", &texts.resolv_conf), ("hostname", &texts.hostname), ("hosts", &texts.hosts)];
    for (name, text) in written {
        let source = directory.join(name);
        fs::write(&source, text).at(&source)?;
    }
    Ok(files(directory))
}

/// The files as a step of a build has them, whose machine is another one each time: docker names only the loopback
/// addresses, and `/etc/hostname` is the image's own.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn of_step(mut files: Vec<EtcFile>, hostname: &str) -> Result<Vec<EtcFile>> {
    files.retain(|file| file.target != Path::new("/etc/hostname"));
    for file in files.iter().filter(|file| file.target == Path::new("/etc/hosts")) {
        let text = fs::read_to_string(&file.source).at(&file.source)?;
        fs::write(&file.source, step_hosts(&text, hostname)).at(&file.source)?;
    }
    Ok(files)
}

fn step_hosts(text: &str, hostname: &str) -> String {
    let own = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.strip_prefix(HOSTS).map_or_else(|| text.to_owned(), |rest| format!("{own}{rest}"))
}

/// Which file of a container's directory is mounted where.
#[must_use]
pub(crate) fn files(directory: &Path) -> Vec<EtcFile> {
    let file = |name: &str| EtcFile { source: directory.join(name), target: Path::new("/etc").join(name) };
    ["resolv.conf", "hostname", "hosts"].map(file).into()
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
        let ours = format!("{HOSTS}10.0.0.9\tdb\n172.20.0.1\tup\n172.20.0.1\thost.docker.internal\n");
        assert_eq!(own.hosts, ours);
        assert_eq!(own.hostname, "abc\n");
        let shared = texts(&ContainerSpec { network: NetworkMode::Host, ..spec }, "abc", &host);
        assert_eq!(shared.hosts, "127.0.0.1 localhost\n10.0.0.1 me\n10.0.0.9\tdb\n127.0.0.1\tup\n");
        let named = ContainerSpec {
            extra_hosts: vec!["host.docker.internal:10.0.0.9".parse().unwrap()],
            ..ContainerSpec::default()
        };
        let named = texts(&named, "abc", &host).hosts;
        assert_eq!(named, format!("{HOSTS}10.0.0.9\thost.docker.internal\n"));
        let alone = texts(
            &ContainerSpec { network: NetworkMode::None, ..ContainerSpec::default() },
            "abc",
            &HostTexts::default(),
        );
        assert_eq!(alone.hosts, HOSTS);
        let own = "127.0.0.1\tlocalhost step\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.9\tdb\n";
        assert_eq!(step_hosts(&format!("{HOSTS}10.0.0.9\tdb\n"), "step"), own);
        assert_eq!(step_hosts("127.0.0.1 host\n", "step"), "127.0.0.1 host\n");
    }
}
