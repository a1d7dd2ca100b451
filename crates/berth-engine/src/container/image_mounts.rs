//! Images that a container sees beside its own: `--mount type=image`.
//!
//! Invariant: what a name meant when the container was made is what it sees at every start; the record keeps it.

use super::{Container, Document};
use crate::engine::Engine;
use crate::spec::{ImageMount, Layers, Mount};
use berth_oci::{Digest, Platform, Result};
use berth_store::Rootfs;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Engine {
    /// Looks up what the names mean. What another container lends means what it means there.
    pub(super) fn resolve_images(&self, mounts: &mut [Mount], platform: Option<&Platform>) -> Result<()> {
        for mount in mounts {
            let Mount::Image(ImageMount { source, image, .. }) = mount else { continue };
            if image.is_none() {
                let target = self.store()?.resolve(source)?.target;
                let diff_ids = self.store()?.platform_image(&target, platform)?.diff_ids;
                *image = Some(Layers { target, diff_ids });
            }
        }
        Ok(())
    }

    /// The layers of everything that a container sees, mounted for it.
    pub(super) fn layers_of(&self, container: &Container) -> Result<Rootfs> {
        let others: Vec<&[Digest]> =
            images(&container.document).map(|(_, l)| l.diff_ids.as_slice()).collect();
        let rootfs = self.store()?.rootfs(&container.id, &container.document.layers, &others)?;
        self.with_given_files(container, rootfs)
    }
}

/// The layers of the images that a container sees, uppermost first, by target.
pub(super) fn stacks(container: &Container, rootfs: &Rootfs) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let targets = images(&container.document).map(|(mount, _)| mount.target.clone());
    targets.zip(rootfs.others.iter().cloned()).collect()
}

fn images(document: &Document) -> impl Iterator<Item = (&ImageMount, &Layers)> {
    document.mounts.iter().filter_map(|mount| match mount {
        Mount::Image(mount) => mount.image.as_ref().map(|layers| (mount, layers)),
        _ => None,
    })
}

impl Document {
    /// The images that it uses beside its own.
    pub(super) fn images(&self) -> Vec<&Digest> {
        images(self).map(|(_, layers)| &layers.target).collect()
    }
}
