//! What an image consists of and which of it is here: the figures of its record, computed once.
//!
//! Invariant: an image manifest counts as available only if its config and every one of its layers are here and
//! the layers' uncompressed digests are those its config promises.

use crate::blobs;
use crate::database::{Answer, count, digest};
use crate::ingest::form_of;
use crate::layer::Form;
use crate::record::{ManifestRecord, Summary};
use crate::store::Store;
use berth_oci::{
    Descriptor, Digest, Error, ImageConfig, ImageManifest, Manifest, Platform, Result, media_type,
};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeSet;

/// `content.kind`: what a part of an image is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Manifest = 0,
    Config = 1,
    Blob = 2,
    Layer = 3,
}

/// An image, looked through.
pub(crate) struct Assessment {
    /// Everything it consists of, whether it is here or not.
    pub(crate) content: BTreeSet<(Part, Digest)>,
    /// Bytes of what is here.
    pub(crate) size: u64,
    /// When the image for this machine was made.
    pub(crate) created: Option<jiff::Timestamp>,
    /// Labels and manifests.
    pub(crate) summary: Summary,
}

/// A layer that is here.
pub(crate) struct LayerRow {
    pub(crate) diff_id: Digest,
    pub(crate) form: Form,
    pub(crate) tar_size: u64,
    pub(crate) index_size: u64,
}

/// The layer that was made from the blob `digest`, or whose uncompressed bytes have that digest.
pub(crate) fn layer_of(connection: &Connection, blob: &Digest) -> Answer<Option<LayerRow>> {
    let mut statement = connection.prepare(
        "SELECT diff_id, tar_size, index_size, form FROM layer
         WHERE diff_id = coalesce((SELECT diff_id FROM origin WHERE digest = ?1), ?1)",
    )?;
    let row = statement.query_row([blob.as_str()], |row| {
        Ok(LayerRow {
            diff_id: digest(row, 0)?,
            form: form_of(row.get(3)?),
            tar_size: count(row, 1)?,
            index_size: count(row, 2)?,
        })
    });
    Ok(row.optional()?)
}

/// Whether the config of an image manifest is one that promises layers. An artifact's is not, nor that of an
/// attestation, which BuildKit dresses up as an image whose layers are statements.
pub(crate) fn is_image(image: &ImageManifest) -> bool {
    let is_layer = |descriptor: &Descriptor| media_type::layer_compression(&descriptor.media_type).is_some();
    [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&image.config.media_type.as_str())
        && (image.layers.is_empty() || image.layers.iter().any(is_layer))
}

/// One manifest and what hangs on it.
struct Walk<'a> {
    store: &'a Store,
    content: BTreeSet<(Part, Digest)>,
    manifests: Vec<ManifestRecord>,
    offers: Vec<(Platform, ImageConfig)>,
}

impl Store {
    /// Looks through the image whose root this is; the root itself need not be kept yet.
    pub(crate) fn assess(&self, root: &Manifest) -> Result<Assessment> {
        let mut walk =
            Walk { store: self, content: BTreeSet::new(), manifests: Vec::new(), offers: Vec::new() };
        walk.content.insert((Part::Manifest, root.digest().clone()));
        match root.image() {
            Some(image) => {
                let record = walk.image(root.descriptor(), image)?;
                walk.manifests.push(record);
            }
            None => walk.children(root, 0)?,
        }
        walk.finish(root)
    }

    /// Whether the layers of an image have the uncompressed digests that its config promises.
    ///
    /// # Errors
    /// `Corrupt` if not; `NotFound` where a blob of it is not here.
    pub(crate) fn verify_image(&self, manifest: &Manifest) -> Result<()> {
        let Some(image) = manifest.image() else { return Ok(()) };
        let promised = match is_image(image) {
            true => Some(self.config(manifest)?.1.rootfs.diff_ids),
            false => None,
        };
        let diff_ids = self.diff_ids(image)?;
        if let Some(promised) = promised {
            compare(manifest.digest(), image, &promised, &diff_ids)?;
        }
        let kept = diff_ids.iter().zip(&image.layers).filter(|(layer, _)| layer.is_none());
        for descriptor in kept.map(|(_, descriptor)| descriptor).chain([&image.config]) {
            self.inner.open_blob(&descriptor.digest)?.ok_or_else(|| missing(descriptor, manifest))?;
        }
        Ok(())
    }

    /// The layers behind a manifest's layer descriptors; `None` for what is no layer or is not here.
    fn diff_ids(&self, image: &ImageManifest) -> Result<Vec<Option<Digest>>> {
        self.inner.database.read(|connection| {
            let layers = image.layers.iter();
            layers.map(|d| Ok(layer_of(connection, &d.digest)?.map(|layer| layer.diff_id))).collect()
        })
    }
}

fn missing(descriptor: &Descriptor, manifest: &Manifest) -> Error {
    Error::not_found(format!(
        "blob {} of manifest {} is not in the store",
        descriptor.digest,
        manifest.digest()
    ))
}

fn compare(
    manifest: &Digest,
    image: &ImageManifest,
    promised: &[Digest],
    found: &[Option<Digest>],
) -> Result<()> {
    if promised.len() != found.len() {
        return Err(Error::corrupt(format!(
            "image {manifest} has {} layers and its config names {}",
            found.len(),
            promised.len()
        )));
    }
    for ((promised, found), descriptor) in promised.iter().zip(found).zip(&image.layers) {
        let Some(found) = found else {
            return Err(Error::unsupported(format!(
                "layer {} of image {manifest} is of type {}, which cannot be unpacked",
                descriptor.digest, descriptor.media_type
            )));
        };
        if promised.algorithm() != found.algorithm() {
            return Err(Error::unsupported(format!(
                "the config of image {manifest} names its layers by {}; only sha256 is supported there",
                promised.algorithm().as_str()
            )));
        }
        if promised != found {
            return Err(Error::corrupt(format!(
                "layer {} of image {manifest} is not the one its config promises: the uncompressed digest is \
                 {found}, not {promised}",
                descriptor.digest
            ))
            .hint("the image is broken where it comes from; whoever made it must push it again"));
        }
    }
    Ok(())
}

impl Walk<'_> {
    fn children(&mut self, index: &Manifest, depth: usize) -> Result<()> {
        for child in index.children() {
            self.content.insert((Part::Manifest, child.digest.clone()));
            let record = match self.manifest(&child.digest)? {
                None => unavailable(child.clone()),
                Some(manifest) => match manifest.image() {
                    Some(image) => self.image(child.clone(), image)?,
                    None if depth < 4 => {
                        self.children(&manifest, depth + 1)?;
                        continue;
                    }
                    None => unavailable(child.clone()),
                },
            };
            self.manifests.push(record);
        }
        Ok(())
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>> {
        let is_kept = self.store.inner.database.read(|connection| blobs::size(connection, digest))?;
        is_kept.map(|_| self.store.manifest(digest)).transpose()
    }

    fn image(&mut self, descriptor: Descriptor, image: &ImageManifest) -> Result<ManifestRecord> {
        let mut record = unavailable(descriptor);
        record.config = Some(image.config.digest.clone());
        record.content_size =
            record.descriptor.size + image.config.size + image.layers.iter().map(|l| l.size).sum::<u64>();
        self.content.insert((Part::Config, image.config.digest.clone()));
        let (available, layers) = self.parts(image)?;
        record.available = available;
        for (layer, descriptor) in layers.iter().zip(&image.layers) {
            self.content.insert((Part::Blob, descriptor.digest.clone()));
            if let Some(layer) = layer {
                record.unpacked_size += layer.tar_size;
                self.content.insert((Part::Layer, layer.diff_id.clone()));
            }
        }
        if available && is_image(image) {
            self.describe(&mut record, image)?;
        }
        Ok(record)
    }

    /// Whether all parts are here, and the layers among them.
    fn parts(&self, image: &ImageManifest) -> Result<(bool, Vec<Option<LayerRow>>)> {
        self.store.inner.database.read(|connection| {
            let mut available = blobs::size(connection, &image.config.digest)?.is_some();
            let mut layers = Vec::new();
            for descriptor in &image.layers {
                let layer = layer_of(connection, &descriptor.digest)?;
                let is_blob = !is_image(image) && blobs::size(connection, &descriptor.digest)?.is_some();
                available &= layer.is_some() || is_blob;
                layers.push(layer);
            }
            Ok((available, layers))
        })
    }

    fn describe(&mut self, record: &mut ManifestRecord, image: &ImageManifest) -> Result<()> {
        let config = ImageConfig::parse(&self.store.blob_bytes(&image.config)?)?;
        record.created = config.created_at();
        let platform = record.descriptor.platform.get_or_insert_with(|| config.platform());
        self.offers.push((platform.clone(), config));
        Ok(())
    }

    fn finish(mut self, root: &Manifest) -> Result<Assessment> {
        let size = self.size(root)?;
        let offers = self.offers.iter().enumerate().map(|(at, (platform, _))| (platform, at));
        let best = Platform::host().best(offers).unwrap_or(0);
        let config = (best < self.offers.len()).then(|| self.offers.swap_remove(best).1);
        Ok(Assessment {
            content: self.content,
            size,
            created: config.as_ref().and_then(ImageConfig::created_at),
            summary: Summary {
                labels: config.map(|c| c.config.labels).unwrap_or_default(),
                manifests: self.manifests,
            },
        })
    }

    fn size(&self, root: &Manifest) -> Result<u64> {
        let mut size = root.raw().len() as u64;
        self.store.inner.database.read(|connection| {
            for (part, digest) in &self.content {
                size += match part {
                    Part::Manifest if digest == root.digest() => 0,
                    Part::Layer => {
                        layer_of(connection, digest)?.map_or(0, |layer| layer.tar_size + layer.index_size)
                    }
                    _ => blobs::size(connection, digest)?.unwrap_or(0),
                };
            }
            Ok(size)
        })
    }
}

fn unavailable(descriptor: Descriptor) -> ManifestRecord {
    ManifestRecord {
        descriptor,
        available: false,
        config: None,
        created: None,
        content_size: 0,
        unpacked_size: 0,
    }
}
