//! How a container looks names up: its `resolv.conf`, and the servers that its monitor asks.
//!
//! Here: pure functions of what was asked for and of what the host has; [`HostResolver::read`] alone looks. Not
//! here: answering (the runtime's). Invariant: a container is never told of a server that it cannot reach.

use crate::spec::{Attachment, ContainerSpec, Dns, NetworkMode};
use berth_oci::{AtPath, Result};
use berth_runtime::dns::{ADDRESS, Upstream};
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// Where names are asked for when the host only knows servers that containers cannot reach, as docker does.
const PUBLIC_SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];
const PORT: u16 = 53;

/// What the host's own files say.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostResolver {
    /// `/etc/resolv.conf`.
    pub text: String,
    /// What systemd-resolved asks, where the host asks systemd-resolved.
    pub behind: String,
    /// The numbers of the interfaces that link-local servers are on, by name.
    pub interfaces: Vec<(String, u32)>,
}

impl HostResolver {
    /// Reads them.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub(crate) fn read() -> Result<Self> {
        let text = read("/etc/resolv.conf")?;
        let behind =
            match servers(&text).iter().any(|(ip, _)| *ip == IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53))) {
                true => read("/run/systemd/resolve/resolv.conf")?,
                false => String::new(),
            };
        let scopes: Vec<String> = servers(&text).into_iter().filter_map(|(_, scope)| scope).collect();
        let number = |name: String| {
            let path = format!("/sys/class/net/{name}/ifindex");
            let number = fs::read_to_string(path).ok()?.trim().parse().ok()?;
            Some((name, number))
        };
        Ok(Self { text, behind, interfaces: scopes.into_iter().filter_map(number).collect() })
    }

    /// The servers that a container on a bridge can reach.
    fn reachable(&self) -> Vec<IpAddr> {
        let of = |text: &str| -> Vec<IpAddr> {
            let plain = servers(text).into_iter().filter(|(_, scope)| scope.is_none()).map(|(ip, _)| ip);
            plain.filter(|ip| ip.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified()).collect()
        };
        let own = of(&self.text);
        if own.is_empty() { of(&self.behind) } else { own }
    }

    /// Whether containers on the usual bridge are told of servers that the host does not name.
    #[must_use]
    pub(crate) fn is_of_no_use(&self) -> bool {
        self.reachable().is_empty()
    }
}

fn read(path: &str) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).at(path),
    }
}

/// The values of every line that begins with `key`.
fn lines<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    lines.filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim).collect()
}

/// The servers, each with the interface that it is on where it is a link-local address.
fn servers(text: &str) -> Vec<(IpAddr, Option<String>)> {
    let server = |value: &str| {
        let (ip, scope) = value.split_once('%').map_or((value, None), |(ip, scope)| (ip, Some(scope)));
        Some((ip.parse().ok()?, scope.map(str::to_owned)))
    };
    lines(text, "nameserver").into_iter().filter_map(server).collect()
}

/// Whether a container's monitor answers its questions: on every network but the usual one.
#[must_use]
pub(crate) fn is_embedded(attachments: &[Attachment]) -> bool {
    attachments.iter().any(|attachment| attachment.network != berth_runtime::net::DEFAULT)
}

/// A container's `/etc/resolv.conf`.
#[must_use]
pub(crate) fn resolv_conf(spec: &ContainerSpec, host: &HostResolver) -> String {
    match spec.network {
        _ if is_embedded(&spec.attachments) => embedded(&spec.dns, host),
        NetworkMode::Host | NetworkMode::None if spec.dns == Dns::default() => host.text.clone(),
        NetworkMode::Host | NetworkMode::None => {
            let own = servers(&host.text).into_iter().map(|(ip, scope)| match scope {
                Some(scope) => format!("{ip}%{scope}"),
                None => ip.to_string(),
            });
            text(&own.collect::<Vec<_>>(), &spec.dns, host)
        }
        _ => {
            let reachable = host.reachable();
            let servers = if reachable.is_empty() { &PUBLIC_SERVERS[..] } else { &reachable };
            text(&servers.iter().map(ToString::to_string).collect::<Vec<_>>(), &spec.dns, host)
        }
    }
}

/// The same where its monitor answers.
#[must_use]
pub(crate) fn embedded(dns: &Dns, host: &HostResolver) -> String {
    let mut options = options(dns, host);
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        // A name without a dot is a neighbour's: it is asked for as it is before the domains are tried.
        options.push("ndots:0".to_owned());
    }
    let dns = Dns { servers: Vec::new(), options, search: dns.search.clone() };
    format!(
        "# The monitor of this container answers: its networks' names itself, others by {}.\n\n",
        told(host)
    ) + &text(&[ADDRESS.to_string()], &dns, host)
}

fn told(host: &HostResolver) -> &'static str {
    if servers(&host.text).is_empty() { "the servers it was given" } else { "the servers of the host" }
}

fn options(dns: &Dns, host: &HostResolver) -> Vec<String> {
    match dns.options.is_empty() {
        true => lines(&host.text, "options")
            .into_iter()
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect(),
        false => dns.options.clone(),
    }
}

fn text(servers: &[String], dns: &Dns, host: &HostResolver) -> String {
    let servers = match dns.servers.is_empty() {
        true => servers.to_vec(),
        false => dns.servers.iter().map(ToString::to_string).collect(),
    };
    let search: Vec<String> = match dns.search.is_empty() {
        true => lines(&host.text, "search").pop().map(str::to_owned).into_iter().collect(),
        false => dns.search.iter().filter(|domain| *domain != ".").cloned().collect(),
    };
    let mut text: String =
        servers.iter().fold(String::new(), |text, server| text + "nameserver " + server + "\n");
    for (key, words) in [("search", search), ("options", options(dns, host))] {
        if !words.is_empty() {
            let _ = writeln!(text, "{key} {}", words.join(" "));
        }
    }
    text
}

/// Whom a monitor asks about the rest of the world. What was asked for is reached from the container; the host's own
/// servers are reached as the host reaches them, on its loopback and by its interfaces.
#[must_use]
pub(crate) fn upstreams(dns: &Dns, host: &HostResolver) -> Vec<Upstream> {
    if !dns.servers.is_empty() {
        let given = |ip: &IpAddr| Upstream { address: SocketAddr::new(*ip, PORT), from_host: false };
        return dns.servers.iter().map(given).collect();
    }
    let of_host = |(ip, scope): (IpAddr, Option<String>)| {
        let address = match (ip, scope) {
            (IpAddr::V6(ip), Some(scope)) => {
                let (_, number) = host.interfaces.iter().find(|(name, _)| *name == scope)?;
                SocketAddrV6::new(ip, PORT, 0, *number).into()
            }
            (ip, _) => SocketAddr::new(ip, PORT),
        };
        Some(Upstream { address, from_host: true })
    };
    let found: Vec<_> = servers(&host.text).into_iter().filter_map(of_host).collect();
    match found.is_empty() {
        false => found,
        true => PUBLIC_SERVERS.map(|ip| Upstream { address: (ip, PORT).into(), from_host: true }).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\n\
                        search a.example b.example\noptions ndots:2 edns0\n";

    fn dns(servers: &[&str], search: &[&str], options: &[&str]) -> Dns {
        Dns {
            servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
            search: search.iter().map(|s| (*s).to_owned()).collect(),
            options: options.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    fn host(text: &str, behind: &str) -> HostResolver {
        HostResolver {
            text: text.to_owned(),
            behind: behind.to_owned(),
            interfaces: vec![("eth0".to_owned(), 7)],
        }
    }

    #[test]
    fn resolv_conf_files() {
        let bridge = NetworkMode::Bridge;
        let user = NetworkMode::User("mine".to_owned());
        let stub = "nameserver 127.0.0.53\n";
        let public = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        for (dns, host, network, expected) in [
            (
                Dns::default(),
                host(HOST, ""),
                &bridge,
                "nameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2 edns0\n",
            ),
            (Dns::default(), host(HOST, ""), &NetworkMode::Host, HOST),
            (Dns::default(), host("nameserver 127.0.0.1\n", ""), &bridge, public),
            (Dns::default(), host("nameserver ::1\nnameserver fe80::1%eth0\n", ""), &bridge, public),
            (Dns::default(), host("", ""), &bridge, public),
            (Dns::default(), host(stub, "nameserver 10.0.0.7\n"), &bridge, "nameserver 10.0.0.7\n"),
            (
                dns(&["1.1.1.1"], &["c.example"], &["timeout:1"]),
                host(HOST, ""),
                &bridge,
                "nameserver 1.1.1.1\nsearch c.example\noptions timeout:1\n",
            ),
            (dns(&[], &["."], &[]), host(HOST, ""), &bridge, "nameserver 10.0.0.2\noptions ndots:2 edns0\n"),
            (
                dns(&[], &["x.example"], &[]),
                host("nameserver 127.0.0.53\n", ""),
                &NetworkMode::Host,
                "nameserver 127.0.0.53\nsearch x.example\n",
            ),
            (
                dns(&["1.1.1.1"], &["."], &[]),
                host("search x.example\n", ""),
                &user,
                "# The monitor of this container answers: its networks' names itself, others by the servers it was \
                 given.\n\nnameserver 127.0.0.11\noptions ndots:0\n",
            ),
            (
                Dns::default(),
                host(HOST, ""),
                &user,
                "# The monitor of this container answers: its networks' names itself, others by the servers of the \
                 host.\n\nnameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:2 edns0\n",
            ),
        ] {
            let attachments = match network {
                NetworkMode::User(name) => vec![Attachment::to(name)],
                NetworkMode::Bridge => vec![Attachment::to("bridge")],
                _ => Vec::new(),
            };
            let spec =
                ContainerSpec { dns, network: network.clone(), attachments, ..ContainerSpec::default() };
            assert_eq!(resolv_conf(&spec, &host), expected);
        }
    }

    #[test]
    fn servers_of_the_rest_of_the_world() {
        let shown = |dns: &Dns, text: &str| {
            let all = upstreams(dns, &host(text, ""));
            let one =
                |u: &Upstream| format!("{}{}", u.address, if u.from_host { " by the host" } else { "" });
            all.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(shown(&dns(&["1.1.1.1", "fd00::53"], &[], &[]), HOST), "1.1.1.1:53, [fd00::53]:53");
        assert_eq!(
            shown(&Dns::default(), HOST),
            "127.0.0.53:53 by the host, 10.0.0.2:53 by the host, [fe80::1%7]:53 by the host"
        );
        assert_eq!(shown(&Dns::default(), ""), "8.8.8.8:53 by the host, 8.8.4.4:53 by the host");
    }
}
