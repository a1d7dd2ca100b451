//! Whose name is what: the containers on the networks that a container is on, as the ledger has them now.
//!
//! Invariant: nobody learns of a container on a network that he is not on himself.

use super::message::{Answer, Kind, Query, reverse};
use crate::net::{Home, Joined, Presence, Record, ledger_path, peek};
use berth_oci::Result;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells one state of the ledger from another: the file is replaced whole.
type Stamp = (u64, i64, i64, u64);

#[derive(Debug)]
pub(super) struct Zone {
    directory: PathBuf,
    presence: Presence,
    seen: Option<Stamp>,
    records: Vec<Record>,
    networks: Vec<Network>,
}

#[derive(Debug)]
struct Network {
    name: String,
    links: Vec<(String, String)>,
    internal: bool,
    names: bool,
}

impl Zone {
    pub(super) fn new(home: &Home) -> Result<Self> {
        let (directory, presence) = (home.run_dir.clone(), Presence::of(home)?);
        Ok(Self { directory, presence, seen: None, records: Vec::new(), networks: Vec::new() })
    }

    pub(super) fn set_networks(&mut self, networks: &[Joined]) {
        let network = |joined: &Joined| Network {
            name: joined.network.clone(),
            links: joined.links.clone(),
            internal: joined.internal,
            names: joined.names,
        };
        self.networks = networks.iter().map(network).collect();
        self.seen = None;
    }

    /// A container that is on internal networks only must not reach the world by questions either.
    pub(super) fn may_ask_others(&self) -> bool {
        self.networks.iter().any(|network| !network.internal)
    }

    /// None where the world is to be asked. `turn` shifts the order of several addresses.
    pub(super) fn answer(&mut self, query: &Query, turn: usize) -> Option<Answer> {
        if query.kind == Kind::Other {
            return None;
        }
        self.refresh();
        if query.kind == Kind::Name {
            return self.name_of(reverse(&query.name)?).map(Answer::name);
        }
        let found = self.named(&query.name)?;
        let mut addresses: Vec<IpAddr> = found
            .iter()
            .filter(|record| record.is_alive(&self.presence))
            .filter_map(|record| match query.kind {
                Kind::Ipv4 => record.ipv4,
                Kind::Ipv6 => record.ipv6,
                _ => None,
            })
            .collect();
        if !addresses.is_empty() {
            let shift = turn % addresses.len();
            addresses.rotate_left(shift);
        }
        Some(Answer::addresses(addresses))
    }

    /// The containers of that name on the first network that has one.
    fn named(&self, name: &str) -> Option<Vec<&Record>> {
        self.networks.iter().filter(|network| network.names).find_map(|network| {
            let linked = network.links.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
            let name = linked.map_or(name, |(_, target)| target);
            let qualified = name
                .len()
                .checked_sub(network.name.len() + 1)
                .filter(|at| name.is_char_boundary(*at) && name[*at..].starts_with('.'))
                .filter(|at| name[at + 1..].eq_ignore_ascii_case(&network.name))
                .map(|at| &name[..at]);
            let fits = |record: &&Record| {
                record.network == network.name
                    && record.dns_names.iter().any(|own| {
                        own.eq_ignore_ascii_case(name)
                            || qualified.is_some_and(|name| own.eq_ignore_ascii_case(name))
                    })
            };
            let found: Vec<_> = self.records.iter().filter(fits).collect();
            (!found.is_empty()).then_some(found)
        })
    }

    /// `name.network`, as docker says it.
    fn name_of(&self, ip: IpAddr) -> Option<String> {
        self.networks.iter().filter(|network| network.names).find_map(|network| {
            let here =
                |record: &&Record| record.network == network.name && record.addresses().any(|own| own == ip);
            let record = self.records.iter().find(here).filter(|record| record.is_alive(&self.presence))?;
            Some(format!("{}.{}", record.name, network.name))
        })
    }

    /// Reads the ledger again if it is another one by now.
    fn refresh(&mut self) {
        let stamp = fs::metadata(ledger_path(&self.directory))
            .ok()
            .map(|found| (found.ino(), found.mtime(), found.mtime_nsec(), found.size()));
        if stamp.is_some() && stamp == self.seen {
            return;
        }
        // A ledger that cannot be read now will be, with the next question.
        let Ok(records) = peek(&self.directory) else { return };
        let here = |record: &Record| self.networks.iter().any(|network| network.name == record.network);
        self.records = records.into_iter().filter(here).collect();
        self.seen = stamp;
    }
}
