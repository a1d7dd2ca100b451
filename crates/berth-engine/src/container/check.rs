//! `system check` for containers: what a killed monitor or engine may have left, named and taken away.
//!
//! Here: run directories with their mounts, cgroups, networks. Invariant: nothing of a container that somebody attends
//! to is touched; what is listed is listed before the records are read, so that what comes meanwhile has its record.

use crate::engine::Engine;
use berth_oci::{AtPath, Result};
use berth_runtime::net;
use rustix::mount::UnmountFlags;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

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
        let runroot = &self.settings().location.runroot;
        let (containers, builds) = (runroot.join("containers"), runroot.join("builds"));
        let (of_containers, of_builds) = (directories(&containers)?, directories(&builds)?);
        let groups = berth_runtime::groups_below(&self.cgroup_parent())?;
        let known: HashSet<String> = self.containers()?.into_iter().map(|container| container.id).collect();
        let mut found = Vec::new();
        for id in of_containers.iter().filter(|id| !known.contains(*id)) {
            found.extend(self.check_run_dir(&containers.join(id), "a container", repair)?);
        }
        for id in &of_builds {
            found.extend(self.check_run_dir(&builds.join(id), "a build", repair)?);
        }
        for id in groups {
            let of_build = builds.join(&id);
            let run_dir = if of_builds.contains(&id) { of_build } else { containers.join(&id) };
            found.extend(self.check_cgroup(&id, &run_dir, known.contains(&id), repair)?);
        }
        found.extend(self.check_network(repair)?);
        Ok(found)
    }

    /// One whose owner is no more.
    fn check_run_dir(&self, run_dir: &Path, whose: &str, repair: bool) -> Result<Option<Leftover>> {
        if berth_runtime::is_attended(run_dir)? {
            return Ok(None);
        }
        if repair {
            let id = name_of(run_dir);
            let Some(_claim) = berth_runtime::claim(&self.store()?.container_dir(&id), run_dir)? else {
                return Ok(None);
            };
            self.store()?.release_rootfs(&id)?;
            unmount_below(run_dir)?;
            berth_runtime::remove_run_dir(run_dir)?;
        }
        let what = format!("run directory `{}` of {whose} that is no more", run_dir.display());
        Ok(Some(Leftover { what, repaired: repair }))
    }

    /// One of nobody, or of a container that does not run.
    fn check_cgroup(
        &self,
        id: &str,
        run_dir: &Path,
        is_known: bool,
        repair: bool,
    ) -> Result<Option<Leftover>> {
        let parent = self.cgroup_parent();
        // A container that ends while we look takes its cgroup away itself.
        if berth_runtime::is_attended(run_dir)? || !berth_runtime::groups_below(&parent)?.contains(id) {
            return Ok(None);
        }
        if repair {
            let Some(_claim) = berth_runtime::claim(&self.store()?.container_dir(id), run_dir)? else {
                return Ok(None);
            };
            berth_runtime::remove_group(&parent, id)?;
            if !is_known {
                berth_runtime::remove_run_dir(run_dir)?;
            }
        }
        let whose = if is_known { "a container that does not run" } else { "a container that is no more" };
        Ok(Some(Leftover { what: format!("cgroup `{parent}/{id}` of {whose}"), repaired: repair }))
    }

    /// Addresses and ports of containers that are no more become free, and the rules as they should be, even if
    /// somebody has flushed the host's firewall.
    fn check_network(&self, repair: bool) -> Result<Vec<Leftover>> {
        if !self.settings().location.runroot.join("network").exists() {
            return Ok(Vec::new());
        }
        let home = self.site().home();
        let found = net::strays(&home)?;
        if repair {
            net::restore(&home)?;
        }
        Ok(found.into_iter().map(|what| Leftover { what, repaired: repair }).collect())
    }
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The names of what is in there.
fn directories(parent: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.at(parent)?,
    };
    entries.map(|entry| Ok(entry.at(parent)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Takes off whatever is mounted in `directory`: removing its files must not reach into it.
fn unmount_below(directory: &Path) -> Result<()> {
    // The deepest, and the last one mounted, first.
    for place in berth_store::mounts_below(directory)?.into_iter().rev() {
        match rustix::mount::unmount(&place, UnmountFlags::DETACH) {
            // It went with another one.
            Err(rustix::io::Errno::INVAL) => {}
            unmounted => unmounted.map_err(io::Error::from).at(&place)?,
        }
    }
    Ok(())
}
