//! Carrying a plan out: into the network, out of it, and the network itself out of the kernel.
//!
//! Here: [`setup`], [`teardown`], [`unplug`], [`restore`], [`cleanup`]. Not here: what the rules and messages
//! are. Invariant: everything happens under the ledger's lock. A record is written before the kernel hears of it
//! and struck out after the kernel has forgotten it, so a crash at worst leaves a record without an interface,
//! and the next who takes the lock retires it.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_oci::{AtPath, Context, Error, Kind, Result};
use berth_sys::netns;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::ledger::{Ledger, Record};
use super::link::{INSIDE, Links, Pair};
use super::nft::{Element, Ruleset, Tables, Transaction};
use super::plan::{Joined, Mac, Network, NetworkPlan};
use super::{conntrack, foreign, reserve, sysctl};

/// A container that is on its network, and what whoever stands beside it has to keep.
#[derive(Debug)]
pub struct Attached {
    /// Its place, as `inspect` and `ps` show it.
    pub joined: Joined,
    /// Keeps other programs off its ports: to be kept open as long as the container runs.
    pub held: Vec<OwnedFd>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Puts a container on its network. `namespace` is the container's network namespace.
///
/// A record the same container left behind (its monitor was killed) is replaced, and so is whatever else has no
/// interface any more.
pub fn setup(plan: &NetworkPlan, namespace: BorrowedFd<'_>) -> Result<Attached> {
    let NetworkPlan { network, endpoint } = plan;
    let mut site = Locked::open(network)?;
    let stale = site.retire_dead(&endpoint.container)?;
    site.forget(&stale)?;
    site.ledger.learn(network);
    let ip = site.ledger.address(network, endpoint)?;
    let mac = endpoint.mac.unwrap_or(Mac::for_ip(ip));
    let held = reserve::reserve(&endpoint.ports, site.ledger.records())?;
    let record = Record {
        container: endpoint.container.clone(),
        name: endpoint.name.clone(),
        network: network.name.clone(),
        ip,
        mac,
        interface: interface_name()?,
        published: held.iter().map(|held| held.published).collect(),
    };
    site.ledger.enter(record.clone());
    site.ledger.save()?;
    let notes = site.install(network, &record, namespace).inspect_err(|_| site.withdraw(&record))?;
    let joined = Joined {
        network: record.network,
        ip,
        prefix: network.subnet.prefix(),
        mac,
        gateway: gateway(network),
        interface: record.interface,
        ports: record.published,
    };
    Ok(Attached { joined, held: held.into_iter().filter_map(|held| held.socket).collect(), notes })
}

/// Takes a container's address and ports back. Its interfaces go by themselves when its network namespace does,
/// which costs nobody a wait; [`unplug`] is for a namespace that stays.
pub fn teardown(network: &Network, container: &str) -> Result<()> {
    let mut site = Locked::open(network)?;
    let removed = site.retire_dead(container)?;
    site.forget(&removed)
}

/// As [`teardown`], and removes the container's interface from its namespace at once.
pub fn unplug(network: &Network, container: &str) -> Result<()> {
    let mut site = Locked::open(network)?;
    let removed = site.retire_dead(container)?;
    for record in &removed {
        site.links.remove(&record.interface)?;
    }
    site.forget(&removed)
}

/// Makes the root's table again as it should be: somebody may have flushed the host's firewall.
pub fn restore(network: &Network) -> Result<()> {
    let mut site = Locked::open(network)?;
    let removed = site.retire_dead("")?;
    site.rebuild()?;
    conntrack::forget(removed.iter().flat_map(|record| &record.published))?;
    site.ledger.save()
}

/// Removes a network from the kernel: its bridge, its rules, and the table with the last of them. Containers
/// still on it are a `Conflict`.
pub fn cleanup(network: &Network) -> Result<()> {
    let mut site = Locked::open(network)?;
    let removed = site.retire_dead("")?;
    if let Some(record) = site.ledger.records().iter().find(|record| record.network == network.name) {
        let Record { name, container, .. } = record;
        return Err(Error::conflict(format!(
            "error while removing network: network {} has active endpoints (name:{name:?} id:{:?})",
            network.name,
            container.get(..12).unwrap_or(container)
        ))
        .hint(format!("stop container {name} first")));
    }
    site.ledger.forget(network);
    site.rebuild()?;
    foreign::dismiss(&mut site.tables, &network.bridge)?;
    site.links.remove(&network.bridge)?;
    conntrack::forget(removed.iter().flat_map(|record| &record.published))?;
    if site.ledger.networks().is_empty() { site.ledger.remove_file() } else { site.ledger.save() }
}

/// One root's networks, with nobody else changing them.
struct Locked {
    ledger: Ledger,
    links: Links,
    tables: Tables,
    table: String,
}

impl Locked {
    fn open(network: &Network) -> Result<Self> {
        let ledger = Ledger::open(&network.run_dir)?;
        let links = Links::open().context(|| "cannot ask the kernel for its interfaces")?;
        Ok(Self { ledger, links, tables: Tables::open()?, table: network.nft_table.clone() })
    }

    /// Takes out `container` and everyone whose interface is gone.
    fn retire_dead(&mut self, container: &str) -> Result<Vec<Record>> {
        let asking = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(std::io::Error::from)
            .context(|| "cannot ask the kernel for its interfaces")?;
        Ok(self.ledger.retire(|record| {
            record.container == container || netdevice::name_to_index(&asking, &record.interface).is_err()
        }))
    }

    /// Brings a record into the kernel; the bridge and the table with it where they are not there.
    fn install(
        &mut self,
        network: &Network,
        record: &Record,
        namespace: BorrowedFd<'_>,
    ) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let bridge = self.bridge(network, &mut notes)?;
        self.change(&[], &record.elements())?;
        conntrack::forget(&record.published)?;
        notes.extend(foreign::admit(&mut self.tables, &network.bridge)?);
        self.links.connect(&Pair {
            name: &record.interface,
            bridge,
            mac: record.mac,
            namespace,
            isolated: network.isolated,
            mtu: network.mtu,
        })?;
        inside(namespace, || {
            sysctl::without_ipv6(INSIDE)?;
            let mut links = Links::open()?;
            links.configure(record.ip, network.subnet, gateway(network))
        })?;
        Ok(notes)
    }

    /// Undoes what `install` may have done. The error that led here is the one to tell; should this fail too,
    /// the record has no interface and the next who takes the lock retires it.
    fn withdraw(&mut self, record: &Record) {
        let unplugged = self.links.remove(&record.interface);
        self.ledger.retire(|known| known.container == record.container);
        let _ = unplugged.and_then(|()| self.forget(std::slice::from_ref(record)));
    }

    /// The bridge's index. One that is up is finished; one that is down is the work of somebody who was killed.
    fn bridge(&mut self, network: &Network, notes: &mut Vec<String>) -> Result<i32> {
        match self.links.find(&network.bridge)? {
            Some(link) if link.up => return Ok(link.index),
            Some(_) => self.links.remove(&network.bridge)?,
            None => {}
        }
        if sysctl::forward()? {
            notes.push(
                "this host now forwards IPv4 packets between its interfaces (net.ipv4.ip_forward)".into(),
            );
        }
        let index = self.links.create_bridge(network)?;
        sysctl::route_loopback(&network.bridge)?;
        self.links.up(index, &network.bridge)?;
        Ok(index)
    }

    fn forget(&mut self, removed: &[Record]) -> Result<()> {
        if removed.is_empty() {
            return Ok(());
        }
        self.change(&elements(removed), &[])?;
        conntrack::forget(removed.iter().flat_map(|record| &record.published))?;
        self.ledger.save()
    }

    /// Changes elements; makes the table anew where it is not what the ledger thinks it is.
    fn change(&mut self, removed: &[Element], added: &[Element]) -> Result<()> {
        let transaction = Transaction::default().remove(&self.table, removed).add(&self.table, added);
        let good = !self.ledger.outdated && (!transaction.is_empty() || self.tables.has(&self.table)?);
        if !good {
            return self.rebuild();
        }
        match self.tables.commit(&transaction) {
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => self.rebuild(),
            other => other,
        }
    }

    /// The table as the ledger has it, in one transaction; with the last network it goes.
    fn rebuild(&mut self) -> Result<()> {
        let networks = self.ledger.networks();
        let published = self.ledger.records().iter();
        let published =
            published.flat_map(|record| record.published.iter().map(|port| (*port, record.ip))).collect();
        let transaction = match networks {
            [] => Transaction::default().replace_with_nothing(&self.table),
            _ => {
                let networks = networks.iter().collect();
                Transaction::default().replace(&Ruleset { table: &self.table, networks, published })
            }
        };
        self.tables.commit(&transaction)?;
        self.ledger.outdated = false;
        Ok(())
    }
}

fn elements(records: &[Record]) -> Vec<Element> {
    records.iter().flat_map(Record::elements).collect()
}

fn gateway(network: &Network) -> Option<Ipv4Addr> {
    (!network.internal).then_some(network.gateway)
}

/// Does `work` inside the container's namespace; our errors come through unchanged.
fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    netns::within(namespace.as_fd(), || work().map_err(std::io::Error::from)).map_err(Error::from)
}

/// A name no interface has, by chance: an old one may linger after its container for a moment.
fn interface_name() -> Result<String> {
    let path = "/dev/urandom";
    let mut bytes = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).at(path)?;
    Ok(format!("veth{:08x}", u32::from_ne_bytes(bytes)))
}
