//! The networks of one berth: what was asked for and chosen, remembered on disk.
//!
//! Here: [`Site`], [`NetworkRequest`], [`NetworkRecord`]. Not here: putting a network into the kernel. Invariant:
//! names and subnets are given under the ledger's lock, so two berths never give the same; a network keeps its
//! subnet, but for the default one, whose bridge may be gone when somebody else takes the addresses.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use berth_oci::{AtPath, Digest, Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attach::Locked;
use super::ledger::write_durably;
use super::names::Names;
use super::network::{Apart, Driver, Home, Network, Pool};
use super::options::Options;
use super::subnet::{Choice, Subnet, choose};

/// The network a container joins unless told otherwise.
pub const DEFAULT: &str = "bridge";
/// Ethernet's usual size.
const MTU: u32 = 1500;

/// Where one berth keeps its networks.
#[derive(Clone, Debug)]
pub struct Site {
    names: Names,
    root: PathBuf,
    dir: PathBuf,
    run_dir: PathBuf,
    usual: bool,
    publish_at: Option<IpAddr>,
    apart: Option<Apart>,
}

/// What may be asked of addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRequest {
    /// All of them.
    pub subnet: Subnet,
    /// The bridge's own; otherwise the first.
    pub gateway: Option<IpAddr>,
    /// Those that containers get unasked.
    pub range: Option<Subnet>,
    /// Those that somebody else has.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// How it is made.
    pub driver: Driver,
    /// Its addresses, at most one pool of each family; what is missing is chosen.
    pub pools: Vec<PoolRequest>,
    /// Whether it has IPv4 addresses.
    pub ipv4: bool,
    /// Whether it has IPv6 addresses.
    pub ipv6: bool,
    /// Nothing leaves it and nothing enters.
    pub internal: bool,
    /// Docker's word for swarm; only told again.
    pub attachable: bool,
    /// Words of the owner.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
}

/// A network of this root, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// How it is made.
    pub driver: Driver,
    /// Its IPv4 addresses.
    pub ipv4: Option<Pool>,
    /// Its IPv6 addresses.
    pub ipv6: Option<Pool>,
    /// Nothing leaves it and nothing enters.
    pub internal: bool,
    /// Docker's word for swarm; only told again.
    pub attachable: bool,
    /// Words of the owner.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
}

impl Site {
    /// The berth of this root; `usual` is the machine's one, whose names in the kernel are plain. Ports that name
    /// no address are published at `publish_at`, or everywhere. Where bridges are `apart`, they are not on the host's
    /// network.
    #[must_use]
    pub fn new(
        root: &Path,
        runroot: &Path,
        usual: bool,
        publish_at: Option<IpAddr>,
        apart: Option<Apart>,
    ) -> Self {
        Self {
            names: Names::of(root, usual),
            root: root.to_owned(),
            dir: root.join("network"),
            run_dir: runroot.join("network"),
            usual,
            publish_at,
            apart,
        }
    }

    /// The names the kernel knows this berth by.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What its networks share.
    #[must_use]
    pub fn home(&self) -> Home {
        let (nft_table, run_dir) = (self.names.nft_table.clone(), self.run_dir.clone());
        Home { nft_table, run_dir, apart: self.apart.clone() }
    }

    /// Makes a network: chooses, remembers, and brings it into the kernel.
    pub fn create(&self, request: &NetworkRequest) -> Result<NetworkRecord> {
        let options = Options::read(request.driver, &request.options)?;
        let mut locked = Locked::open(&self.home())?;
        if self.records()?.iter().any(|record| record.name == request.name) {
            return Err(Error::conflict(format!("network with name {} already exists", request.name)));
        }
        let record = self.chosen(request, &options, &mut locked)?;
        let path = self.write(&record)?;
        let established = self.network(&record).and_then(|network| locked.establish(&network));
        if let Err(error) = established {
            fs::remove_file(&path).at(&path)?;
            return Err(error);
        }
        Ok(record)
    }

    /// Removes a network from the kernel and forgets it. Containers still on it are a `Conflict`.
    pub fn remove(&self, record: &NetworkRecord) -> Result<()> {
        let mut locked = Locked::open(&self.home())?;
        locked.dissolve(&self.network(record)?)?;
        let path = self.file(record);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(&path),
            _ => Ok(()),
        }
    }

    /// Every network that is remembered: the default one once it was used, and those that people made.
    pub fn records(&self) -> Result<Vec<NetworkRecord>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at(&self.dir)?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.at(&self.dir)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                records.extend(self.read(&path)?);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// The network every container joins unless told otherwise; made when it is asked for the first time.
    pub fn usual_network(&self) -> Result<NetworkRecord> {
        let path = self.dir.join(format!("{DEFAULT}.json"));
        let known = self.read(&path)?;
        if let Some(known) = &known
            && super::attach::is_up(&self.home(), &self.names.bridge)?
        {
            return Ok(known.clone());
        }
        let mut locked = Locked::open(&self.home())?;
        // Somebody may have been faster.
        let known = self.read(&path)?;
        let (standing, taken) = locked.surroundings(&self.names.bridge)?;
        let kept = known.as_ref().and_then(|known| known.ipv4.as_ref()).map(|pool| pool.subnet);
        let subnet = match standing.or(kept.filter(|subnet| is_free(*subnet, &taken))) {
            Some(subnet) => subnet,
            None => {
                let choice = if self.usual { Choice::Wide } else { Choice::Narrow };
                choose(choice, self.names.seed_of(DEFAULT), &self.with_ours(taken)?)?
            }
        };
        let record = NetworkRecord {
            id: known.as_ref().map_or_else(|| self.builtin_id(DEFAULT), |known| known.id.clone()),
            name: DEFAULT.to_owned(),
            created: known.as_ref().map_or_else(Timestamp::now, |known| known.created),
            driver: Driver::Bridge,
            ipv4: Some(pool(subnet, None, None, BTreeMap::new())?),
            ipv6: None,
            internal: false,
            attachable: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        };
        if known.as_ref() != Some(&record) {
            self.write(&record)?;
        }
        Ok(record)
    }

    /// What [`usual_network`](Self::usual_network) is, in the words of docker's options: nobody has asked for it, but
    /// scripts look here for the bridge.
    #[must_use]
    pub fn usual_options(&self) -> BTreeMap<String, String> {
        let publish_at = self.publish_at.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        [
            ("com.docker.network.bridge.default_bridge", "true".to_owned()),
            ("com.docker.network.bridge.enable_icc", "true".to_owned()),
            ("com.docker.network.bridge.enable_ip_masquerade", "true".to_owned()),
            ("com.docker.network.bridge.host_binding_ipv4", publish_at.to_string()),
            ("com.docker.network.bridge.name", self.names.bridge.clone()),
            ("com.docker.network.driver.mtu", MTU.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The id of a network that is always there.
    #[must_use]
    pub fn builtin_id(&self, name: &str) -> String {
        Digest::of(format!("network {name} of {}", self.root.display()).as_bytes()).hex().to_owned()
    }

    /// A remembered network as it is to be in the kernel.
    pub fn network(&self, record: &NetworkRecord) -> Result<Network> {
        let options = Options::read(record.driver, &record.options)?;
        let is_default = record.name == DEFAULT;
        let own = || match is_default {
            true => self.names.bridge.clone(),
            false => format!("br-{}", record.id.get(..12).unwrap_or(&record.id)),
        };
        Ok(Network {
            id: record.id.clone(),
            name: record.name.clone(),
            driver: record.driver,
            bridge: options.interface.unwrap_or_else(own),
            mode: options.mode,
            ipv4: record.ipv4.clone(),
            ipv6: record.ipv6.clone(),
            home: self.home(),
            internal: record.internal,
            isolated: options.isolated,
            unmasked: options.unmasked,
            mtu: options.mtu.unwrap_or(MTU),
            publish_at: options.publish_at.or(self.publish_at),
            interface_prefix: options.interface_prefix,
            names: !is_default,
        })
    }

    fn chosen(
        &self,
        request: &NetworkRequest,
        options: &Options,
        locked: &mut Locked,
    ) -> Result<NetworkRecord> {
        let (_, taken) = locked.surroundings("")?;
        let taken = self.with_ours(taken)?;
        let pool = |is_ipv4: bool, choice| -> Result<Pool> {
            let Some(asked) = request.pools.iter().find(|pool| pool.subnet.is_ipv4() == is_ipv4) else {
                return pool(
                    choose(choice, self.names.seed_of(&request.name), &taken)?,
                    None,
                    None,
                    BTreeMap::new(),
                );
            };
            // Macvlan's subnet is the one that the host's interface is on.
            if request.driver == Driver::Bridge && !is_free(asked.subnet, &taken) {
                return Err(overlap(asked.subnet, &taken));
            }
            let PoolRequest { subnet, gateway, range, auxiliary } = asked.clone();
            self::pool(subnet, gateway, range, auxiliary)
        };
        if request.driver != Driver::Bridge && self.apart.is_some() {
            return Err(Error::unsupported(format!(
                "a network of driver {} puts containers on an interface of the machine, which only its root may",
                request.driver.as_str()
            ))
            .hint("leave the driver out to get a bridge, or run berth as root"));
        }
        if request.driver != Driver::Bridge && options.interface.is_none() {
            return Err(Error::invalid(format!(
                "a network of driver {} needs a parent",
                request.driver.as_str()
            ))
            .hint("name an interface of the host: `--opt parent=eth0`"));
        }
        Ok(NetworkRecord {
            id: random_id()?,
            name: request.name.clone(),
            created: Timestamp::now(),
            driver: request.driver,
            ipv4: request.ipv4.then(|| pool(true, Choice::Narrow)).transpose()?,
            ipv6: request.ipv6.then(|| pool(false, Choice::Local6)).transpose()?,
            internal: request.internal,
            attachable: request.attachable,
            labels: request.labels.clone(),
            options: request.options.clone(),
        })
    }

    /// What the kernel knows of and what is remembered: a bridge of ours may not be there at the moment.
    fn with_ours(&self, mut taken: Vec<Subnet>) -> Result<Vec<Subnet>> {
        for record in self.records()?.iter().filter(|record| record.driver == Driver::Bridge) {
            taken.extend(record.ipv4.iter().chain(&record.ipv6).map(|pool| pool.subnet));
        }
        Ok(taken)
    }

    fn file(&self, record: &NetworkRecord) -> PathBuf {
        let stem = if record.name == DEFAULT { DEFAULT } else { &record.id };
        self.dir.join(format!("{stem}.json"))
    }

    fn write(&self, record: &NetworkRecord) -> Result<PathBuf> {
        fs::create_dir_all(&self.dir).at(&self.dir)?;
        let path = self.file(record);
        let text = serde_json::to_vec(record).expect("plain data has a JSON form");
        write_durably(&path, &text)?;
        Ok(path)
    }

    fn read(&self, path: &Path) -> Result<Option<NetworkRecord>> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at(path)?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Error::corrupt(format!("`{}` is no network of ours", path.display()))
                .caused_by(error)
                .hint("remove it; a network that people made has to be made again")
        })
    }
}

/// A pool whose parts fit together.
fn pool(
    subnet: Subnet,
    gateway: Option<IpAddr>,
    range: Option<Subnet>,
    auxiliary: BTreeMap<String, IpAddr>,
) -> Result<Pool> {
    let first = subnet.hosts().find(|host| !auxiliary.values().any(|taken| taken == host));
    let gateway = gateway.or(first).ok_or_else(|| {
        Error::invalid(format!("subnet {subnet} has no addresses for hosts")).hint("name a larger one")
    })?;
    match subnet.is_host(gateway) {
        true => Ok(Pool { subnet, gateway, range, auxiliary }),
        false => Err(Error::invalid(format!("no matching subnet for gateway {gateway}"))
            .hint(format!("choose an address inside {subnet}"))),
    }
}

fn is_free(subnet: Subnet, taken: &[Subnet]) -> bool {
    !taken.iter().any(|other| other.overlaps(subnet))
}

fn overlap(subnet: Subnet, taken: &[Subnet]) -> Error {
    let other =
        taken.iter().find(|other| other.overlaps(subnet)).map_or_else(String::new, ToString::to_string);
    Error::conflict("invalid pool request: Pool overlaps with other one on this address space").hint(format!(
        "{subnet} overlaps {other}, which a network of ours or an address or route of this host has: \
         `berth network ls` and `ip route` show them"
    ))
}

/// 64 hexadecimal digits.
pub(super) fn random_id() -> Result<String> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags).map_err(std::io::Error::from)?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
