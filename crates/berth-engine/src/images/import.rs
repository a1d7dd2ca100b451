//! A root file system as an image of one layer.

use crate::{Engine, WEB_FILE_LIMIT};
use berth_distribution::DownloadRequest;
use berth_oci::{
    AtPath, CopyOptions, Descriptor, Digest, Error, History, ImageConfig, ImageManifest, Manifest,
    ManifestBody, Platform, Platforms, Reference, Result, RootFs, RuntimeConfig, Silent, Source, copy,
    media_type,
};
use berth_store::IngestOptions;
use jiff::Timestamp;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

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

    /// Takes a tar of the web in; `tell` hears how many bytes have come, and of how many if that is known. It comes onto the
    /// disk first: a line that breaks is asked again, and nothing of a file that came short gets into the store.
    ///
    /// # Errors
    /// As [`import`](Self::import); there is no such file, it is a page to be looked at, the line or the server is broken.
    pub fn import_from(
        &self,
        url: &str,
        options: &ImportOptions,
        tell: &mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    ) -> Result<Digest> {
        berth_build::amend(&mut RuntimeConfig::default(), &options.changes)?;
        let place = self.store()?.workplace()?;
        let path = place.directory()?.join("download");
        let request = DownloadRequest { url, known: None, limit: WEB_FILE_LIMIT };
        self.client().download(&request, &path, tell)?;
        self.import(archive(&path, url)?, options)
    }
}

/// A downloaded file, unless it is what servers send to people.
fn archive(path: &Path, url: &str) -> Result<File> {
    let mut file = File::open(path).at(path)?;
    let mut head = [0; 512];
    let length = file.read(&mut head).at(path)?;
    let text = String::from_utf8_lossy(&head[..length]).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Err(Error::corrupt(format!("{url} is a web page, not an archive"))
            .hint("the address of the file itself is needed; it may be behind a login"));
    }
    file.rewind().at(path)?;
    Ok(file)
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
