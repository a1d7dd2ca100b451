//! What the store takes on the disk, for whom, and whether it is sound.

use crate::Engine;
use berth_oci::{Digest, Result};
use berth_runtime::Status;
use berth_store::{CheckOptions, CheckReport, ContainerRecord, DiskUsage, ImageRecord, VolumeRecord};
use std::collections::{HashMap, HashSet};

/// The disk's ledger with what it is about.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The figures.
    pub disk: DiskUsage,
    /// The images they are about.
    pub images: Vec<ImageRecord>,
    /// The containers they are about.
    pub containers: Vec<ContainerRecord>,
    /// Which of those are running.
    pub running: HashSet<String>,
    /// The volumes they are about.
    pub volumes: Vec<VolumeRecord>,
}

/// How many containers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerCounts {
    /// All of them.
    pub all: usize,
    /// With processes that run.
    pub running: usize,
    /// With processes that are frozen.
    pub paused: usize,
}

/// A row of `system df`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotal {
    /// How many.
    pub count: usize,
    /// How many of them are in use.
    pub active: usize,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Bytes that pruning everything unused gives back.
    pub reclaimable: u64,
}

impl Engine {
    /// What the store takes on its disk.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn disk_usage(&self) -> Result<Usage> {
        let store = self.store()?;
        let containers = store.containers()?;
        let mut running = HashSet::new();
        for container in &containers {
            if self.is_running(&container.id)? {
                running.insert(container.id.clone());
            }
        }
        Ok(Usage {
            disk: store.disk_usage()?,
            images: store.images()?,
            containers,
            running,
            volumes: store.volumes()?,
        })
    }

    /// How many containers there are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn container_counts(&self) -> Result<ContainerCounts> {
        let mut counts = ContainerCounts::default();
        for container in self.store()?.containers()? {
            counts.all += 1;
            match self.container_status(&container.id)? {
                Some(Status::Running) => counts.running += 1,
                Some(Status::Paused) => counts.paused += 1,
                _ => {}
            }
        }
        Ok(counts)
    }

    /// Reads everything the store has and compares it with what it should be.
    ///
    /// # Errors
    /// The store cannot be read. Damage is no error but part of the report.
    pub fn check(&self, options: &CheckOptions) -> Result<CheckReport> {
        self.store()?.check(options)
    }
}

impl Usage {
    /// Images: everything on the disk that is not a container's, so that the rows add up to the whole.
    #[must_use]
    pub fn image_total(&self) -> UsageTotal {
        let disk = &self.disk;
        let used: HashSet<&Digest> = self.containers.iter().filter_map(|c| c.image.as_ref()).collect();
        let active = self.images.iter().filter(|image| used.contains(&image.target)).count();
        let bytes = disk.layers + disk.blobs + disk.partials + disk.temporary + disk.overhead;
        let kept: u64 = self.needed(&used);
        let content = disk.layers + disk.blobs + disk.partials;
        UsageTotal { count: self.images.len(), active, bytes, reclaimable: content.saturating_sub(kept) }
    }

    /// Bytes of images that containers use. Shared ones count once a group, by the largest share.
    fn needed(&self, used: &HashSet<&Digest>) -> u64 {
        let by_target: HashMap<&Digest, &berth_store::ImageUsage> =
            self.disk.images.iter().map(|image| (&image.target, image)).collect();
        let shares = used.iter().filter_map(|target| by_target.get(*target));
        let (mut unique, mut shared) = (0, 0);
        for share in shares {
            unique += share.unique;
            shared = shared.max(share.shared);
        }
        unique + shared
    }

    /// Containers' own files.
    #[must_use]
    pub fn container_total(&self) -> UsageTotal {
        let bytes = self.disk.containers.iter().map(|container| container.bytes).sum();
        let stopped = self.disk.containers.iter().filter(|container| !self.running.contains(&container.id));
        UsageTotal {
            count: self.containers.len(),
            active: self.running.len(),
            bytes,
            reclaimable: stopped.map(|container| container.bytes).sum(),
        }
    }

    /// Volumes' files.
    #[must_use]
    pub fn volume_total(&self) -> UsageTotal {
        let used: HashSet<&str> =
            self.volumes.iter().filter(|v| !v.users.is_empty()).map(|v| v.name.as_str()).collect();
        let idle = self.disk.volumes.iter().filter(|volume| !used.contains(volume.name.as_str()));
        UsageTotal {
            count: self.volumes.len(),
            active: used.len(),
            bytes: self.disk.volumes.iter().map(|volume| volume.bytes).sum(),
            reclaimable: idle.map(|volume| volume.bytes).sum(),
        }
    }
}
