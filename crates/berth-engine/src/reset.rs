//! `system reset`: everything of this root goes, in the kernel and on disk.
//!
//! Invariant: what uses something goes before it, so that a reset which was broken off can be repeated.

use crate::container::RemoveOptions;
use crate::{Engine, VolumeFilter};
use berth_oci::{Kind, Result};
use berth_store::GcOptions;
use std::time::Duration;

/// What has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Containers, running or not.
    pub containers: usize,
    /// Volumes.
    pub volumes: usize,
    /// Images.
    pub images: usize,
}

impl Engine {
    /// Removes all containers and volumes, the networks, the cgroups and all images of this root.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub fn reset(&self) -> Result<Reset> {
        let store = self.store()?;
        let containers = store.containers()?;
        for container in &containers {
            match self.remove(&container.id, RemoveOptions { force: true, volumes: true }) {
                Err(error) if error.kind() != Kind::NotFound => return Err(error),
                _ => {}
            }
        }
        let volumes = self.volumes(&VolumeFilter::default())?;
        volumes.iter().try_for_each(|volume| self.remove_volume(&volume.name))?;
        self.remove_networks()?;
        berth_runtime::remove_parent(&self.cgroup_parent())?;
        let targets: Vec<_> = store.images()?.into_iter().map(|image| image.target).collect();
        store.remove_images(&targets)?;
        store.gc_with(&GcOptions { grace: Duration::ZERO })?;
        Ok(Reset { containers: containers.len(), volumes: volumes.len(), images: targets.len() })
    }

    /// All networks, the usual one too.
    fn remove_networks(&self) -> Result<()> {
        let site = self.site();
        for record in site.records()? {
            site.remove(&record)?;
        }
        Ok(())
    }
}
