//! A root file system as an image of one layer.

use crate::Engine;
use berth_oci::{
    CopyOptions, Descriptor, Digest, Error, History, ImageConfig, ImageManifest, Manifest, ManifestBody,
    Platform, Platforms, Reference, Result, RootFs, RuntimeConfig, Silent, Source, copy, media_type,
};
use berth_store::IngestOptions;
use jiff::Timestamp;
use std::io::{Cursor, Read};

/// How a root file system becomes an image.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Its name.
    pub name: Option<Reference>,
    /// What the history says.
    pub message: String,
    /// Dockerfile instructions: `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// What it runs on.
    pub platform: Platform,
}

impl Engine {
    /// Takes a tar (gzip and zstd are recognised) in as an image; answers its id.
    ///
    /// # Errors
    /// It is no tar, a change is wrong, the disk is full.
    pub fn import(&self, tar: impl Read + Send, options: &ImportOptions) -> Result<Digest> {
        let mut config = RuntimeConfig::default();
        berth_build::amend(&mut config, &options.changes)?;
        let store = self.store()?;
        let lease = store.lease()?;
        let (layer, diff_id) = store.add_layer(tar, &lease)?;
        let now = Timestamp::now().to_string();
        let step = History {
            created: Some(now.clone()),
            comment: Some(options.message.clone()),
            ..History::default()
        };
        let config = ImageConfig {
            created: Some(now),
            architecture: options.platform.architecture.clone(),
            variant: options.platform.variant.clone(),
            os: options.platform.os.clone(),
            config,
            rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
            history: vec![step],
            ..ImageConfig::default()
        };
        let image = Made::new(&config, vec![layer]);
        let sink = store.sink(options.name.as_ref(), IngestOptions::default(), &lease);
        let all = CopyOptions { platforms: Platforms::All, jobs: 1 };
        copy(&image, &sink, &all, &Silent).map(|root| root.digest().clone())
    }
}

/// An image whose layers are in the store already.
struct Made {
    manifest: Manifest,
    config: Vec<u8>,
}

impl Made {
    fn new(config: &ImageConfig, layers: Vec<Descriptor>) -> Self {
        let config = serde_json::to_vec(config).expect("a config has string keys only");
        let manifest = Manifest::from_body(ManifestBody::Image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::of(media_type::OCI_CONFIG, &config),
            layers,
            subject: None,
            annotations: Default::default(),
        }));
        Self { manifest, config }
    }
}

impl Source for Made {
    fn root(&self) -> Result<Manifest> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        Err(Error::not_found(format!("{} is not a part of the image", descriptor.digest)))
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        match descriptor.digest == Digest::of(&self.config) {
            true => Ok(Box::new(Cursor::new(&self.config[(offset as usize).min(self.config.len())..]))),
            false => Err(Error::not_found(format!("{} is not a part of the image", descriptor.digest))),
        }
    }
}
