//! Who has which address and which port: one file for all networks of a root, behind one lock.
//!
//! Here: [`Ledger`], [`Record`], the choice of an address. Not here: the kernel. Invariant: whoever holds the
//! lock sees every address and port that any berth process of this root has handed out and that still has an
//! interface; the file is replaced whole, before the kernel hears of the change.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_oci::{AtPath, Error, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::apart::Presence;
use super::mac::Mac;
use super::network::{Driver, Network, Pool, Published};
use super::nft::Element;

/// Changes when the rules of the table do: an older table is then made anew.
const LAYOUT: u32 = 2;

/// A container on a network, as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) network: String,
    pub(crate) endpoint: String,
    pub(crate) ipv4: Option<IpAddr>,
    pub(crate) ipv6: Option<IpAddr>,
    pub(crate) mac: Mac,
    pub(crate) lives: Lives,
    pub(crate) published: Vec<Published>,
    /// What others on the network find it by.
    pub(crate) dns_names: Vec<String>,
}

/// By what one sees that a container is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lives {
    /// The host's end of its connection: while this exists, so does the container's network namespace.
    Interface(String),
    /// Nothing of it is on the host: a process whose network namespace has this inode.
    Process { pid: i32, namespace: u64 },
}

impl Record {
    /// Its addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.into_iter().chain(self.ipv6)
    }

    /// What it has in the table.
    pub(super) fn elements(&self) -> Vec<Element> {
        self.leads().map(|(port, to)| Element::Published(port, to)).collect()
    }

    /// Its published ports with the address of the same family that each leads to. A port of a family that the
    /// container has no address of is served by its monitor.
    pub(super) fn leads(&self) -> impl Iterator<Item = (Published, IpAddr)> {
        self.published.iter().filter_map(|port| {
            let to = if port.host_ip.is_ipv4() { self.ipv4 } else { self.ipv6 };
            Some((*port, to?))
        })
    }

    /// Is it still there?
    pub(crate) fn is_alive(&self, presence: &Presence) -> bool {
        match &self.lives {
            Lives::Interface(name) => presence.has(name),
            Lives::Process { pid, namespace } => {
                fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|found| found.ino() == *namespace)
            }
        }
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
        let path = path(dir);
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

    /// Is there nothing to remember?
    pub(super) fn is_empty(&self) -> bool {
        self.contents.networks.is_empty() && self.contents.records.is_empty()
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.contents.records
    }

    /// Makes sure that `network` is known as it is now.
    pub(super) fn learn(&mut self, network: &Network) {
        if network.driver != Driver::Bridge {
            return;
        }
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

    /// Changes the records of a container.
    pub(super) fn amend(&mut self, container: &str, change: impl Fn(&mut Record)) {
        self.contents.records.iter_mut().filter(|record| record.container == container).for_each(change);
    }

    /// The address asked for, or the lowest free one.
    pub(super) fn address(&self, network: &Network, pool: &Pool, wanted: Option<IpAddr>) -> Result<IpAddr> {
        let holder = |ip: IpAddr| {
            let here = |record: &&Record| record.network == network.name;
            self.contents.records.iter().filter(here).find(|record| record.addresses().any(|own| own == ip))
        };
        let Some(wanted) = wanted else {
            let free = |ip: &IpAddr| pool.admits(*ip) && holder(*ip).is_none();
            let range = pool.range.unwrap_or(pool.subnet);
            // Of a range that is not the whole subnet, the ends are addresses as all others.
            let ends = [range.address(), range.last()].into_iter().filter(|ip| pool.subnet.is_host(*ip));
            let found = range.hosts().find(free).or_else(|| ends.into_iter().find(free));
            return found.ok_or_else(|| {
                Error::unavailable(format!(
                    "no available {} addresses on this network's address pools: {} ({range})",
                    if range.is_ipv4() { "IPv4" } else { "IPv6" },
                    network.name,
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
        match pool.admits(wanted) {
            true => Ok(wanted),
            false => Err(Error::invalid(format!(
                "no configured subnet or ip-range contain the IP address {wanted}"
            ))
            .hint(format!("network {} has {}, and its gateway {}", network.name, pool.subnet, pool.gateway))),
        }
    }
}

/// The containers on the networks of a root at this moment, without the lock: the file is replaced whole.
pub(crate) fn peek(dir: &Path) -> Result<Vec<Record>> {
    Ok(read(&path(dir))?.map_or_else(Vec::new, |contents| contents.records))
}

/// Where the ledger is; whoever wants to know whether it has changed looks at this file.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("state.json")
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

    fn record(container: &str, network: &Network, ip: IpAddr) -> Record {
        Record {
            container: container.into(),
            name: container.into(),
            network: network.name.clone(),
            endpoint: String::new(),
            ipv4: Some(ip),
            ipv6: None,
            mac: Mac::for_ip(ip),
            lives: Lives::Interface(format!("veth{container}")),
            published: Vec::new(),
            dns_names: Vec::new(),
        }
    }

    fn ask(ledger: &Ledger, network: &Network, wanted: Option<&str>) -> Result<String> {
        let wanted = wanted.map(|ip| ip.parse().unwrap());
        ledger.address(network, network.ipv4.as_ref().unwrap(), wanted).map(|ip| ip.to_string())
    }

    #[test]
    fn addresses_are_handed_out_once_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), "n", "10.9.8.0/29");
        let mut ledger = Ledger::open(dir.path()).unwrap();
        for expected in ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"] {
            let ip = ask(&ledger, &network, None).unwrap();
            assert_eq!(ip, expected);
            ledger.enter(record(expected, &network, ip.parse().unwrap()));
        }
        ledger.save().unwrap();
        drop(ledger);
        let mut ledger = Ledger::open(dir.path()).unwrap();
        let full = ask(&ledger, &network, None).unwrap_err();
        let message = "no available IPv4 addresses on this network's address pools: n (10.9.8.0/29)";
        assert_eq!(full.message(), message);
        ledger.retire(|record| record.container == "10.9.8.4");
        assert_eq!(ask(&ledger, &network, None).unwrap(), "10.9.8.4");
    }

    #[test]
    fn an_address_asked_for_is_given_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut network = network(dir.path(), "n", "10.9.8.0/29");
        let pool = network.ipv4.as_mut().unwrap();
        pool.auxiliary.insert("printer".into(), "10.9.8.6".parse().unwrap());
        let mut ledger = Ledger::open(dir.path()).unwrap();
        ledger.enter(record("web", &network, "10.9.8.4".parse().unwrap()));
        let none = |ip: &str| format!("no configured subnet or ip-range contain the IP address {ip}");
        let rows = [
            ("10.9.8.5", "10.9.8.5".to_owned()),
            ("10.9.8.4", "Address already in use: 10.9.8.4 (by container web)".to_owned()),
            ("10.9.8.1", none("10.9.8.1")),
            ("10.9.8.6", none("10.9.8.6")),
            ("10.9.8.7", none("10.9.8.7")),
            ("10.9.9.2", none("10.9.9.2")),
        ];
        for (wanted, expected) in rows {
            let answer = ask(&ledger, &network, Some(wanted));
            assert_eq!(answer.unwrap_or_else(|error| error.message().to_owned()), expected);
        }
    }

    #[test]
    fn a_range_is_what_is_given_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let mut network = network(dir.path(), "n", "10.9.8.0/24");
        network.ipv4.as_mut().unwrap().range = Some("10.9.8.128/31".parse().unwrap());
        let mut ledger = Ledger::open(dir.path()).unwrap();
        for expected in ["10.9.8.128", "10.9.8.129"] {
            assert_eq!(ask(&ledger, &network, None).unwrap(), expected);
            ledger.enter(record(expected, &network, expected.parse().unwrap()));
        }
        assert!(ask(&ledger, &network, None).is_err());
        assert_eq!(ask(&ledger, &network, Some("10.9.8.9")).unwrap(), "10.9.8.9");
    }

    #[test]
    fn an_earlier_boot_and_a_torn_file_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let network = network(dir.path(), "n", "10.9.8.0/29");
        for torn in [r#"{"boot":"#, r#"{"boot":"another","layout":2,"networks":[],"records":[]}"#] {
            fs::write(dir.path().join("state.json"), torn).unwrap();
            let mut ledger = Ledger::open(dir.path()).unwrap();
            assert!(ledger.outdated && ledger.records().is_empty());
            ledger.enter(record("web", &network, "10.9.8.4".parse().unwrap()));
            ledger.save().unwrap();
            drop(ledger);
            let ledger = Ledger::open(dir.path()).unwrap();
            assert!(!ledger.outdated && ledger.records().len() == 1);
            assert_eq!(peek(dir.path()).unwrap().len(), 1);
        }
    }
}
