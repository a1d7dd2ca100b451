//! A container in docker's words: its status, its command, its ports.
//!
//! Invariant: pure; what `ps`, `inspect` and `port` say of the same thing comes from here.

use crate::format::human;
use berth_engine::container::Container;
use berth_engine::spec::ExposedPort;
use berth_runtime::net::{Protocol, Published};
use berth_runtime::{HealthStatus, Status};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `Up 2 seconds (healthy)`, `Exited (137) 1 second ago`, `Restarting (1) 3 seconds ago`, `Created`.
pub(super) fn status(container: &Container, now: Timestamp) -> String {
    let since = |moment: Option<Timestamp>| {
        human::duration(moment.map_or(0, |moment| now.as_second() - moment.as_second()))
    };
    let Some(state) = &container.state else { return "Created".to_owned() };
    match container.status() {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}{}", since(state.started_at), health(container)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code.unwrap_or_default(), since(state.finished_at))
        }
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Exited => {
            format!("Exited ({}) {} ago", state.exit_code.unwrap_or_default(), since(state.finished_at))
        }
    }
}

/// ` (healthy)`, where there is a check.
fn health(container: &Container) -> &'static str {
    match container.health().map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// The program and its arguments, those with blanks in quotes.
pub(super) fn command(container: &Container) -> String {
    let args = container.document.process.args();
    let quoted = args.iter().enumerate().map(|(at, arg)| match at > 0 && arg.contains(' ') {
        true => format!("'{arg}'"),
        false => arg.clone(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// At most `most` characters, the last of them `…` where something is left out.
pub(super) fn ellipsis(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// A port of a running container, published or only listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) private: u16,
    pub(super) protocol: Protocol,
    /// Where on the host it is reached.
    pub(super) public: Option<(IpAddr, u16)>,
}

/// All ports of a running container, those that are published once for each address.
pub(super) fn ports<'a>(
    exposed: impl IntoIterator<Item = &'a ExposedPort>,
    published: &[Published],
) -> Vec<Port> {
    let mut ports: Vec<Port> = published
        .iter()
        .map(|p| Port {
            private: p.container_port,
            protocol: p.protocol,
            public: Some((p.host_ip, p.host_port)),
        })
        .collect();
    for port in exposed {
        if !ports.iter().any(|known| (known.private, known.protocol) == (port.port, port.protocol)) {
            ports.push(Port { private: port.port, protocol: port.protocol, public: None });
        }
    }
    ports.sort();
    ports
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; a run of ports that are the same on both sides is one range.
pub(super) fn ports_text(ports: &[Port]) -> String {
    let mut groups: Vec<Group> = Vec::new();
    let mut mapped = Vec::new();
    for port in ports {
        match port.public {
            Some((ip, public)) if public != port.private => {
                mapped.push(format!("{}:{public}->{}/{}", address(ip), port.private, port.protocol));
            }
            _ => Group::add(&mut groups, port),
        }
    }
    let grouped = groups.iter().map(Group::text);
    grouped.chain(mapped).collect::<Vec<_>>().join(", ")
}

/// A run of ports of one address and protocol.
struct Group {
    ip: Option<IpAddr>,
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl Group {
    fn add(groups: &mut Vec<Self>, port: &Port) {
        let ip = port.public.map(|(ip, _)| ip);
        let next = groups.iter_mut().find(|g| {
            g.ip == ip && g.protocol == port.protocol && g.last.checked_add(1) == Some(port.private)
        });
        match next {
            Some(group) => group.last = port.private,
            None => {
                groups.push(Self { ip, protocol: port.protocol, first: port.private, last: port.private })
            }
        }
    }

    fn text(&self) -> String {
        let range = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        match self.ip {
            Some(ip) => format!("{}:{range}->{range}/{}", address(ip), self.protocol),
            None => format!("{range}/{}", self.protocol),
        }
    }
}

/// An address as it stands before a port.
pub(super) fn address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `a=b,c=d`.
pub(super) fn labels_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        let at = |ip: [u8; 4], host_port, container_port| Published {
            host_ip: ip.into(),
            host_port,
            container_port,
            protocol: Protocol::Tcp,
        };
        let exposed = |list: &[u16]| -> Vec<ExposedPort> {
            list.iter().map(|port| ExposedPort { port: *port, protocol: Protocol::Tcp }).collect()
        };
        for (open, published, expected) in [
            (&[][..], &[][..], ""),
            (&[80], &[], "80/tcp"),
            (&[80, 81, 443], &[], "80-81/tcp, 443/tcp"),
            (&[80], &[at([0; 4], 8080, 80)], "0.0.0.0:8080->80/tcp"),
            (&[80, 443], &[at([0; 4], 8080, 80)], "443/tcp, 0.0.0.0:8080->80/tcp"),
            (&[], &[at([127, 0, 0, 1], 80, 80)], "127.0.0.1:80->80/tcp"),
            (&[], &[at([0; 4], 80, 80), at([0; 4], 81, 81)], "0.0.0.0:80-81->80-81/tcp"),
        ] {
            assert_eq!(ports_text(&ports(&exposed(open), published)), expected);
        }
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        for (text, expected) in [
            ("sleep 600", "sleep 600"),
            ("12345678901234567890", "12345678901234567890"),
            ("123456789012345678901", "1234567890123456789…"),
            ("ääääääääääääääääääääääää", "äääääääääääääääääää…"),
        ] {
            assert_eq!(ellipsis(text, 20), expected);
        }
    }
}
