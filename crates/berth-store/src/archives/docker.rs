//! Docker's `manifest.json`, which is all that archives of before docker 25, of podman and of many tools have.
//!
//! It names files and promises no digest of its own: the config's bytes make the image's id, and the config's diff
//! IDs say what each layer must be. Invariant: the manifest we make from it is the same for the same archive.

use super::index::Files;
use super::open::ArchivedImage;
use crate::blobs::DOCUMENT_LIMIT;
use berth_oci::{
    Descriptor, Digest, Error, Hasher, ImageConfig, ImageManifest, Manifest, ManifestBody, Reference, Result,
    media_type,
};
use serde::Deserialize;
use std::collections::HashMap;

const NAME: &str = "manifest.json";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Manifests that we made, and under which names the archive has their blobs.
#[derive(Default)]
pub(super) struct Made {
    pub(super) manifests: HashMap<Digest, Manifest>,
    pub(super) blobs: HashMap<Digest, String>,
}

/// The images that manifest.json lists; `None` where there is no manifest.json.
pub(super) fn images(files: &dyn Files) -> Result<Option<(Vec<ArchivedImage>, Made)>> {
    let Some(raw) = files.read(NAME, DOCUMENT_LIMIT)? else { return Ok(None) };
    let entries: Vec<Entry> = serde_json::from_slice(&raw)
        .map_err(|e| Error::invalid("`manifest.json` is not docker's list of images").caused_by(e))?;
    let (mut images, mut made) = (Vec::new(), Made::default());
    for entry in entries {
        let manifest = manifest(files, &entry, &mut made.blobs)?;
        let names = entry.repo_tags.iter().flatten().map(|tag| name(tag)).collect::<Result<_>>()?;
        images.push(ArchivedImage { names, tags: Vec::new(), target: manifest.descriptor() });
        made.manifests.insert(manifest.digest().clone(), manifest);
    }
    Ok(Some((images, made)))
}

fn name(tag: &str) -> Result<Reference> {
    let reference = tag.parse::<Reference>();
    reference
        .map(Reference::or_latest)
        .map_err(|e| Error::invalid(format!("`{tag}` in `{NAME}`")).caused_by(e))
}

fn manifest(files: &dyn Files, entry: &Entry, blobs: &mut HashMap<Digest, String>) -> Result<Manifest> {
    let raw = files.read(&entry.config, DOCUMENT_LIMIT)?.ok_or_else(|| missing(&entry.config))?;
    let config = ImageConfig::parse(&raw)?;
    let layers = entry.layers.as_deref().unwrap_or_default();
    if layers.len() != config.rootfs.diff_ids.len() {
        return Err(Error::corrupt(format!(
            "the archive has {} layers for `{}`, which names {}",
            layers.len(),
            entry.config,
            config.rootfs.diff_ids.len()
        )));
    }
    let descriptor = Descriptor::of(media_type::DOCKER_CONFIG, &raw);
    blobs.insert(descriptor.digest.clone(), entry.config.clone());
    let mut descriptors = Vec::new();
    for (file, diff_id) in layers.iter().zip(&config.rootfs.diff_ids) {
        let layer = layer(files, file, diff_id)?;
        blobs.insert(layer.digest.clone(), file.clone());
        descriptors.push(layer);
    }
    Ok(Manifest::from_body(ManifestBody::Image(ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::DOCKER_MANIFEST.to_owned()),
        artifact_type: None,
        config: descriptor,
        layers: descriptors,
        subject: None,
        annotations: Default::default(),
    })))
}

/// A plain layer is what its diff ID says, or is refused when it is taken in. A compressed one has to be read for
/// its digest.
fn layer(files: &dyn Files, name: &str, diff_id: &Digest) -> Result<Descriptor> {
    let size = files.size(name)?.ok_or_else(|| missing(name))?;
    let mut reader = files.open(name, 0)?.ok_or_else(|| missing(name))?;
    let mut buffer = vec![0; 256 << 10];
    let mut hasher = Hasher::new(berth_oci::Algorithm::Sha256);
    let mut kind = None;
    loop {
        let count = reader.read(&mut buffer)?;
        let kind = *kind.get_or_insert_with(|| match &buffer[..count] {
            bytes if bytes.starts_with(GZIP) => media_type::DOCKER_LAYER_GZIP,
            bytes if bytes.starts_with(ZSTD) => media_type::DOCKER_LAYER_ZSTD,
            _ => media_type::DOCKER_LAYER,
        });
        if kind == media_type::DOCKER_LAYER {
            return Ok(Descriptor::new(kind, diff_id.clone(), size));
        }
        if count == 0 {
            return Ok(Descriptor::new(kind, hasher.finish(), size));
        }
        hasher.update(&buffer[..count]);
    }
}

fn missing(name: &str) -> Error {
    Error::corrupt(format!("the archive has no `{name}`, which its `{NAME}` names"))
        .hint("the archive is incomplete: save it again")
}
