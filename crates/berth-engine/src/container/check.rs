//! `system check` for containers: what a killed monitor or engine may have left, named and taken away.
//!
//! Invariant: nothing that belongs to a container with a record is touched; its state is repaired by looking at it.

use super::shared::unmount_memory;
use crate::engine::Engine;
use berth_oci::{AtPath, Result};
use berth_runtime::net;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Something that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is, and of which container.
    pub what: String,
    /// Whether it is gone now.
    pub repaired: bool,
}

impl Engine {
    /// Looks at every container (which makes their states true again) and for what belongs to none.
    ///
    /// # Errors
    /// The store or a directory cannot be read, or a leftover cannot be removed.
    pub fn check_containers(&self, repair: bool) -> Result<Vec<Leftover>> {
        let known: HashSet<String> = self.containers()?.into_iter().map(|container| container.id).collect();
        let mut found = Vec::new();
        for directory in orphans(&self.settings().location.runroot.join("containers"), &known)? {
            let id = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if repair {
                self.store()?.release_rootfs(&id)?;
                unmount_memory(&directory)?;
                fs::remove_dir_all(&directory).at(&directory)?;
            }
            let what = format!("run directory `{}` of a container that is no more", directory.display());
            found.push(Leftover { what, repaired: repair });
        }
        if repair {
            self.restore_network()?;
        }
        Ok(found)
    }

    /// Addresses and ports of containers that are no more are free again, and the rules are as they should be, even
    /// if somebody has flushed the host's firewall.
    fn restore_network(&self) -> Result<()> {
        match self.settings().location.runroot.join("network").exists() {
            true => net::restore(&self.site().home()),
            false => Ok(()),
        }
    }
}

fn orphans(parent: &Path, known: &HashSet<String>) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at(parent)?,
    };
    let mut orphans = Vec::new();
    for entry in entries {
        let entry = entry.at(parent)?;
        if !known.contains(entry.file_name().to_string_lossy().as_ref()) {
            orphans.push(entry.path());
        }
    }
    Ok(orphans)
}
