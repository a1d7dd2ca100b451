//! Carrying a plan out: a container into a network and out of it, a network into the kernel and out of it.
//!
//! Here: [`setup`], [`teardown`], [`unplug`], [`restore`], [`strays`], [`rename`], [`Locked`]. Not here: what the rules and
//! messages are. Invariant: everything happens under the ledger's lock. A record is written before the kernel hears
//! of it and struck out after the kernel has forgotten it, so a crash at worst leaves a record without an interface,
//! and the next who takes the lock retires it.

mod stray;

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_oci::{AtPath, Context, Error, Kind, Result};
use berth_sys::netns;

use super::apart::Presence;
use super::ledger::{Ledger, Lives, Record};
use super::link::{Links, Pair, Shared};
use super::mac::Mac;
use super::network::{Address, Driver, Home, Joined, Network, NetworkPlan, Pool, Published};
use super::nft::{Element, Redirection, Ruleset, Tables, Transaction};
use super::reserve::Served;
use super::site::random_id;
use super::subnet::Subnet;
use super::{conntrack, foreign, reserve, sysctl, uplink};

pub use stray::strays;

/// A container that is on a network, and what whoever stands beside it has to keep.
#[derive(Debug)]
pub struct Attached {
    /// Its place, as `inspect` and `ps` show it.
    pub joined: Joined,
    /// Keeps other programs off its ports: to be kept open as long as the container runs.
    pub held: Vec<OwnedFd>,
    /// Ports that whoever stands beside it has to serve: the kernel cannot lead them.
    pub served: Vec<Served>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Where in a container a network is to be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The container's network namespace.
    pub namespace: BorrowedFd<'a>,
    /// A process in it.
    pub pid: i32,
    /// Which of its interfaces this is: the first is `eth0`.
    pub number: usize,
    /// Whether this network has the way out, of IPv4 and of IPv6.
    pub leads_out: (bool, bool),
}

/// Puts a container on a network.
///
/// A record the same container left behind (its monitor was killed) is replaced, and so is whatever else has no
/// interface any more.
pub fn setup(plan: &NetworkPlan, place: Place<'_>) -> Result<Attached> {
    let NetworkPlan { network, endpoint } = plan;
    let mut site = Locked::open(&network.home)?;
    let stale =
        site.retire_dead(|record| record.container == endpoint.container && record.network == network.name);
    site.forget(&stale)?;
    site.ledger.learn(network);
    let address = |pool: &Option<Pool>, wanted: Option<IpAddr>| match pool {
        Some(pool) => site.ledger.address(network, pool, wanted).map(Some),
        None if wanted.is_some() => Err(Error::invalid(format!(
            "no configured subnet or ip-range contain the IP address {}",
            wanted.expect("it is some")
        ))),
        None => Ok(None),
    };
    let ipv4 = address(&network.ipv4, endpoint.ipv4.map(IpAddr::from))?;
    let ipv6 = address(&network.ipv6, endpoint.ipv6.map(IpAddr::from))?;
    let mac = endpoint.mac.or(ipv4.or(ipv6).map(Mac::for_ip));
    let mac = mac.ok_or_else(|| Error::invalid(format!("network {} has no addresses", network.name)))?;
    let ports = if network.driver == Driver::Bridge { &endpoint.ports[..] } else { &[] };
    let held = reserve::reserve(ports, site.ledger.records(), network)?;
    let record = Record {
        container: endpoint.container.clone(),
        name: endpoint.name.clone(),
        network: network.name.clone(),
        endpoint: random_id()?,
        ipv4,
        ipv6,
        mac,
        lives: match network.driver {
            Driver::Bridge => Lives::Interface(interface_name()?),
            _ => Lives::Process { pid: place.pid, namespace: inode(place.namespace)? },
        },
        published: held.iter().map(|held| held.published).collect(),
        dns_names: endpoint.dns_names.clone(),
    };
    site.ledger.enter(record.clone());
    site.ledger.save()?;
    let inside = format!("{}{}", network.interface_prefix.as_deref().unwrap_or("eth"), place.number);
    let notes = site.install(plan, &record, place, &inside).inspect_err(|_| site.withdraw(&record))?;
    let joined = Joined {
        network: record.network,
        network_id: network.id.clone(),
        driver: network.driver,
        endpoint_id: record.endpoint,
        ipv4: addressed(network, &network.ipv4, ipv4),
        ipv6: addressed(network, &network.ipv6, ipv6),
        mac,
        interface: match record.lives {
            Lives::Interface(name) => Some(name),
            Lives::Process { .. } => None,
        },
        inside,
        ports: record.published,
        gateway_priority: endpoint.gateway_priority,
        names: network.names,
        internal: network.internal,
        links: endpoint.links.clone(),
    };
    let (held, served) = reserve::split(held, network, ipv4, ipv6);
    Ok(Attached { joined, held, served, notes })
}

/// Publishes ports of a container that is on a network already: the network that led to them before is gone.
pub fn publish(plan: &NetworkPlan, joined: &mut Joined) -> Result<(Vec<OwnedFd>, Vec<Served>)> {
    let NetworkPlan { network, endpoint } = plan;
    let mut site = Locked::open(&network.home)?;
    let held = reserve::reserve(&endpoint.ports, site.ledger.records(), network)?;
    let published: Vec<_> = held.iter().map(|held| held.published).collect();
    site.ledger.amend(&endpoint.container, |record| {
        if record.network == network.name {
            record.published.clone_from(&published);
        }
    });
    site.ledger.save()?;
    let own = |record: &&Record| record.endpoint == joined.endpoint_id;
    let added = site.ledger.records().iter().find(own).map(Record::elements).unwrap_or_default();
    site.change(&[], &added)?;
    site.forget_conversations(&published)?;
    joined.ports = published;
    let (ipv4, ipv6) = (joined.ipv4.map(|address| address.ip), joined.ipv6.map(|address| address.ip));
    Ok(reserve::split(held, network, ipv4, ipv6))
}

/// Takes a container's addresses and ports back, on all of the root's networks. Its interfaces go by themselves when
/// its network namespace does, which costs nobody a wait; [`unplug`] is for a namespace that stays.
pub fn teardown(home: &Home, container: &str) -> Result<()> {
    let mut site = Locked::open(home)?;
    let removed = site.retire_dead(|record| record.container == container);
    site.forget(&removed)
}

/// Takes a container off one network, and removes its interface from its namespace at once.
pub fn unplug(home: &Home, container: &str, joined: &Joined, namespace: BorrowedFd<'_>) -> Result<()> {
    let mut site = Locked::open(home)?;
    let removed =
        site.retire_dead(|record| record.container == container && record.network == joined.network);
    match &joined.interface {
        Some(interface) => site.links.remove(interface)?,
        None => inside(namespace, || Links::open()?.remove(&joined.inside))?,
    }
    site.forget(&removed)
}

/// Leads what the calling thread's namespace asks `address` by DNS to other ports of it.
pub(crate) fn redirect_names(address: Ipv4Addr, udp: u16, tcp: u16) -> Result<()> {
    Tables::open()?.commit(&Redirection { address, udp, tcp }.transaction())
}

/// From now on this network is the way out of a container.
pub fn lead_out(joined: &Joined, gateway: IpAddr, namespace: BorrowedFd<'_>) -> Result<()> {
    inside(namespace, || Links::open()?.lead_out(&joined.inside, gateway))
}

/// Makes the root's table again as it should be (somebody may have flushed the host's firewall), and takes away what
/// [`strays`] finds.
pub fn restore(home: &Home) -> Result<()> {
    let mut site = Locked::open(home)?;
    let removed = site.retire_dead(|_| false);
    for (interface, _) in site.stray_interfaces()? {
        site.links.remove(&interface)?;
    }
    site.rebuild()?;
    for network in site.ledger.networks() {
        foreign::admit(&mut site.tables, &network.bridge, network.ipv6.is_some())?;
    }
    site.forget_conversations(removed.iter().flat_map(|record| &record.published))?;
    site.ledger.save()
}

/// The container has another name now; who asks its networks for `new` finds it.
pub fn rename(home: &Home, container: &str, old: &str, new: &str) -> Result<()> {
    let mut site = Locked::open(home)?;
    site.ledger.amend(container, |record| {
        new.clone_into(&mut record.name);
        for name in record.dns_names.iter_mut().filter(|name| *name == old) {
            new.clone_into(name);
        }
    });
    site.ledger.save()
}

/// A container on a network, for those who only look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// The network's name.
    pub network: String,
    /// The connection's id.
    pub endpoint: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// Its IPv6 address.
    pub ipv6: Option<IpAddr>,
}

/// Who is on the root's networks now.
pub fn members(home: &Home) -> Result<Vec<Member>> {
    let records = super::ledger::peek(&home.run_dir)?;
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let presence = Presence::of(home)?;
    let alive = records.into_iter().filter(|record| record.is_alive(&presence));
    let members = alive.map(|record| Member {
        container: record.container,
        name: record.name,
        network: record.network,
        endpoint: record.endpoint,
        mac: record.mac,
        ipv4: record.ipv4,
        ipv6: record.ipv6,
    });
    Ok(members.collect())
}

/// Is there a bridge of this name, finished?
pub(super) fn is_up(home: &Home, bridge: &str) -> Result<bool> {
    Ok(links(home)?.find(bridge)?.is_some_and(|link| link.up))
}

fn links(home: &Home) -> Result<Links> {
    home.within(|| Links::open().context(|| "cannot ask the kernel for its interfaces"))
}

/// One root's networks, with nobody else changing them.
pub(super) struct Locked {
    home: Home,
    presence: Presence,
    ledger: Ledger,
    links: Links,
    tables: Tables,
    table: String,
}

impl Locked {
    pub(super) fn open(home: &Home) -> Result<Self> {
        let ledger = Ledger::open(&home.run_dir)?;
        let (links, tables) = (links(home)?, home.within(Tables::open)?);
        let (home, presence) = (home.clone(), Presence::of(home)?);
        Ok(Self { presence, ledger, links, tables, table: home.nft_table.clone(), home })
    }

    /// The subnet that a finished bridge has already, and all that other interfaces claim.
    pub(super) fn surroundings(&mut self, bridge: &str) -> Result<(Option<Subnet>, Vec<Subnet>)> {
        let link = if bridge.is_empty() { None } else { self.links.find(bridge)? };
        let up = link.filter(|link| link.up);
        let standing = up.map(|link| self.links.address_of(link.index)).transpose()?.flatten();
        let taken = self.links.taken(link.map(|link| link.index))?;
        Ok((standing.map(|(address, prefix)| Subnet::around(address, prefix)), taken))
    }

    /// Brings a network into the kernel, with nobody on it.
    pub(super) fn establish(&mut self, network: &Network) -> Result<()> {
        if network.driver != Driver::Bridge {
            return self.parent(network).map(drop);
        }
        if self.links.find(&network.bridge)?.is_some() {
            return Err(Error::conflict(format!(
                "an interface named {} exists on this host already",
                network.bridge
            ))
            .hint("choose another name for the bridge"));
        }
        self.ledger.learn(network);
        self.ledger.save()?;
        self.bridge(network, &mut Vec::new())?;
        foreign::admit(&mut self.tables, &network.bridge, network.ipv6.is_some())?;
        self.rebuild()
    }

    /// Removes a network from the kernel: its bridge, its rules, and the table with the last of them. Containers
    /// still on it are a `Conflict`.
    pub(super) fn dissolve(&mut self, network: &Network) -> Result<()> {
        let removed = self.retire_dead(|_| false);
        let members: Vec<_> =
            self.ledger.records().iter().filter(|record| record.network == network.name).collect();
        if !members.is_empty() {
            let told: Vec<_> = members
                .iter()
                .map(|record| {
                    format!("name:{:?} id:{:?}", record.name, record.endpoint.get(..12).unwrap_or_default())
                })
                .collect();
            return Err(Error::denied(format!(
                "error while removing network: network {} has active endpoints ({})",
                network.name,
                told.join(", ")
            ))
            .hint("stop these containers, or `berth network disconnect` them"));
        }
        self.ledger.forget(network);
        self.rebuild()?;
        if network.driver == Driver::Bridge {
            foreign::dismiss(&mut self.tables, &network.bridge)?;
            self.links.remove(&network.bridge)?;
        }
        self.forget_conversations(removed.iter().flat_map(|record| &record.published))?;
        match self.ledger.is_empty() {
            true => self.ledger.remove_file(),
            false => self.ledger.save(),
        }
    }

    /// Takes out everyone who is gone, and those that `also` is true for.
    fn retire_dead(&mut self, also: impl Fn(&Record) -> bool) -> Vec<Record> {
        let presence = &self.presence;
        self.ledger.retire(|record| also(record) || !record.is_alive(presence))
    }

    /// Brings a record into the kernel; the bridge and the table with it where they are not there.
    fn install(
        &mut self,
        plan: &NetworkPlan,
        record: &Record,
        place: Place<'_>,
        name: &str,
    ) -> Result<Vec<String>> {
        let NetworkPlan { network, endpoint } = plan;
        let mut notes = Vec::new();
        match &record.lives {
            Lives::Interface(interface) => {
                let bridge = self.bridge(network, &mut notes)?;
                self.change(&[], &record.elements())?;
                self.forget_conversations(&record.published)?;
                notes.extend(foreign::admit(&mut self.tables, &network.bridge, network.ipv6.is_some())?);
                if !network.internal {
                    notes.extend(uplink::ensure(&self.home, &self.presence)?);
                }
                self.links.connect(&Pair {
                    name: interface,
                    inside: name,
                    bridge,
                    mac: record.mac,
                    namespace: place.namespace,
                    isolated: network.isolated,
                    mtu: network.mtu,
                })?;
            }
            Lives::Process { .. } => {
                let parent = self.parent(network)?;
                self.links.share(&Shared {
                    inside: name,
                    parent,
                    driver: network.driver,
                    mode: network.mode,
                    mac: record.mac,
                    namespace: place.namespace,
                    mtu: network.mtu,
                })?;
            }
        }
        let mut addresses = Vec::new();
        let (out4, out6) = place.leads_out;
        for (address, out) in [
            (addressed(network, &network.ipv4, record.ipv4), out4),
            (addressed(network, &network.ipv6, record.ipv6), out6),
        ] {
            let Some(address) = address else { continue };
            addresses.push(Address { gateway: address.gateway.filter(|_| out), ..address });
        }
        addresses.extend(endpoint.link_local.iter().map(|ip| link_local(*ip)));
        inside(place.namespace, || {
            sysctl::ipv6(name, addresses.iter().any(|address| address.ip.is_ipv6()))?;
            Links::open()?.configure(name, &addresses)
        })?;
        Ok(notes)
    }

    /// Undoes what `install` may have done. The error that led here is the one to tell; should this fail too,
    /// the record has no interface and the next who takes the lock retires it.
    fn withdraw(&mut self, record: &Record) {
        let unplugged = match &record.lives {
            Lives::Interface(name) => self.links.remove(name),
            Lives::Process { .. } => Ok(()),
        };
        self.ledger.retire(|known| known.endpoint == record.endpoint);
        let _ = unplugged.and_then(|()| self.forget(std::slice::from_ref(record)));
    }

    /// The index of the host's interface that a network shares.
    fn parent(&mut self, network: &Network) -> Result<i32> {
        self.links.find(&network.bridge)?.map(|link| link.index).ok_or_else(|| {
            Error::not_found(format!(
                "the parent interface {} of network {} was not found",
                network.bridge, network.name
            ))
            .hint("`ip link` lists the interfaces of this host")
        })
    }

    /// The bridge's index. One that is up is finished; one that is down is the work of somebody who was killed.
    fn bridge(&mut self, network: &Network, notes: &mut Vec<String>) -> Result<i32> {
        match self.links.find(&network.bridge)? {
            Some(link) if link.up => return Ok(link.index),
            Some(_) => self.links.remove(&network.bridge)?,
            None => {}
        }
        let is_apart = self.home.apart.is_some();
        if self.home.within(sysctl::forward)? && !is_apart {
            notes.push(
                "this host now forwards IPv4 packets between its interfaces (net.ipv4.ip_forward)".into(),
            );
        }
        let leads_ipv6 = network.ipv6.is_some() && !network.internal;
        if leads_ipv6 && self.home.within(sysctl::forward_ipv6)? && !is_apart {
            notes.push(
                "this host now forwards IPv6 packets between its interfaces (net.ipv6.conf.all.forwarding)"
                    .into(),
            );
        }
        let index = self.links.create_bridge(network)?;
        self.home.within(|| sysctl::for_bridge(&network.bridge, network.ipv6.is_some()))?;
        for pool in network.pools() {
            self.links.address(index, &network.bridge, pool)?;
        }
        self.home.within(|| sysctl::route_loopback(&network.bridge))?;
        self.links.up(index, &network.bridge)?;
        Ok(index)
    }

    fn forget(&mut self, removed: &[Record]) -> Result<()> {
        if removed.is_empty() {
            return Ok(());
        }
        self.change(&elements(removed), &[])?;
        self.forget_conversations(removed.iter().flat_map(|record| &record.published))?;
        self.ledger.save()
    }

    fn forget_conversations<'a>(&self, ports: impl IntoIterator<Item = &'a Published>) -> Result<()> {
        let ports: Vec<Published> =
            ports.into_iter().filter(|port| conntrack::remembers(port)).copied().collect();
        match ports.is_empty() {
            true => Ok(()),
            false => self.home.within(|| conntrack::forget(&ports)),
        }
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
        let published = self.ledger.records().iter().flat_map(Record::leads).collect();
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

/// An internal network has no way out, and the gateway of ipvlan is nobody's business above layer 2.
/// As wide as every link's own network is: RFC 3927, RFC 4291.
fn link_local(ip: IpAddr) -> Address {
    Address { ip, prefix: if ip.is_ipv4() { 16 } else { 64 }, gateway: None }
}

fn addressed(network: &Network, pool: &Option<Pool>, ip: Option<IpAddr>) -> Option<Address> {
    let pool = pool.as_ref()?;
    let gateway = (!network.internal).then_some(pool.gateway);
    Some(Address { ip: ip?, prefix: pool.subnet.prefix(), gateway })
}

/// Does `work` inside the container's namespace; our errors come through unchanged.
pub(super) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    netns::within(namespace.as_fd(), || work().map_err(std::io::Error::from)).map_err(Error::from)
}

fn inode(namespace: BorrowedFd<'_>) -> Result<u64> {
    let found = rustix::fs::fstat(namespace).map_err(std::io::Error::from);
    found.map(|found| found.st_ino).context(|| "cannot look at the container's network namespace")
}

/// A name no interface has, by chance: an old one may linger after its container for a moment.
fn interface_name() -> Result<String> {
    let path = "/dev/urandom";
    let mut bytes = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).at(path)?;
    Ok(format!("veth{:08x}", u32::from_ne_bytes(bytes)))
}
