//! `--cache-from`: what a cache from elsewhere knows, read before the build; its layers are fetched when they are
//! needed.
//!
//! Invariant: a layer counts only if it is what the cache said it would be.

use super::CacheSource;
use super::format::{CONFIG, CONFIG_LIMIT, CacheConfig};
use crate::Engine;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_build::{Event, KnownStep, Layer, Listener};
use berth_oci::{
    Blob, Descriptor, Digest, Error, ImageConfig, Manifest, Reference, Result, Silent, Sink, Source,
    Verified, media_type,
};
use berth_store::archives::{Archive, ArchivedImage};
use berth_store::{IngestOptions, Lease, Protected};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Everything that the caches know.
#[derive(Default)]
pub(in crate::build) struct Imports {
    steps: HashMap<Digest, KnownStep>,
    /// Where a layer is, and what it is there.
    layers: HashMap<Digest, (usize, Descriptor)>,
    sources: Vec<CacheSource>,
}

/// The number of the step that progress shows for the first import.
const STEP: usize = usize::MAX / 2;

impl Imports {
    /// Reads what the caches know; one that cannot be read knows nothing.
    pub(in crate::build) fn read(engine: &Engine, sources: &[CacheSource], listener: &dyn Listener) -> Self {
        let mut imports = Self { sources: sources.to_vec(), ..Self::default() };
        for (number, source) in sources.iter().enumerate() {
            let (step, started) = (STEP + number, Instant::now());
            let name = format!("importing cache manifest from {source}");
            listener.event(Event::Started { step, name: &name });
            if let Err(error) = imports.add(engine, number, source) {
                let text = format!("the cache {source} is of no use: {error}");
                listener.event(Event::Status { step, text: &text });
                listener.event(Event::Warning { text: &text });
            }
            listener.event(Event::Done { step, elapsed: started.elapsed() });
        }
        imports
    }

    /// What is known of a step.
    pub(in crate::build) fn step(&self, key: &Digest) -> Option<KnownStep> {
        self.steps.get(key).cloned()
    }

    /// What a layer is in a cache of that repository.
    pub(super) fn known_at(&self, repository: &Reference, diff_id: &Digest) -> Option<&Descriptor> {
        let (number, descriptor) = self.layers.get(diff_id)?;
        match &self.sources[*number] {
            CacheSource::Registry(reference) if reference.name() == repository.name() => Some(descriptor),
            _ => None,
        }
    }

    /// Brings a layer into the store.
    pub(in crate::build) fn bring(&self, engine: &Engine, layer: &Layer, lease: &Lease) -> Result<()> {
        let (number, descriptor) = self
            .layers
            .get(&layer.diff_id)
            .ok_or_else(|| Error::not_found(format!("no cache has the layer {}", layer.diff_id)))?;
        let store = engine.store()?;
        let stop = AtomicBool::new(false);
        let take = |source: &dyn Source, origin: Option<Reference>| {
            let options = IngestOptions { keep_blobs: engine.settings().keep_blobs, origin };
            store.sink(None, options, lease).put_blob(&Blob::new(descriptor, source, &Silent, &stop))
        };
        match &self.sources[*number] {
            CacheSource::Registry(reference) => {
                take(&engine.client().source(reference, &Silent)?, Some(reference.name_only()))?;
            }
            CacheSource::Local { directory, tag, digest } => {
                let archive = engine.open_archive(directory)?;
                let image = choose(&archive, directory, tag, digest.as_ref())?;
                take(&archive.source(image), None)?;
            }
        }
        match lease.protect(&[Protected::Layer(&layer.diff_id)])? {
            true => Ok(()),
            false => Err(Error::corrupt(format!(
                "the cache {} has another layer than {} in {}",
                self.sources[*number], layer.diff_id, descriptor.digest
            ))
            .hint("build without --cache-from")),
        }
    }

    fn add(&mut self, engine: &Engine, number: usize, source: &CacheSource) -> Result<()> {
        match source {
            CacheSource::Registry(reference) => {
                self.add_image(number, &engine.client().source(reference, &Silent)?)
            }
            CacheSource::Local { directory, tag, digest } => {
                let archive = engine.open_archive(directory)?;
                let image = choose(&archive, directory, tag, digest.as_ref())?;
                self.add_image(number, &archive.source(image))
            }
        }
    }

    /// A cache of its own, or images that have one inside.
    fn add_image(&mut self, number: usize, source: &dyn Source) -> Result<()> {
        let root = source.root()?;
        if let Some(image) = root.image().filter(|image| image.config.media_type == CONFIG) {
            let config = CacheConfig::parse(&document(source, &image.config)?)?;
            let blobs: HashMap<&str, &Descriptor> =
                image.layers.iter().map(|layer| (layer.digest.as_str(), layer)).collect();
            let layers = config.layers.iter().filter_map(|layer| {
                let diff_id: Digest = layer.annotations.diff_id.parse().ok()?;
                Some((diff_id, (*blobs.get(layer.blob.as_str())?).clone()))
            });
            self.take(number, &config, layers.collect());
            return Ok(());
        }
        let manifests = match root.index() {
            None => vec![root],
            Some(index) => index
                .manifests
                .iter()
                .filter(|child| child.platform.as_ref().is_none_or(|platform| platform.os != "unknown"))
                .map(|child| source.manifest(child))
                .collect::<Result<_>>()?,
        };
        let found = manifests.iter().map(|manifest| self.add_inline(number, source, manifest));
        match found.collect::<Result<Vec<_>>>()?.contains(&true) {
            true => Ok(()),
            false => Err(Error::not_found("there is no build cache in it")),
        }
    }

    /// The cache inside of an image, if there is one.
    fn add_inline(&mut self, number: usize, source: &dyn Source, manifest: &Manifest) -> Result<bool> {
        let Some(image) = manifest.image() else { return Ok(false) };
        if ![media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&image.config.media_type.as_str()) {
            return Ok(false);
        }
        let about = ImageConfig::parse(&document(source, &image.config)?)?;
        let Some(text) = &about.cache else { return Ok(false) };
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| Error::corrupt("the cache inside of the image is damaged").caused_by(error))?;
        let config = CacheConfig::parse(&bytes)?;
        let layers = about.rootfs.diff_ids.into_iter().zip(image.layers.iter().cloned());
        self.take(number, &config, layers.collect());
        Ok(true)
    }

    fn take(&mut self, number: usize, config: &CacheConfig, layers: HashMap<Digest, Descriptor>) {
        for (key, text, diff_ids) in config.steps() {
            // A step without its layers is none.
            let found = diff_ids.iter().map(|diff_id| {
                let descriptor = layers.get(diff_id)?;
                let descriptor = as_here(text, diff_id).unwrap_or_else(|| descriptor.clone());
                Some(Layer { descriptor, diff_id: diff_id.clone() })
            });
            if let Some(layers) = found.collect::<Option<Vec<_>>>() {
                let step = KnownStep { key: key.clone(), document: text.to_owned(), layers };
                self.steps.entry(key).or_insert(step);
            }
        }
        for (diff_id, descriptor) in layers {
            self.layers.entry(diff_id).or_insert((number, descriptor));
        }
    }
}

/// What the exporter's store called the layer, which is what a build here would call it, too.
fn as_here(document: &str, diff_id: &Digest) -> Option<Descriptor> {
    let document: serde_json::Value = serde_json::from_str(document).ok()?;
    let layers: Vec<Layer> = serde_json::from_value(document.get("layers")?.clone()).ok()?;
    let layer = layers.into_iter().find(|layer| layer.diff_id == *diff_id)?;
    Some(layer.descriptor).filter(|descriptor| descriptor.digest == *diff_id)
}

/// A document of a cache, verified and bounded.
fn document(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    if descriptor.size > CONFIG_LIMIT {
        return Err(Error::invalid(format!("its list of steps has more than {CONFIG_LIMIT} bytes")));
    }
    let mut bytes = Vec::new();
    Verified::new(source.blob(descriptor, 0)?, descriptor).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn choose<'a>(
    archive: &'a Archive,
    directory: &Path,
    tag: &str,
    digest: Option<&Digest>,
) -> Result<&'a ArchivedImage> {
    let fits = |image: &&ArchivedImage| match digest {
        Some(digest) => image.target.digest == *digest,
        None => image.tags.iter().any(|own| own == tag),
    };
    archive.images().iter().find(fits).ok_or_else(|| {
        let what = digest.map_or_else(|| tag.to_owned(), Digest::to_string);
        Error::not_found(format!("there is no cache {what} in {}", directory.display()))
    })
}
