//! What every command gets: the settings, and what is built from them only when a command asks.
//!
//! Invariant: `berth version` opens no store and builds no HTTP client.

use crate::settings::Settings;

/// What every command gets.
pub(crate) struct Context {
    /// Environment, configuration file and global switches.
    pub(crate) settings: Settings,
}

impl Context {
    /// Around these settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings }
    }
}
