//! Images made in memory: small, real, and as wrong as a test wants them.

use berth_oci::{
    Descriptor, Digest, Error, ImageConfig, ImageIndex, ImageManifest, Manifest, ManifestBody, Platform,
    Result, RootFs, Source, media_type,
};
use berth_store::{Location, Store};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// A store in a temporary directory.
pub(crate) fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&location(&directory)).unwrap();
    (directory, store)
}

/// Where [`store`] puts it.
pub(crate) fn location(directory: &TempDir) -> Location {
    Location { root: directory.path().join("root"), runroot: directory.path().join("run") }
}

/// Blobs and manifests in memory; counts the bytes it delivers.
#[derive(Default)]
pub(crate) struct Sample {
    /// Blobs by digest.
    pub(crate) blobs: HashMap<Digest, Vec<u8>>,
    /// Manifests by digest.
    pub(crate) manifests: HashMap<Digest, Manifest>,
    /// What [`Source::root`] answers.
    pub(crate) root: Option<Manifest>,
    /// A blob's stream breaks off after so many bytes of one opening.
    pub(crate) breaks_after: Option<u64>,
    /// Bytes that went out.
    pub(crate) delivered: AtomicU64,
}

impl Sample {
    /// An image with one gzip layer for each text, in one file each.
    pub(crate) fn image(texts: &[&str]) -> Self {
        let mut sample = Self::default();
        let manifest = sample.add_image(texts, None);
        sample.root = Some(manifest);
        sample
    }

    /// An index of one such image a platform; its text is the platform.
    pub(crate) fn index(platforms: &[&str]) -> Self {
        let mut sample = Self::default();
        let child = |text: &&str| {
            let platform: Platform = text.parse().unwrap();
            let manifest = sample.add_image(&[text], Some(&platform));
            Descriptor { platform: Some(platform), ..manifest.descriptor() }
        };
        let manifests = platforms.iter().map(child).collect();
        let index = Manifest::from_body(ManifestBody::Index(ImageIndex {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Default::default(),
        }));
        sample.root = Some(index);
        sample
    }

    /// Adds a blob.
    pub(crate) fn add_blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.blobs.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// Adds an image.
    pub(crate) fn add_image(&mut self, texts: &[&str], platform: Option<&Platform>) -> Manifest {
        let tars: Vec<Vec<u8>> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| tar(&[(&format!("file{at}"), text.as_bytes())]))
            .collect();
        let diff_ids = tars.iter().map(|tar| Digest::of(tar)).collect();
        let layers = tars.iter().map(|tar| self.add_blob(media_type::OCI_LAYER_GZIP, gzip(tar))).collect();
        self.add_manifest(diff_ids, layers, platform)
    }

    /// Adds an image whose config promises `diff_ids`.
    pub(crate) fn add_manifest(
        &mut self,
        diff_ids: Vec<Digest>,
        layers: Vec<Descriptor>,
        platform: Option<&Platform>,
    ) -> Manifest {
        let host = Platform::host();
        let platform = platform.unwrap_or(&host);
        let mut config = ImageConfig {
            created: Some("2026-01-02T03:04:05Z".into()),
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            ..ImageConfig::default()
        };
        config.config.labels.insert("made-by".into(), "test".into());
        let config = self.add_blob(media_type::OCI_CONFIG, serde_json::to_vec(&config).unwrap());
        let manifest = Manifest::from_body(ManifestBody::Image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Default::default(),
        }));
        self.manifests.insert(manifest.digest().clone(), manifest.clone());
        manifest
    }

    /// The root.
    pub(crate) fn target(&self) -> &Digest {
        self.root.as_ref().unwrap().digest()
    }
}

impl Source for Sample {
    fn root(&self) -> Result<Manifest> {
        self.root.clone().ok_or_else(|| Error::not_found("no root"))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        self.manifests.get(&descriptor.digest).cloned().ok_or_else(|| Error::not_found("no manifest"))
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let bytes = self.blobs.get(&descriptor.digest).ok_or_else(|| Error::not_found("no blob"))?;
        let mut bytes = bytes[offset as usize..].to_vec();
        if let Some(limit) = self.breaks_after.map(|l| l as usize).filter(|l| *l < bytes.len()) {
            bytes.truncate(limit);
            self.delivered.fetch_add(limit as u64, Ordering::Relaxed);
            let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            return Ok(Box::new(std::io::Cursor::new(bytes).chain(Broken(Some(broken)))));
        }
        self.delivered.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }
}

struct Broken(Option<std::io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(self.0.take().expect("nobody reads on after an error"))
    }
}

/// An uncompressed tar with these files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend(header(name, bytes.len(), b'0', ""));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// A tar header in the ustar format.
pub(crate) fn header(name: &str, size: usize, kind: u8, link: &str) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(157, link);
    put(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Compressed as a registry has it.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}

/// Copies `source` into the store under `name`.
pub(crate) fn pull(store: &Store, source: &dyn Source, name: &str) -> Result<Manifest> {
    let lease = store.lease()?;
    let options = berth_store::IngestOptions {
        origin: Some("registry.example/app".parse().unwrap()),
        ..Default::default()
    };
    let sink = store.sink(Some(&name.parse()?), options, &lease);
    let copy = berth_oci::CopyOptions { platforms: berth_oci::Platforms::All, jobs: 3 };
    berth_oci::copy(source, &sink, &copy, &berth_oci::Silent)
}
