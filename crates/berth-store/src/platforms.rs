//! Which image of an index a machine runs, and everything a container needs to know of it.
//!
//! Invariant: a [`PlatformImage`] is complete: its config is read and each of its layers is in the store.

use crate::database::exists;
use crate::store::Store;
use berth_oci::{Digest, Error, ImageConfig, Manifest, Platform, Result};

/// One image, for one platform, ready to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformImage {
    /// Its manifest.
    pub manifest: Manifest,
    /// What it says about itself.
    pub config: ImageConfig,
    /// The exact bytes of that.
    pub raw_config: Vec<u8>,
    /// Its layers, the base first.
    pub diff_ids: Vec<Digest>,
}

impl Store {
    /// The image below `target` that suits `platform` best.
    ///
    /// Without a platform: the best one for this machine or, as docker has it, whatever is here; the caller
    /// compares [`ImageConfig::platform`] with what it expected.
    ///
    /// # Errors
    /// `NotFound`: no such image, or it is not here for that platform.
    pub fn platform_image(&self, target: &Digest, platform: Option<&Platform>) -> Result<PlatformImage> {
        let root = self.manifest(target)?;
        let mut offers = Vec::new();
        self.collect_images(root, None, 0, &mut offers)?;
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let best = wanted.best(offers.iter().enumerate().map(|(at, (offer, _))| (offer, at)));
        let position = best.or((platform.is_none() && !offers.is_empty()).then_some(0));
        match position {
            Some(position) => self.complete(offers.swap_remove(position).1),
            None => Err(missing_platform(target, wanted, &offers)),
        }
    }

    /// The image manifests below `root` that are here, with the platform each is for.
    fn collect_images(
        &self,
        root: Manifest,
        platform: Option<Platform>,
        depth: usize,
        found: &mut Vec<(Platform, Manifest)>,
    ) -> Result<()> {
        if root.image().is_some() {
            let platform = match platform {
                Some(platform) => platform,
                None => self.config(&root)?.1.platform(),
            };
            found.push((platform, root));
            return Ok(());
        }
        for child in root.children() {
            let is_image = child.platform.as_ref().is_none_or(|p| p.os != "unknown");
            if depth < 4 && is_image && self.is_kept(&child.digest)? {
                let manifest = self.manifest(&child.digest)?;
                self.collect_images(manifest, child.platform.clone(), depth + 1, found)?;
            }
        }
        Ok(())
    }

    fn is_kept(&self, digest: &Digest) -> Result<bool> {
        self.inner.database.read(|connection| {
            Ok(exists(connection, "SELECT 1 FROM blob WHERE digest = ?", [digest.as_str()])?)
        })
    }

    fn complete(&self, manifest: Manifest) -> Result<PlatformImage> {
        let (raw_config, config) = self.config(&manifest)?;
        let diff_ids = config.rootfs.diff_ids.clone();
        let missing = self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT 1 FROM layer WHERE diff_id = ?")?;
            for diff_id in &diff_ids {
                if !statement.exists([diff_id.as_str()])? {
                    return Ok(Some(diff_id.clone()));
                }
            }
            Ok(None)
        })?;
        match missing {
            None => Ok(PlatformImage { manifest, config, raw_config, diff_ids }),
            Some(diff_id) => Err(Error::not_found(format!(
                "layer {diff_id} of image {} is not in the store",
                manifest.digest()
            ))
            .hint("pull the image again")),
        }
    }
}

fn missing_platform(target: &Digest, wanted: &Platform, offers: &[(Platform, Manifest)]) -> Error {
    let here: Vec<String> = offers.iter().map(|(platform, _)| platform.to_string()).collect();
    let here = if here.is_empty() { "no platform".to_owned() } else { here.join(", ") };
    Error::not_found(format!(
        "image with reference {target} was found but does not provide the specified platform ({wanted})"
    ))
    .hint(format!("it is here for {here}; `berth pull --platform {wanted}` fetches the other one"))
}
