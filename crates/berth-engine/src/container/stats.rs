//! `stats`: how much of the machine each container uses.
//!
//! Invariant: asked of the kernel; no container and no monitor is woken for it.

use super::Container;
use crate::engine::Engine;
use berth_oci::{AtPath, Result};
use berth_runtime::{Status, Usage};
use std::fs;

impl Engine {
    /// What a container uses now; nothing where it does not run.
    ///
    /// # Errors
    /// What its monitor wrote down cannot be read.
    pub fn container_usage(&self, container: &Container) -> Result<Usage> {
        match &container.state {
            Some(state) if matches!(state.status, Status::Running | Status::Paused) => {
                berth_runtime::usage(&self.run_dir(&container.id), state)
            }
            _ => Ok(Usage::default()),
        }
    }

    /// Bytes of memory that the machine has: the limit of who has none.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn machine_memory(&self) -> Result<u64> {
        let path = "/proc/meminfo";
        let text = fs::read_to_string(path).at(path)?;
        let kilobytes =
            text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
        Ok(kilobytes.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024)
    }
}
