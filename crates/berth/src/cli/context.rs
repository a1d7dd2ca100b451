//! What every command gets: the settings, and the engine that is built from them when a command asks.
//!
//! Invariant: `berth version` opens no store and builds no HTTP client.

use crate::settings::Settings;
use berth_engine::{Engine, EngineSettings};
use berth_oci::{Platform, Result};
use berth_store::Location;
use std::cell::OnceCell;

/// What every command gets.
pub(crate) struct Context {
    /// Environment, configuration file and global switches.
    pub(crate) settings: Settings,
    engine: OnceCell<Engine>,
}

impl Context {
    /// Around these settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, engine: OnceCell::new() }
    }

    /// The engine.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub(crate) fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Engine::new(self.engine_settings()?);
        Ok(self.engine.get_or_init(|| engine))
    }

    fn engine_settings(&self) -> Result<EngineSettings> {
        let settings = &self.settings;
        let platform = settings.default_platform.as_deref().map(str::parse).transpose()?;
        Ok(EngineSettings {
            location: Location { root: settings.root.clone(), runroot: settings.runroot.clone() },
            jobs: settings.file.max_concurrent_transfers.unwrap_or(JOBS),
            platform: platform.unwrap_or_else(Platform::host),
        })
    }
}

/// Layers that move at once; docker says 3 for pulls and 5 for pushes.
const JOBS: usize = 4;
