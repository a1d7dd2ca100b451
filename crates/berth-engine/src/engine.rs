//! [`Engine`]: the one struct whose methods are what berth can do.
//!
//! Not here: any verb; each topic has its file. Invariant: making an engine opens nothing; the store
//! and the registry client are made when the first verb needs them.

use berth_distribution::Client;
use berth_oci::{Platform, Result};
use berth_runtime::net::Apart;
use berth_store::{KeepBlobs, Location, Store};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Everything an engine is told: plain values, because only the binary knows the environment.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Where images and containers live.
    pub location: Location,
    /// How registries are spoken to.
    pub registries: berth_distribution::Settings,
    /// How many layers move at once.
    pub jobs: usize,
    /// Whether compressed layers stay.
    pub keep_blobs: KeepBlobs,
    /// The platform of images when the user names none.
    pub platform: Platform,
    /// The program that answers the hidden roles (`__monitor`, `__cleanup`, …): `/proc/self/exe` for berth itself.
    pub executable: PathBuf,
    /// Where CDI specifications are; later ones outdo earlier ones.
    pub cdi_directories: Vec<PathBuf>,
    /// Whether this is the machine's one berth, whose bridge and table have plain names.
    pub usual: bool,
    /// Where a port is published that names no address of the host; none is everywhere.
    pub publish_at: Option<IpAddr>,
    /// The cgroup that this user was given; empty for root, who has them all.
    pub cgroup_base: String,
    /// Other OCI runtimes, by the names that containers ask for them by.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// The directories that programs are looked for in.
    pub programs: Vec<PathBuf>,
    /// Where an ordinary user's bridges are; none is on the host's network.
    pub apart: Option<Apart>,
}

/// Everything berth can do.
pub struct Engine {
    settings: EngineSettings,
    store: OnceLock<Store>,
    client: OnceLock<Client>,
}

impl Engine {
    /// An engine that knows what `settings` say.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        Self { settings, store: OnceLock::new(), client: OnceLock::new() }
    }

    /// What it was told.
    #[must_use]
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// The store, opened at the first call.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn store(&self) -> Result<&Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Store::open(&self.settings.location)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// The registry client, made at the first call.
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(self.settings.registries.clone()))
    }
}
