//! Which mounts a container has: those of its words, those of other containers, and the image's volumes.
//!
//! Invariant: after `create` every volume of a container exists, has a name, and is kept by its record.

use super::{Container, Document};
use crate::engine::Engine;
use crate::spec::{ContainerSpec, Flag, ImageMount, Mount, Volume, clean};
use crate::volume::VolumeRequest;
use berth_oci::{Kind, Result, RuntimeConfig};
use berth_runtime::{OfProcess, RootfsMount};
use berth_store::Held;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where a container's volumes are.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By name.
    pub(super) directories: BTreeMap<String, PathBuf>,
    /// For mounts that show only a part: which, by target.
    pub(super) parts: BTreeMap<PathBuf, PathBuf>,
    /// Nobody unmounts any of them while these are held.
    _held: Vec<Held>,
}

impl Engine {
    /// The mounts of a container to be; volumes without a name do not have one yet.
    pub(super) fn settle_mounts(&self, spec: &ContainerSpec, image: &RuntimeConfig) -> Result<Vec<Mount>> {
        let mut mounts: Vec<Mount> = Vec::new();
        for from in &spec.volumes_from {
            let other = self.container(&from.container)?;
            for mount in other.document.mounts.iter().filter_map(|mount| borrowed(mount, from.is_read_only()))
            {
                mounts.retain(|earlier| earlier.target() != mount.target());
                mounts.push(mount);
            }
        }
        mounts.retain(|mount| spec.mounts.iter().all(|own| own.target() != mount.target()));
        mounts.extend(spec.mounts.iter().cloned());
        let places = image.volumes.keys().map(|place| clean(&Path::new("/").join(place)));
        for target in places.chain(spec.volumes.iter().cloned()) {
            if mounts.iter().all(|mount| mount.target() != target) && target != Path::new("/") {
                let driver = spec.volume_driver.clone();
                mounts.push(Mount::Volume(Volume { target, driver, flag: Flag::Image, ..Volume::default() }));
            }
        }
        Ok(mounts)
    }

    /// Makes the volumes that are not there and gives names to those without; answers the names of the new ones,
    /// which are gone again where this fails.
    pub(super) fn make_volumes(&self, mounts: &mut [Mount], made: &mut Vec<String>) -> Result<()> {
        for mount in mounts {
            let Mount::Volume(mount) = mount else { continue };
            let request = VolumeRequest {
                name: mount.name.clone(),
                driver: mount.driver.clone(),
                labels: mount.labels.clone(),
                options: mount.options.clone(),
            };
            let (volume, is_new) = self.create_volume(request)?;
            if is_new {
                made.push(volume.name.clone());
            }
            mount.anonymous |= mount.name.is_none();
            mount.name = Some(volume.name);
        }
        Ok(())
    }

    /// Copies what the image has at the places of volumes that are still empty.
    pub(super) fn fill_volumes(&self, container: &Container) -> Result<()> {
        let mut root = None;
        for mount in &container.document.mounts {
            let Mount::Volume(mount) = mount else { continue };
            let (Some(name), false, None, false) =
                (&mount.name, mount.no_copy, &mount.subpath, mount.flag == Flag::From)
            else {
                continue;
            };
            let volume = self.volume(name)?;
            // Given back at once: filling takes the same lock.
            drop(self.mount_volume(&volume, &container.id)?);
            if root.is_none() {
                root = Some(berth_runtime::open_root(&self.rootfs_of(container)?)?);
            }
            let root = root.as_ref().expect("it was opened above");
            self.fill_volume(&volume, root, &mount.target)?;
        }
        Ok(())
    }

    /// A container's root as a descriptor to walk: the one that its processes see, or its layers where none runs.
    pub(super) fn open_root(&self, container: &Container) -> Result<OwnedFd> {
        match container.state.as_ref().filter(|_| container.is_running()).and_then(|state| state.pid) {
            Some(pid) => {
                let path = format!("/proc/{pid}/root");
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(&path, flags, Mode::empty()).of_process(&path)
            }
            None => berth_runtime::open_root(&self.rootfs_of(container)?),
        }
    }

    /// The layers of a container, mounted for it.
    pub(super) fn rootfs_of(&self, container: &Container) -> Result<RootfsMount> {
        let rootfs = self.layers_of(container)?;
        Ok(RootfsMount::Overlay { lowers: rootfs.lowers, upper: rootfs.upper, work: rootfs.work })
    }

    /// Where the volumes of a container that is about to start are, each mounted if it has to be.
    pub(super) fn place_volumes(&self, container: &Container) -> Result<Places> {
        let mut places = Places::default();
        for mount in &container.document.mounts {
            if let Mount::Image(ImageMount { target, subpath: Some(part), .. }) = mount {
                places.parts.insert(target.clone(), part.clone());
            }
            let Mount::Volume(mount) = mount else { continue };
            let Some(name) = &mount.name else { continue };
            if !places.directories.contains_key(name) {
                let volume = self.volume(name)?;
                places._held.extend(self.mount_volume(&volume, &container.id)?);
                places.directories.insert(name.clone(), volume.mountpoint);
            }
            if let Some(part) = &mount.subpath {
                places.parts.insert(mount.target.clone(), part.clone());
            }
        }
        Ok(places)
    }

    /// Removes volumes that nobody named and nobody else uses.
    pub(super) fn remove_volumes(&self, names: &[String]) -> Result<()> {
        for name in names {
            match self.remove_volume(name) {
                Err(error) if !matches!(error.kind(), Kind::Conflict | Kind::NotFound) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A mount of another container, as it is seen by one that borrows it; memory is nobody else's.
fn borrowed(mount: &Mount, read_only: bool) -> Option<Mount> {
    match mount {
        Mount::Bind(bind) => {
            let mut bind = bind.clone();
            bind.read_only |= read_only;
            bind.flag = Flag::From;
            Some(Mount::Bind(bind))
        }
        Mount::Volume(volume) => {
            let mut volume = volume.clone();
            volume.read_only |= read_only;
            volume.flag = Flag::From;
            Some(Mount::Volume(volume))
        }
        Mount::Image(image) => Some(Mount::Image(image.clone())),
        Mount::Tmpfs(_) => None,
    }
}

impl Document {
    /// Names of the volumes that it uses.
    pub(super) fn volumes(&self) -> Vec<&str> {
        self.mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Volume(volume) => volume.name.as_deref(),
                _ => None,
            })
            .collect()
    }

    /// Names of those that nobody chose.
    pub(super) fn anonymous_volumes(&self) -> Vec<String> {
        self.mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Volume(volume) if volume.anonymous => volume.name.clone(),
                _ => None,
            })
            .collect()
    }
}
