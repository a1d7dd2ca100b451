//! What a container holds on this machine, written down before it holds it: whoever finds its monitor dead clears it.

use crate::cgroup::Cgroup;
use crate::net::{self, Home};
use berth_oci::{AtPath, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// Everything outside the container's own namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) cgroup: Cgroup,
    /// Its networks' common home, and the name under which the container is on them.
    pub(crate) networks: Option<(Home, String)>,
}

const NAME: &str = "recovery.json";
const TEMPORARY: &str = "recovery.json.tmp";

impl Recovery {
    /// Nothing, when nothing was written: the monitor died before it made anything, or the machine restarted.
    pub(crate) fn read(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).at(&path),
        }
    }

    /// Replaces what was written before, whole: whoever is killed in the middle leaves the older note.
    pub(crate) fn write(&self, run_dir: &Path) -> Result<()> {
        let (path, temporary) = (run_dir.join(NAME), run_dir.join(TEMPORARY));
        fs::write(&temporary, serde_json::to_vec(self).expect("paths and numbers")).at(&temporary)?;
        fs::rename(&temporary, &path).at(&path)
    }

    /// There is nothing left to clear away.
    pub(crate) fn forget(run_dir: &Path) -> Result<()> {
        let path = run_dir.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.at(&path),
        }
    }

    /// Clears away what is written down, and forgets it once it is gone. For whoever knows that the container has no
    /// monitor, or one that has said its last word.
    pub(crate) fn settle(run_dir: &Path) -> Result<()> {
        Self::read(run_dir)?.clear_away()?;
        Self::forget(run_dir)
    }

    /// Ends what still runs and gives back what was taken. May be done twice. One part that fails keeps no other
    /// from its turn.
    pub(crate) fn clear_away(&self) -> Result<()> {
        let killed = self.cgroup.kill();
        let removed = self.cgroup.remove();
        let left = self.networks.as_ref().map_or(Ok(()), |(home, container)| net::teardown(home, container));
        killed.and(removed).and(left)
    }
}
