//! The networks of one berth: their names from its root, their subnets chosen once and remembered.
//!
//! Here: [`Site`]. Not here: putting a network into the kernel. Invariant: a network keeps its subnet until its
//! bridge is gone and somebody else has taken the addresses.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use berth_oci::{AtPath, Context, Error, Result};
use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, write_durably};
use super::link::Links;
use super::plan::{Names, Network};
use super::subnet::{Pool, Subnet, choose};

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
}

/// What may be asked of a network; the rest is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Its subnet.
    pub subnet: Option<Subnet>,
    /// Its bridge's address; otherwise the first of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// Nothing leaves it and nothing enters.
    pub internal: bool,
    /// Its containers do not reach one another.
    pub isolated: bool,
    /// The largest packet.
    pub mtu: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    subnet: Subnet,
}

impl Site {
    /// The berth of this root; `usual` is the machine's one, whose names in the kernel are plain.
    #[must_use]
    pub fn new(root: &Path, runroot: &Path, usual: bool) -> Self {
        Self {
            names: Names::of(root, usual),
            root: root.to_owned(),
            dir: root.join("network"),
            run_dir: runroot.join("network"),
            usual,
        }
    }

    /// The names the kernel knows this berth by.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The network of this name as it is to be; chooses and remembers a subnet the first time.
    pub fn network(&self, name: &str, options: &NetworkOptions) -> Result<Network> {
        let bridge = if name == DEFAULT { self.names.bridge.clone() } else { self.names.bridge_of(name) };
        let subnet = self.subnet(name, &bridge, options)?;
        let first = subnet.hosts().next().expect("a subnet of at most 30 bits has hosts");
        let gateway = options.gateway.unwrap_or(first);
        if !subnet.hosts().any(|host| host == gateway) {
            return Err(Error::invalid(format!("no matching subnet for gateway {gateway}"))
                .hint(format!("choose an address inside {subnet}")));
        }
        Ok(Network {
            name: name.to_owned(),
            bridge,
            subnet,
            gateway,
            nft_table: self.names.nft_table.clone(),
            run_dir: self.run_dir.clone(),
            internal: options.internal,
            isolated: options.isolated,
            mtu: options.mtu.unwrap_or(MTU),
        })
    }

    /// Forgets the subnet of a network that is no more.
    pub fn forget(&self, name: &str) -> Result<()> {
        let path = self.memory(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(&path),
            _ => Ok(()),
        }
    }

    fn subnet(&self, name: &str, bridge: &str, options: &NetworkOptions) -> Result<Subnet> {
        let mut links = Links::open().context(|| "cannot ask the kernel for its interfaces")?;
        if let (Some(remembered), Some(link)) = (self.remembered(name, options)?, links.find(bridge)?)
            && link.up
        {
            return Ok(remembered);
        }
        // Two processes must not choose at once, one for the other's route is not there yet.
        let _lock = Ledger::open(&self.run_dir)?;
        let link = links.find(bridge)?;
        let standing =
            link.filter(|link| link.up).map(|link| links.address_of(link.index)).transpose()?.flatten();
        let standing = standing.map(|(address, prefix)| Subnet::around(address, prefix));
        if let (Some(standing), Some(wished)) = (standing, options.subnet)
            && standing != wished
        {
            return Err(Error::conflict(format!(
                "network {name} is there with subnet {standing}, not {wished}"
            ))
            .hint(format!("remove network {name} first, once nothing runs on it")));
        }
        let taken = links.taken(link.map(|link| link.index))?;
        let wished = options.subnet.or(standing);
        let chosen =
            match wished.or(self.remembered(name, options)?.filter(|subnet| is_free(*subnet, &taken))) {
                Some(subnet) if is_free(subnet, &taken) => subnet,
                Some(subnet) => return Err(overlap(subnet, &taken)),
                None => choose(self.pool(name), self.names.seed_of(name), &taken)?,
            };
        fs::create_dir_all(&self.dir).at(&self.dir)?;
        let text = serde_json::to_vec(&Remembered { subnet: chosen }).expect("plain data has a JSON form");
        write_durably(&self.memory(name), &text)?;
        Ok(chosen)
    }

    fn pool(&self, name: &str) -> Pool {
        if self.usual && name == DEFAULT { Pool::Wide } else { Pool::Narrow }
    }

    fn memory(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// None too when another one is asked for now.
    fn remembered(&self, name: &str, options: &NetworkOptions) -> Result<Option<Subnet>> {
        let path = self.memory(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at(&path)?,
        };
        let remembered: Remembered = serde_json::from_slice(&bytes).map_err(|error| {
            Error::corrupt(format!("`{}` is no network of ours", path.display()))
                .caused_by(error)
                .hint(format!("remove it, and network {name} of {} gets a new subnet", self.root.display()))
        })?;
        Ok(Some(remembered.subnet).filter(|subnet| options.subnet.is_none_or(|wished| wished == *subnet)))
    }
}

fn is_free(subnet: Subnet, taken: &[Subnet]) -> bool {
    !taken.iter().any(|other| other.overlaps(subnet))
}

fn overlap(subnet: Subnet, taken: &[Subnet]) -> Error {
    let other =
        taken.iter().find(|other| other.overlaps(subnet)).map_or_else(String::new, ToString::to_string);
    Error::conflict(format!(
        "invalid pool request: Pool overlaps with other one on this address space: {subnet}"
    ))
    .hint(format!("an address or a route of this host already has {other}: `ip route` shows it"))
}
