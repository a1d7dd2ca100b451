//! Taking away what nobody uses, or saying what would go.
//!
//! Invariant: a dry run and a run look at the same plan, so the one shows exactly what the other takes.

use super::ImageFilter;
use crate::Engine;
use berth_oci::{Digest, Result};
use berth_store::{GcOptions, ImageRecord, Without};
use std::time::Duration;

/// What to prune.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Also images that have names, as long as no container uses them.
    pub all: bool,
    /// Conditions.
    pub filter: ImageFilter,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The images.
    pub images: Vec<ImageRecord>,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Engine {
    /// Prunes images: those without a name, or all that no container uses. Pinned ones stay.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn prune_images(&self, options: &PruneOptions) -> Result<Pruned> {
        self.prune_images_without(options, &[])
    }

    /// The same, thinking some containers away: those that the same command removes.
    ///
    /// # Errors
    /// As [`prune_images`](Self::prune_images).
    pub fn prune_images_without(&self, options: &PruneOptions, containers: &[String]) -> Result<Pruned> {
        let store = self.store()?;
        let uses = self.image_uses()?.into_iter().filter(|(id, _)| !containers.contains(id));
        let used: Vec<Digest> = uses.map(|(_, image)| image).collect();
        let mut images = self.images(&options.filter)?;
        images.retain(|image| is_prunable(image, options.all, &used));
        let targets: Vec<Digest> = images.iter().map(|image| image.target.clone()).collect();
        let gc = GcOptions { grace: Duration::ZERO };
        // A filter names images; content without an image is not meant.
        let gc = if options.filter == ImageFilter::default() { gc } else { GcOptions::default() };
        let reclaimed = match options.dry_run {
            true => store.gc_preview(&gc, Without { images: &targets, containers })?,
            false => {
                store.remove_images(&targets)?;
                store.gc_with(&gc)?
            }
        };
        Ok(Pruned { images, bytes: reclaimed.bytes })
    }
}

fn is_prunable(image: &ImageRecord, all: bool, used: &[Digest]) -> bool {
    (all || image.is_dangling()) && !image.pinned && !used.contains(&image.target)
}
