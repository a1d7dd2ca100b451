//! Networks: what is known of one, and the verbs: make, list, remove, put a container on it and take it off.
//!
//! Not here: what the kernel is told (the runtime's `net/`). Invariant: what is answered about who is on a network
//! comes from the runtime's ledger at that moment.

mod connect;
mod request;

pub(crate) use connect::check_addresses;
pub use request::{NetworkFlagsOfCreate, pools};

use crate::engine::Engine;
use berth_oci::{Error, Kind, Result};
use berth_runtime::net::{self, DEFAULT, Member, NetworkRecord, NetworkRequest, Pool};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A network as it is now.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// `bridge`, `macvlan`, `ipvlan`, `host` or `null`.
    pub driver: &'static str,
    /// Its IPv4 addresses.
    pub ipv4: Option<Pool>,
    /// Its IPv6 addresses.
    pub ipv6: Option<Pool>,
    /// Nothing leaves it and nothing enters.
    pub internal: bool,
    /// Docker's word for swarm.
    pub attachable: bool,
    /// Words of the owner.
    pub labels: BTreeMap<String, String>,
    /// What was asked of the driver.
    pub options: BTreeMap<String, String>,
    /// Who is on it, by container.
    pub members: Vec<Member>,
}

/// Networks that are always there and have nothing of their own, with their drivers.
const OTHERS: [(&str, &str); 2] = [("host", "host"), ("none", "null")];

impl Network {
    fn of(record: NetworkRecord, members: &[Member]) -> Self {
        let members = members.iter().filter(|member| member.network == record.name).cloned().collect();
        Self {
            id: record.id,
            driver: record.driver.as_str(),
            name: record.name,
            created: record.created,
            ipv4: record.ipv4,
            ipv6: record.ipv6,
            internal: record.internal,
            attachable: record.attachable,
            labels: record.labels,
            options: record.options,
            members,
        }
    }

    /// Whether it is always there.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        is_builtin(&self.name)
    }
}

/// Whether a network of this name is always there.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    name == DEFAULT || OTHERS.iter().any(|(other, _)| *other == name)
}

impl Engine {
    /// Every network, by name.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let site = self.site();
        let usual = site.usual_network()?;
        let created = usual.created;
        let members = net::members(&site.home())?;
        let view = |record: NetworkRecord| match record.name == DEFAULT {
            true => Network { options: site.usual_options(), ..Network::of(record, &members) },
            false => Network::of(record, &members),
        };
        let mut networks: Vec<Network> = site.records()?.into_iter().map(view).collect();
        networks.extend(OTHERS.map(|(name, driver)| Network {
            id: site.builtin_id(name),
            name: name.to_owned(),
            created,
            driver,
            ipv4: None,
            ipv6: None,
            internal: false,
            attachable: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            members: Vec::new(),
        }));
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The network that `text` means: a name, an id, or a unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where a prefix fits several.
    pub fn network(&self, text: &str) -> Result<Network> {
        let mut networks = self.networks()?;
        let keys: Vec<(String, String)> =
            networks.iter().map(|network| (network.name.clone(), network.id.clone())).collect();
        Ok(networks.swap_remove(find(text, &keys)?))
    }

    /// The same for those that people made, without looking who is on it.
    pub(crate) fn network_record(&self, text: &str) -> Result<NetworkRecord> {
        let mut records = self.site().records()?;
        let keys: Vec<(String, String)> =
            records.iter().map(|record| (record.name.clone(), record.id.clone())).collect();
        Ok(records.swap_remove(find(text, &keys)?))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// `Conflict`: the name or the addresses are taken.
    pub fn create_network(&self, request: &NetworkRequest) -> Result<Network> {
        if request.name.trim().is_empty() {
            return Err(Error::invalid("invalid name: name is empty"));
        }
        if is_builtin(&request.name) {
            return Err(Error::denied(format!(
                "operation is not permitted on predefined {} network",
                request.name
            )));
        }
        self.store()?;
        let network = self.site().create(request).map(|record| Network::of(record, &[]))?;
        self.tell_network("create", &network)?;
        Ok(network)
    }

    /// Removes a network.
    ///
    /// # Errors
    /// `NotFound`; `Denied`: it is always there, or somebody is on it.
    pub fn remove_network(&self, text: &str) -> Result<Network> {
        let network = self.network(text)?;
        if network.is_builtin() {
            return Err(Error::denied(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            )));
        }
        let site = self.site();
        site.remove(&self.network_record(&network.id)?)?;
        self.tell_network("destroy", &network)?;
        Ok(network)
    }

    fn tell_network(&self, action: &str, network: &Network) -> Result<()> {
        let attributes = [("name", network.name.clone()), ("type", network.driver.to_owned())];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value)).into();
        self.tell("network", action, &network.id, attributes)
    }

    /// Every network that nobody is on and `wanted` is true for.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn prunable_networks(&self, wanted: &dyn Fn(&Network) -> bool) -> Result<Vec<Network>> {
        let mut networks = self.networks()?;
        networks.retain(|network| !network.is_builtin() && network.members.is_empty() && wanted(network));
        Ok(networks)
    }

    /// Removes every network that nobody is on and `wanted` is true for; answers their names.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub fn prune_networks(&self, wanted: &dyn Fn(&Network) -> bool) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for network in self.prunable_networks(wanted)? {
            match self.remove_network(&network.id) {
                Ok(_) => removed.push(network.name),
                // Somebody came, or somebody else removed it, in between.
                Err(error) if matches!(error.kind(), Kind::Denied | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

/// Where among names and ids the one is that `text` means.
fn find(text: &str, keys: &[(String, String)]) -> Result<usize> {
    if let Some(at) = keys.iter().position(|(name, id)| id == text || name == text) {
        return Ok(at);
    }
    let fitting: Vec<usize> = match text.is_empty() {
        true => Vec::new(),
        false => (0..keys.len()).filter(|at| keys[*at].1.starts_with(text)).collect(),
    };
    match fitting[..] {
        [at] => Ok(at),
        [] => Err(Error::not_found(format!("network {text} not found"))
            .hint("`berth network ls` lists what is here")),
        [..] => Err(Error::conflict(format!(
            "network {text} is ambiguous ({} matches found on ID prefix)",
            fitting.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_found_as_docker_finds_them() {
        let keys: Vec<(String, String)> =
            [("web", "abc1"), ("db", "abd2"), ("ab", "ffff")].map(|(n, i)| (n.into(), i.into())).into();
        for (text, expected) in [
            ("web", "0"),
            ("abd2", "1"),
            ("abd", "1"),
            ("ab", "2"),
            ("a", "network a is ambiguous (2 matches found on ID prefix)"),
            ("x", "network x not found"),
            ("", "network  not found"),
        ] {
            let found = find(text, &keys);
            assert_eq!(found.map_or_else(|e| e.message().to_owned(), |at| at.to_string()), expected);
        }
    }
}
