//! `network connect` and `disconnect`: of a container that runs, or of one that will.
//!
//! Invariant: the record says what the next start will do; it is changed after the running container was.

use super::Network;
use crate::container::{Container, Document, ports};
use crate::engine::Engine;
use crate::spec::{Attachment, NetworkMode};
use berth_oci::{Error, Kind, Result};
use berth_runtime::Status;
use berth_runtime::net::Pool;
use std::net::IpAddr;

impl Engine {
    /// Puts a container on a network; at once if it runs.
    ///
    /// # Errors
    /// `NotFound`; `Denied`: it is on it already, or cannot be.
    pub fn connect(&self, container: &str, attachment: Attachment) -> Result<()> {
        let container = self.container(container)?;
        let network = self.network(&attachment.network)?;
        connectable(&container, &network)?;
        check_addresses(&network, &attachment)?;
        let attachment = Attachment { network: network.name.clone(), ..attachment };
        let has_extras = !attachment.aliases.is_empty() || !attachment.links.is_empty();
        if network.is_builtin() && has_extras {
            return Err(Error::invalid(
                "invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks",
            ));
        }
        if on(&container).contains(&network.name) {
            return Err(Error::denied(format!(
                "endpoint with name {} already exists in network {}",
                container.name, network.name
            )));
        }
        if container.is_running() {
            let mut plan = self.plan(&container, &attachment)?;
            // The first network with a way out is the one that its ports lead in by.
            if container.published().is_empty() && !network.internal {
                plan.endpoint.ports = ports(&container);
            }
            self.talk(&container)?.connect(plan)?;
        }
        self.amend(&container, |document| {
            let known = document.spec.attachments_at_start();
            document.spec.attachments = known;
            document.spec.attachments.push(attachment.clone());
        })
    }

    /// Takes a container off a network; at once if it runs. By force, one that is no more is none's trouble.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`: it is not on it.
    pub fn disconnect(&self, container: &str, network: &str, force: bool) -> Result<()> {
        let container = match self.container(container) {
            // Whoever forces it means one that has gone: only its place on the network may be left.
            Err(error) if force && error.kind() == Kind::NotFound => {
                self.network(network)?;
                return Err(Error::not_found(format!("endpoint {container} not found")));
            }
            other => other?,
        };
        let network = self.network(network)?;
        if network.name == "host" && container.document.spec.network == NetworkMode::Host {
            return Err(Error::denied(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        if !on(&container).contains(&network.name) {
            return Err(Error::conflict(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        if container.is_running() {
            self.talk(&container)?.disconnect(&network.name)?;
        }
        self.amend(&container, |document| {
            let mut known = document.spec.attachments_at_start();
            known.retain(|attachment| attachment.network != network.name);
            document.spec.attachments = known;
        })
    }

    pub(crate) fn amend(&self, container: &Container, change: impl Fn(&mut Document)) -> Result<()> {
        self.store()?.update_container(&container.id, |record| {
            let mut document: Document = serde_json::from_str(&record.document).map_err(|error| {
                Error::corrupt(format!("the record of container {} cannot be read: {error}", record.name))
            })?;
            change(&mut document);
            Ok(serde_json::to_string(&document).expect("a document has string keys"))
        })?;
        Ok(())
    }
}

/// The names of the networks that a container is on now, or will be.
fn on(container: &Container) -> Vec<String> {
    match matches!(container.status(), Status::Running | Status::Paused) {
        true => container.joined().iter().map(|joined| joined.network.clone()).collect(),
        false => {
            let all = container.document.spec.attachments_at_start();
            all.into_iter().map(|attachment| attachment.network).collect()
        }
    }
}

fn connectable(container: &Container, network: &Network) -> Result<()> {
    let message = match (&container.document.spec.network, network.driver) {
        (NetworkMode::Host | NetworkMode::Container(_), _) => {
            "container sharing network namespace with another container or host cannot be connected to any other \
             network"
        }
        (_, "host") => {
            "cannot connect container to host network - container must be created in host network mode"
        }
        (NetworkMode::None, _) | (_, "null") => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }
        _ => return Ok(()),
    };
    Err(Error::denied(message))
}

/// Whether the addresses that are asked for can be had there.
pub(crate) fn check_addresses(network: &Network, attachment: &Attachment) -> Result<()> {
    let asked = [
        (attachment.ipv4.map(IpAddr::from), &network.ipv4),
        (attachment.ipv6.map(IpAddr::from), &network.ipv6),
    ];
    let fits = |(ip, pool): &(Option<IpAddr>, &Option<Pool>)| {
        ip.is_none_or(|ip| pool.as_ref().is_some_and(|pool| pool.subnet.contains(ip)))
    };
    match asked.iter().find(|one| !fits(one)) {
        Some((Some(ip), _)) => Err(Error::invalid(format!(
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address {ip}"
        ))),
        _ => Ok(()),
    }
}
