//! `--link` on the usual network: whom a container is told of there, in `/etc/hosts` and in its environment.
//!
//! Not here: links on networks that people made, which are names that the monitor answers (see `networking.rs`).
//! Invariant: a container is linked to another one whatever that is called by now, and starts only while it runs.

use super::{Container, short_id};
use crate::engine::Engine;
use crate::spec::{ExposedPort, Link, NetworkMode};
use berth_oci::{Error, Kind, Result};
use berth_runtime::LinkedHost;
use berth_runtime::net::{DEFAULT, Joined, Protocol};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A container that another one is linked to, while it runs.
pub(super) struct Linked {
    alias: String,
    container: Container,
    ip: IpAddr,
}

impl Engine {
    /// Gives the containers of links by their ids. Of two links with one alias docker has the first.
    pub(super) fn resolve_links(&self, links: &mut Vec<Link>) -> Result<()> {
        let mut known = BTreeSet::new();
        links.retain(|link| known.insert(link.alias.clone()));
        for link in links {
            link.container = self.link_target(&link.container)?.id;
        }
        Ok(())
    }

    /// The container itself, or the one whose network it shares.
    fn link_target(&self, name: &str) -> Result<Container> {
        let target = self.container(name.trim_start_matches('/')).map_err(|error| match error.kind() {
            Kind::NotFound => Error::invalid(format!("could not get container for {name}: {error}")),
            _ => error,
        })?;
        match &target.document.spec.network {
            NetworkMode::Container(other) => self.link_target(other),
            NetworkMode::Host => Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in \
                 undefined behavior",
            )),
            _ => Ok(target),
        }
    }

    /// Those it is linked to.
    ///
    /// # Errors
    /// `Conflict`: one of them does not run, or is not on the usual network.
    pub(super) fn links(&self, container: &Container) -> Result<Vec<Linked>> {
        links(container).map(|link| self.linked(container, link)).collect()
    }

    /// Those of them that run.
    pub(super) fn links_that_run(&self, container: &Container) -> Result<Vec<Linked>> {
        let found = links(container).map(|link| self.linked(container, link));
        found.filter(|found| !matches!(found, Err(error) if error.kind() == Kind::Conflict)).collect()
    }

    fn linked(&self, owner: &Container, link: &Link) -> Result<Linked> {
        let refused = |name: &str, hint: String| {
            let path = format!("/{name} AS /{}/{}", owner.name, link.alias);
            Error::conflict(format!("Cannot link to a non running container: {path}")).hint(hint)
        };
        let container = match self.container(&link.container) {
            Err(error) if error.kind() == Kind::NotFound => {
                let hint = format!(
                    "it has been removed: `berth rm --link {}/{}` forgets it",
                    owner.name, link.alias
                );
                return Err(refused(short_id(&link.container), hint));
            }
            found => found?,
        };
        if !container.is_running() {
            return Err(refused(&container.name, format!("`berth start {}`", container.name)));
        }
        let joined = container.joined().iter().find(|joined| joined.network == DEFAULT);
        let ip = joined.and_then(Joined::ip).ok_or_else(|| {
            let hint = format!("`berth network connect bridge {}`", container.name);
            let id = &container.id;
            Error::conflict(format!("container {id} not attached to default bridge network")).hint(hint)
        })?;
        Ok(Linked { alias: link.alias.clone(), container, ip })
    }

    /// Its links as docker writes them: `/db:/web/alias`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn link_paths(&self, container: &Container) -> Result<Vec<String>> {
        let path = |link: &Link| {
            let name = match self.container(&link.container) {
                Err(error) if error.kind() == Kind::NotFound => short_id(&link.container).to_owned(),
                found => found?.name,
            };
            Ok(format!("/{name}:/{}/{}", container.name, link.alias))
        };
        links(container).map(path).collect()
    }

    /// Forgets the link `NAME/ALIAS` of the container `NAME`; one that runs keeps what it was told.
    ///
    /// # Errors
    /// `NotFound`: there is no such link; `Conflict`: it is no link's name.
    pub fn remove_link(&self, path: &str) -> Result<()> {
        let unknown = || Error::not_found(format!("No such container: {path}"));
        let Some((name, alias)) = path.trim_start_matches('/').rsplit_once('/') else {
            self.container(path)?;
            return Err(Error::conflict("Conflict, cannot remove the default link name of the container")
                .hint("write NAME/ALIAS"));
        };
        let container = self.container(name).map_err(|error| match error.kind() {
            Kind::NotFound => unknown(),
            _ => error,
        })?;
        if !links(&container).any(|link| link.alias == alias) {
            return Err(unknown());
        }
        self.amend(&container, |document| {
            for attachment in document.spec.attachments.iter_mut().filter(|a| a.network == DEFAULT) {
                attachment.links.retain(|link| link.alias != alias);
            }
        })
    }
}

fn links(container: &Container) -> impl Iterator<Item = &Link> {
    let usual = container.document.spec.attachments.iter().filter(|a| a.network == DEFAULT);
    usual.flat_map(|attachment| &attachment.links)
}

impl Linked {
    /// What the container named `owner` is told of it in its environment.
    pub(super) fn variables(&self, owner: &str) -> Vec<String> {
        let process = &self.container.document.process;
        variables(&self.alias, owner, self.ip, &process.exposed, &process.env)
    }

    /// What `/etc/hosts` calls it.
    pub(super) fn host(&self) -> LinkedHost {
        let mut names = vec![self.alias.as_str(), &self.container.document.hostname];
        if self.alias != self.container.name {
            names.push(&self.container.name);
        }
        LinkedHost {
            container: self.container.id.clone(),
            network: DEFAULT.to_owned(),
            names: names.join(" "),
        }
    }
}

/// Docker's variables of a link: every port, every run of ports, and the environment but for what is of no use there.
fn variables(
    alias: &str,
    owner: &str,
    ip: IpAddr,
    ports: &BTreeSet<ExposedPort>,
    env: &[String],
) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let address = |port: &ExposedPort| format!("{}://{ip}:{}", port.protocol, port.port);
    let named = |port: &ExposedPort| {
        format!("{prefix}_PORT_{}_{}", port.port, port.protocol.to_string().to_uppercase())
    };
    let first = ports.iter().min_by_key(|port| (port.port, port.protocol != Protocol::Tcp));
    let mut all: Vec<String> =
        first.map(|port| format!("{prefix}_PORT={}", address(port))).into_iter().collect();
    for port in ports {
        let name = named(port);
        all.push(format!("{name}={}", address(port)));
        all.push(format!("{name}_ADDR={ip}"));
        all.push(format!("{name}_PORT={}", port.port));
        all.push(format!("{name}_PROTO={}", port.protocol));
    }
    for (start, end) in runs(ports) {
        let name = named(&start);
        all.push(format!("{name}_START={}", address(&start)));
        all.push(format!("{name}_PORT_START={}", start.port));
        all.push(format!("{name}_END={}", address(&end)));
        all.push(format!("{name}_PORT_END={}", end.port));
    }
    all.push(format!("{prefix}_NAME=/{owner}/{alias}"));
    let told = env.iter().filter_map(|variable| variable.split_once('='));
    let told = told.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
    all.extend(told.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
    all
}

/// The first and the last of ports that follow each other.
fn runs(ports: &BTreeSet<ExposedPort>) -> Vec<(ExposedPort, ExposedPort)> {
    let is_next = |one: &ExposedPort, other: &ExposedPort| {
        one.protocol == other.protocol && one.port.checked_add(1) == Some(other.port)
    };
    let mut sorted: Vec<ExposedPort> = ports.iter().copied().collect();
    sorted.sort_by_key(|port| (port.protocol.to_string(), port.port));
    let runs = sorted.chunk_by(is_next).filter(|run| run.len() > 1);
    runs.map(|run| (run[0], run[run.len() - 1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_expose;

    fn told(alias: &str, ports: &[&str], env: &[&str]) -> Vec<String> {
        let ports = ports.iter().flat_map(|port| parse_expose(port).unwrap()).collect();
        let env: Vec<String> = env.iter().map(|variable| (*variable).to_owned()).collect();
        variables(alias, "web", IpAddr::from([10, 0, 0, 2]), &ports, &env)
    }

    #[test]
    fn variables_of_links() {
        assert_eq!(told("db", &[], &["PATH=/x", "HOME=/y", "A"]), ["DB_NAME=/web/db"]);
        assert_eq!(
            told("my-db", &["53/udp", "53"], &["A=1=2"]),
            [
                "MY_DB_PORT=tcp://10.0.0.2:53",
                "MY_DB_PORT_53_TCP=tcp://10.0.0.2:53",
                "MY_DB_PORT_53_TCP_ADDR=10.0.0.2",
                "MY_DB_PORT_53_TCP_PORT=53",
                "MY_DB_PORT_53_TCP_PROTO=tcp",
                "MY_DB_PORT_53_UDP=udp://10.0.0.2:53",
                "MY_DB_PORT_53_UDP_ADDR=10.0.0.2",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_A=1=2",
            ]
        );
        let runs = told("db", &["80-82", "83/udp", "90", "65534-65535"], &[]);
        let runs: Vec<_> = runs.iter().filter(|v| v.contains("_START=") || v.contains("_END=")).collect();
        assert_eq!(
            runs,
            [
                "DB_PORT_80_TCP_START=tcp://10.0.0.2:80",
                "DB_PORT_80_TCP_PORT_START=80",
                "DB_PORT_80_TCP_END=tcp://10.0.0.2:82",
                "DB_PORT_80_TCP_PORT_END=82",
                "DB_PORT_65534_TCP_START=tcp://10.0.0.2:65534",
                "DB_PORT_65534_TCP_PORT_START=65534",
                "DB_PORT_65534_TCP_END=tcp://10.0.0.2:65535",
                "DB_PORT_65534_TCP_PORT_END=65535",
            ]
        );
    }
}
