//! Who has which address and which port: one file for all networks of a root, behind one lock.
//!
//! Here: [`Ledger`], [`Record`], the choice of an address. Not here: the kernel. Invariant: whoever holds the
//! lock sees every address and port that any berth process of this root has handed out and that still has an
//! interface; the file is replaced whole, before the kernel hears of the change.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use berth_oci::{AtPath, Error, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::nft::Element;
use super::plan::{Endpoint, Mac, Network, Published};

/// Changes when the rules of the table do: an older table is then made anew.
const LAYOUT: u32 = 1;

/// A container on a network, as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) container: String,
    pub(super) name: String,
    pub(super) network: String,
    pub(super) ip: Ipv4Addr,
    pub(super) mac: Mac,
    /// The host's end of its connection: while this exists, so does the container's network namespace.
    pub(super) interface: String,
    pub(super) published: Vec<Published>,
}

impl Record {
    /// What it has in the table.
    pub(super) fn elements(&self) -> Vec<Element> {
        self.published.iter().map(|port| Element::Published(*port, self.ip)).collect()
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    boot: String,
    layout: u32,
    networks: Vec<Network>,
    records: Vec<Record>,
}

/// The ledger, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    contents: Contents,
    /// The table in the kernel may be of another layout, or lack a network.
    pub(super) outdated: bool,
    _lock: File,
}

impl Ledger {
    /// Waits for the lock and reads. What an earlier boot left is forgotten: no interface outlives a boot.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).at(dir)?;
        let lock_path = dir.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).at(&lock_path)?;
        flock(&lock, FlockOperation::LockExclusive).at(&lock_path)?;
        let boot_path = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(boot_path).at(boot_path)?.trim().to_owned();
        let path = dir.join("state.json");
        let known = read(&path)?.filter(|contents| contents.boot == boot);
        let outdated = known.as_ref().is_none_or(|contents| contents.layout != LAYOUT);
        let contents = Contents { boot, layout: LAYOUT, ..known.unwrap_or_default() };
        Ok(Self { path, contents, outdated, _lock: lock })
    }

    /// Replaces the file. It is not synced: a power cut ends every record's life anyway.
    pub(super) fn save(&self) -> Result<()> {
        let temporary = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.contents).expect("plain data has a JSON form");
        fs::write(&temporary, text).at(&temporary)?;
        fs::rename(&temporary, &self.path).at(&self.path)
    }

    /// Removes the file, once nothing is in it.
    pub(super) fn remove_file(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(&self.path),
            _ => Ok(()),
        }
    }

    pub(super) fn networks(&self) -> &[Network] {
        &self.contents.networks
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.contents.records
    }

    /// Makes sure that `network` is known as it is now.
    pub(super) fn learn(&mut self, network: &Network) {
        match self.contents.networks.iter_mut().find(|known| known.bridge == network.bridge) {
            Some(known) if known == network => return,
            Some(known) => *known = network.clone(),
            None => self.contents.networks.push(network.clone()),
        }
        self.outdated = true;
    }

    /// Forgets a network.
    pub(super) fn forget(&mut self, network: &Network) {
        self.contents.networks.retain(|known| known.bridge != network.bridge);
    }

    /// Takes the records out that `gone` is true for.
    pub(super) fn retire(&mut self, gone: impl FnMut(&mut Record) -> bool) -> Vec<Record> {
        self.contents.records.extract_if(.., gone).collect()
    }

    /// Writes a container in.
    pub(super) fn enter(&mut self, record: Record) {
        self.contents.records.push(record);
    }

    /// The address asked for, or the lowest free one.
    pub(super) fn address(&self, network: &Network, endpoint: &Endpoint) -> Result<Ipv4Addr> {
        let holder = |ip: Ipv4Addr| {
            self.contents.records.iter().find(|record| record.network == network.name && record.ip == ip)
        };
        let Some(wanted) = endpoint.ip else {
            let free = |ip: &Ipv4Addr| *ip != network.gateway && holder(*ip).is_none();
            return network.subnet.hosts().find(free).ok_or_else(|| {
                Error::unavailable(format!(
                    "no available IPv4 addresses on network {} ({})",
                    network.name, network.subnet
                ))
                .hint("stop containers on it, or make a network with a larger subnet")
            });
        };
        if let Some(holder) = holder(wanted) {
            return Err(Error::conflict(format!(
                "Address already in use: {wanted} (by container {})",
                holder.name
            ))
            .hint("leave out `--ip`, or stop that container"));
        }
        if wanted == network.gateway || !network.subnet.hosts().any(|ip| ip == wanted) {
            return Err(Error::invalid(format!("no configured subnet contains IP address {wanted}")).hint(
                format!(
                    "network {} has {}, and its gateway {}",
                    network.name, network.subnet, network.gateway
                ),
            ));
        }
        Ok(wanted)
    }
}

/// A file that is no JSON comes of a power cut only, and is as good as none.
fn read(path: &Path) -> Result<Option<Contents>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at(path),
    }
}

/// Writes `bytes` so that they are there, whole, after a power cut.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).at(&temporary)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at(&temporary)?;
    fs::rename(&temporary, path).at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::network;

    fn endpoint(container: &str, ip: Option<&str>) -> Endpoint {
        let ip = ip.map(|ip| ip.parse().unwrap());
        Endpoint { container: container.into(), name: container.into(), ip, mac: None, ports: Vec::new() }
    }

    fn record(container: &str, network: &Network, ip: Ipv4Addr) -> Record {
        Record {
            container: container.into(),
            name: container.into(),
            network: network.name.clone(),
            ip,
            mac: Mac::for_ip(ip),
            interface: format!("veth{container}"),
            published: Vec::new(),
        }
    }

    #[test]
    fn addresses_are_handed_out_once_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), "n", "10.9.8.0/29");
        let mut ledger = Ledger::open(dir.path()).unwrap();
        for expected in ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"] {
            let ip = ledger.address(&network, &endpoint(expected, None)).unwrap();
            assert_eq!(ip.to_string(), expected);
            ledger.enter(record(expected, &network, ip));
        }
        ledger.save().unwrap();
        drop(ledger);
        let mut ledger = Ledger::open(dir.path()).unwrap();
        let full = ledger.address(&network, &endpoint("x", None)).unwrap_err();
        assert_eq!(full.message(), "no available IPv4 addresses on network n (10.9.8.0/29)");
        ledger.retire(|record| record.container == "10.9.8.4");
        assert_eq!(ledger.address(&network, &endpoint("x", None)).unwrap().to_string(), "10.9.8.4");
    }

    #[test]
    fn an_address_asked_for_is_given_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), "n", "10.9.8.0/29");
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.enter(record("web", &network, "10.9.8.4".parse().unwrap()));
        let rows = [
            ("10.9.8.5", "10.9.8.5"),
            ("10.9.8.4", "Address already in use: 10.9.8.4 (by container web)"),
            ("10.9.8.1", "no configured subnet contains IP address 10.9.8.1"),
            ("10.9.8.7", "no configured subnet contains IP address 10.9.8.7"),
            ("10.9.9.2", "no configured subnet contains IP address 10.9.9.2"),
        ];
        for (wanted, expected) in rows {
            let answer = ledger.address(&network, &endpoint("x", Some(wanted)));
            assert_eq!(answer.map_or_else(|error| error.message().to_owned(), |ip| ip.to_string()), expected);
        }
    }

    #[test]
    fn an_earlier_boot_and_a_torn_file_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), "n", "10.9.8.0/29");
        for torn in [r#"{"boot":"#, r#"{"boot":"another","layout":1,"networks":[],"records":[]}"#] {
            fs::write(dir.path().join("state.json"), torn).unwrap();
            let mut ledger = Ledger::open(dir.path()).unwrap();
            assert!(ledger.outdated && ledger.records().is_empty());
            ledger.enter(record("web", &network, "10.9.8.4".parse().unwrap()));
            ledger.save().unwrap();
            drop(ledger);
            let ledger = Ledger::open(dir.path()).unwrap();
            assert!(!ledger.outdated && ledger.records().len() == 1);
        }
    }
}
