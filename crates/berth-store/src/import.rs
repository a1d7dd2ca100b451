//! Images that are made here: from a config and layers of the store, or from a root file system's tar.
//!
//! Invariant: an image made here is as verified as one that was pulled: it goes through the same sink.

use crate::archives::decompress;
use crate::lease::Lease;
use crate::sink::IngestOptions;
use crate::store::Store;
use berth_oci::{
    Descriptor, Error, ImageConfig, ImageIndex, ImageManifest, Manifest, ManifestBody, Reference, Result,
    Sink, media_type,
};
use std::collections::BTreeMap;
use std::io::Read;

impl Store {
    /// Makes an image of layers that are here ([`add_layer`](Self::add_layer), or another image's), and names it.
    ///
    /// The config's `rootfs.diff_ids` must be those of the layers.
    ///
    /// # Errors
    /// `Corrupt` where they are not; the disk is full.
    pub fn put_image(
        &self,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
        name: Option<&Reference>,
        lease: &Lease,
    ) -> Result<Manifest> {
        let manifest = self.keep_config(config, layers, annotations, lease)?;
        self.sink(name, IngestOptions::default(), lease).put_manifest(&manifest, true)?;
        Ok(manifest)
    }

    /// The same for several platforms at once: an index of them, with its annotations.
    ///
    /// # Errors
    /// As [`put_image`](Self::put_image).
    pub fn put_index(
        &self,
        images: &[(ImageConfig, Vec<Descriptor>)],
        annotations: BTreeMap<String, String>,
        name: Option<&Reference>,
        lease: &Lease,
    ) -> Result<Manifest> {
        let sink = self.sink(name, IngestOptions::default(), lease);
        let mut manifests = Vec::with_capacity(images.len());
        for (config, layers) in images {
            let manifest = self.keep_config(config, layers.clone(), BTreeMap::new(), lease)?;
            sink.put_manifest(&manifest, false)?;
            manifests.push(Descriptor { platform: Some(config.platform()), ..manifest.descriptor() });
        }
        let index = Manifest::from_body(ManifestBody::Index(ImageIndex {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations,
        }));
        sink.put_manifest(&index, true)?;
        Ok(index)
    }

    /// Makes an image of one layer from a root file system's tar, plain or compressed. `config` says everything but
    /// the layer; its history's last entry, if there is one, is about it.
    ///
    /// # Errors
    /// It is no tar, or harmful; the disk is full.
    pub fn import(
        &self,
        tar: impl Read + Send,
        mut config: ImageConfig,
        name: Option<&Reference>,
        lease: &Lease,
    ) -> Result<Manifest> {
        if !config.rootfs.diff_ids.is_empty() {
            return Err(Error::invalid("the config of an import has no layers of its own"));
        }
        let (layer, diff_id) = self.add_layer(decompress(tar)?, lease)?;
        config.rootfs.diff_ids = vec![diff_id];
        self.put_image(&config, vec![layer], BTreeMap::new(), name, lease)
    }

    /// Keeps a config; answers the manifest that joins it with its layers.
    fn keep_config(
        &self,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
        lease: &Lease,
    ) -> Result<Manifest> {
        let raw = serde_json::to_vec(config).expect("a config has string keys only");
        let config = Descriptor::of(media_type::OCI_CONFIG, &raw);
        self.inner.keep_document(&config.digest, &raw, lease)?;
        Ok(Manifest::from_body(ManifestBody::Image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations,
        })))
    }
}
