//! Images in memory, as a source and as a sink.

use berth_oci::{
    Blob, Descriptor, Digest, Error, ImageIndex, ImageManifest, Manifest, ManifestBody, Result, Sink, Source,
    Verified, media_type,
};
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;

/// Blobs, manifests and one root.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    pub(crate) manifests: Mutex<HashMap<Digest, Manifest>>,
    pub(crate) root: Mutex<Option<Manifest>>,
}

/// Bytes that do not compress and are the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Memory {
    pub(crate) fn add_blob(&self, kind: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(kind, &bytes);
        self.blobs.lock().unwrap().insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// An image with one layer for each length; the root.
    pub(crate) fn image(seed: u64, layers: &[usize]) -> Self {
        let memory = Self::default();
        memory.add_image(seed, layers);
        memory
    }

    pub(crate) fn add_image(&self, seed: u64, layers: &[usize]) -> Manifest {
        let config = format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"x\":{seed}}}").into_bytes();
        let config = self.add_blob(media_type::OCI_CONFIG, config);
        let add = |(i, length): (usize, &usize)| {
            self.add_blob(media_type::OCI_LAYER_GZIP, noise(seed * 100 + i as u64, *length))
        };
        let layers = layers.iter().enumerate().map(add).collect();
        self.add_manifest(config, layers, None)
    }

    pub(crate) fn add_manifest(
        &self,
        config: Descriptor,
        layers: Vec<Descriptor>,
        subject: Option<Descriptor>,
    ) -> Manifest {
        self.keep(Manifest::from_body(ManifestBody::Image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject,
            annotations: Default::default(),
        })))
    }

    pub(crate) fn add_index(&self, platforms: &[(&str, &Manifest)]) -> Manifest {
        let child = |(platform, manifest): &(&str, &Manifest)| Descriptor {
            platform: Some(platform.parse().unwrap()),
            ..manifest.descriptor()
        };
        self.keep(Manifest::from_body(ManifestBody::Index(ImageIndex {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: platforms.iter().map(child).collect(),
            subject: None,
            annotations: Default::default(),
        })))
    }

    fn keep(&self, manifest: Manifest) -> Manifest {
        self.manifests.lock().unwrap().insert(manifest.digest().clone(), manifest.clone());
        *self.root.lock().unwrap() = Some(manifest.clone());
        manifest
    }

    /// The root's only layer.
    pub(crate) fn layer(&self) -> Descriptor {
        self.root().unwrap().image().unwrap().layers[0].clone()
    }
}

impl Source for Memory {
    fn root(&self) -> Result<Manifest> {
        self.root.lock().unwrap().clone().ok_or_else(|| Error::not_found("no root"))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let found = self.manifests.lock().unwrap().get(&descriptor.digest).cloned();
        found.ok_or_else(|| Error::not_found("no manifest"))
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let bytes = self.blobs.lock().unwrap()[&descriptor.digest].clone();
        let mut cursor = Cursor::new(bytes);
        cursor.set_position(offset);
        Ok(Box::new(cursor))
    }
}

impl Sink for Memory {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.blobs.lock().unwrap().contains_key(&descriptor.digest))
    }

    fn put_blob(&self, blob: &Blob<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        Verified::new(blob.open(0)?, blob.descriptor()).read_to_end(&mut bytes)?;
        self.blobs.lock().unwrap().insert(blob.descriptor().digest.clone(), bytes);
        Ok(())
    }

    fn put_manifest(&self, manifest: &Manifest, is_root: bool) -> Result<()> {
        self.manifests.lock().unwrap().insert(manifest.digest().clone(), manifest.clone());
        if is_root {
            *self.root.lock().unwrap() = Some(manifest.clone());
        }
        Ok(())
    }
}
