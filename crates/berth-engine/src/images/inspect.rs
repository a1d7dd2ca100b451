//! Everything an image says about itself, for one platform.

use crate::Engine;
use berth_oci::{Descriptor, Platform, Reference, Result};
use berth_store::{ImageRecord, PlatformImage};

/// An image, its names, and what it is on one platform.
#[derive(Clone, Debug)]
pub struct ImageDetails {
    /// Names, times and sizes.
    pub record: ImageRecord,
    /// The manifest and the config; none where the image is not here for any platform (an artifact).
    pub image: Option<PlatformImage>,
    /// Bytes of manifest, config and layers as a registry has them.
    pub content_size: u64,
    /// What registries call it that it was pushed to, where that is not its id; the last push first.
    pub pushes: Vec<Reference>,
}

impl ImageDetails {
    /// A descriptor of the image's root.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.record.media_type, self.record.target.clone(), self.record.manifest_size)
    }
}

impl Engine {
    /// Looks into an image; without a platform, into the one that suits this machine or else the first one here.
    ///
    /// # Errors
    /// `NotFound`: no such image, or not here for that platform.
    pub fn inspect_image(&self, name: &str, platform: Option<&Platform>) -> Result<ImageDetails> {
        let store = self.store()?;
        let record = store.resolve(name)?;
        let is_artifact = record.manifests()?.iter().all(|manifest| !manifest.available);
        let image = match is_artifact && platform.is_none() {
            true => None,
            false => Some(store.platform_image(&record.target, platform)?),
        };
        let content_size = match &image {
            Some(image) => content_size(&record, image)?,
            None => record.manifest_size,
        };
        let pushes = store.pushes_of(&record.target)?;
        Ok(ImageDetails { record, image, content_size, pushes })
    }
}

fn content_size(record: &ImageRecord, image: &PlatformImage) -> Result<u64> {
    let same = record.manifests()?.iter().find(|m| m.descriptor.digest == *image.manifest.digest());
    Ok(match same {
        Some(manifest) => manifest.content_size,
        // Nested below another index: its own parts say it.
        None => image.manifest.raw().len() as u64 + image.manifest.blobs().map(|blob| blob.size).sum::<u64>(),
    })
}
