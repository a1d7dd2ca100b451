//! What a start has to know of a container's networks: plans for the runtime, files, and whose namespace it is.
//!
//! Invariant: a container that cannot be connected to every one of its networks is not started.

use super::Container;
use crate::dns::{self, HostResolver};
use crate::engine::Engine;
use crate::etc::{self, HostTexts};
use crate::runtime_spec::EtcFile;
use crate::spec::{Attachment, NetworkMode};
use berth_oci::{AtPath, Error, Kind, Result};
use berth_runtime::NamesPlan;
use berth_runtime::net::{DEFAULT, Endpoint, NetworkPlan, PortMapping, Protocol, leader};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// All of it.
pub(crate) struct Networking {
    /// The networks to join, the first one first.
    pub(crate) plans: Vec<NetworkPlan>,
    /// Another container's namespace.
    pub(crate) namespace: Option<PathBuf>,
    /// The files of `/etc`.
    pub(crate) etc: Vec<EtcFile>,
    /// How names are answered.
    pub(crate) names: Option<NamesPlan>,
    /// The file that gets the container's addresses.
    pub(crate) hosts: Option<PathBuf>,
}

impl Engine {
    /// Finds out about a container that is to be started, and writes its files.
    pub(crate) fn networking(&self, container: &Container, directory: &Path) -> Result<Networking> {
        let spec = &container.document.spec;
        if let NetworkMode::Container(other) = &spec.network {
            return self.shared(other);
        }
        let plans = self.plans(container)?;
        let resolver = HostResolver::read()?;
        let names = (!plans.is_empty()).then(|| NamesPlan {
            upstreams: dns::upstreams(&spec.dns, &resolver),
            resolv_conf: directory.join("resolv.conf"),
            text: dns::embedded(&spec.dns, &resolver),
        });
        let host = HostTexts { hosts: host_names()?, resolver, gateway: gateway(&plans) };
        let texts = etc::texts(spec, &container.document.hostname, &host);
        Ok(Networking {
            namespace: None,
            etc: etc::write(directory, &texts)?,
            names,
            hosts: (!plans.is_empty()).then(|| directory.join("hosts")),
            plans,
        })
    }

    /// The namespace and the files of a container that runs.
    fn shared(&self, other: &str) -> Result<Networking> {
        let other = self
            .container(other)
            .map_err(|error| Error::invalid(format!("joining network namespace of container: {error}")))?;
        let pid = other.state.as_ref().and_then(|state| state.pid).filter(|_| other.is_running());
        let Some(pid) = pid else {
            return Err(Error::conflict(format!(
                "cannot join network namespace of a non running container: container {} is {}",
                other.name,
                super::word(other.status())
            ))
            .hint(format!("`berth start {}`", other.name)));
        };
        let directory = match &other.document.spec.network {
            NetworkMode::Container(further) => self.store()?.container_dir(&self.container(further)?.id),
            _ => self.store()?.container_dir(&other.id),
        };
        Ok(Networking {
            plans: Vec::new(),
            namespace: Some(format!("/proc/{pid}/ns/net").into()),
            etc: etc::files(&directory),
            names: None,
            hosts: None,
        })
    }

    /// The places on networks that a container is to have. Its ports are published where its way out is.
    pub(crate) fn plans(&self, container: &Container) -> Result<Vec<NetworkPlan>> {
        let spec = &container.document.spec;
        let attachments = spec.attachments_at_start();
        let mut plans = attachments
            .iter()
            .map(|attachment| self.plan(container, attachment))
            .collect::<Result<Vec<_>>>()?;
        if let Some(number) = leader(&plans, true).or_else(|| leader(&plans, false)) {
            plans[number].endpoint.ports = ports(container);
        }
        Ok(plans)
    }

    /// One place.
    pub(crate) fn plan(&self, container: &Container, attachment: &Attachment) -> Result<NetworkPlan> {
        let record = match attachment.network.as_str() {
            DEFAULT => self.site().usual_network()?,
            name => self.network_record(name).map_err(|error| match error.kind() {
                Kind::NotFound => Error::invalid(format!("failed to set up container networking: {error}"))
                    .hint("`berth network ls` lists what is here"),
                _ => error,
            })?,
        };
        let network = self.site().network(&record)?;
        let links = attachment.links.iter().map(|link| {
            let target = self.store()?.container(&link.container).map(|target| target.name);
            Ok((link.alias.clone(), target.unwrap_or_else(|_| link.container.clone())))
        });
        let endpoint = Endpoint {
            container: container.id.clone(),
            name: container.name.clone(),
            ipv4: attachment.ipv4,
            ipv6: attachment.ipv6,
            link_local: attachment.link_local.clone(),
            mac: attachment.mac,
            ports: Vec::new(),
            dns_names: container.dns_names(attachment),
            links: links.collect::<Result<_>>()?,
            gateway_priority: attachment.gateway_priority,
        };
        Ok(NetworkPlan { network, endpoint })
    }
}

impl Container {
    /// What others on a network find it by.
    #[must_use]
    pub fn dns_names(&self, attachment: &Attachment) -> Vec<String> {
        let mut names = vec![self.name.clone()];
        let further = attachment.aliases.iter().map(String::as_str).chain([self.short_id()]);
        for name in further.chain(self.document.spec.hostname.as_deref()) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// Where the host is seen from the first network.
fn gateway(plans: &[NetworkPlan]) -> Option<IpAddr> {
    let network = &plans.first()?.network;
    network.ipv4.as_ref().or(network.ipv6.as_ref()).map(|pool| pool.gateway)
}

/// What was published, and with `-P` also every other port that is listened on, each at any free port.
pub(crate) fn ports(container: &Container) -> Vec<PortMapping> {
    let spec = &container.document.spec;
    let mut ports = spec.ports.clone();
    if spec.publish_all {
        for exposed in &container.document.process.exposed {
            let taken =
                ports.iter().any(|m| (m.container_port, m.protocol) == (exposed.port, exposed.protocol));
            if !taken && exposed.protocol != Protocol::Sctp {
                ports.push(PortMapping {
                    host_ip: None,
                    host_ports: None,
                    container_port: exposed.port,
                    protocol: exposed.protocol,
                });
            }
        }
    }
    ports
}

fn host_names() -> Result<String> {
    let path = "/etc/hosts";
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).at(path),
    }
}
