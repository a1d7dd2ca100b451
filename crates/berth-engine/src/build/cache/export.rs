//! `--cache-to`: steps and their layers as an image that is none.
//!
//! Invariant: only what the other side lacks is packed and sent; the list of steps comes after all of its layers.

use super::format::{CONFIG, CacheConfig};
use super::{CachePlace, CacheSink, Imports};
use crate::Engine;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_build::{BuiltImage, Event, KnownStep, Layer, Listener};
use berth_oci::{
    Descriptor, Digest, Error, ImageManifest, Manifest, ManifestBody, Platforms, Reference, Result, Silent,
    Source, copy, media_type,
};
use berth_store::archives::Layout;
use berth_store::{Lease, Packed, Packing, Protected};
use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::time::Instant;

/// What is to be exported.
pub(in crate::build) struct Exporter<'a> {
    pub(in crate::build) engine: &'a Engine,
    pub(in crate::build) steps: &'a [KnownStep],
    pub(in crate::build) images: &'a [BuiltImage],
    pub(in crate::build) imports: &'a Imports,
    pub(in crate::build) lease: &'a Lease,
    pub(in crate::build) listener: &'a dyn Listener,
}

/// The number of the step that progress shows for the first export.
const STEP: usize = usize::MAX / 2 + 1000;

impl Exporter<'_> {
    /// Serves every sink but those that are the image itself.
    pub(in crate::build) fn all(&self, sinks: &[CacheSink]) -> Result<()> {
        for (number, sink) in sinks.iter().enumerate() {
            let name = match &sink.place {
                CachePlace::Registry(_) => "exporting cache to registry",
                CachePlace::Local { .. } => "exporting cache to client directory",
                CachePlace::Inline => continue,
            };
            let (step, started) = (STEP + number, Instant::now());
            self.listener.event(Event::Started { step, name });
            match self.one(sink) {
                Ok(digest) => {
                    let text = format!("writing cache manifest {digest} done");
                    self.listener.event(Event::Status { step, text: &text });
                }
                Err(error) if sink.ignore_error => {
                    let text = format!("the cache was not exported: {error}");
                    self.listener.event(Event::Warning { text: &text });
                }
                Err(error) => {
                    self.listener.event(Event::Failed { step, why: error.message() });
                    return Err(error);
                }
            }
            self.listener.event(Event::Done { step, elapsed: started.elapsed() });
        }
        Ok(())
    }

    fn one(&self, sink: &CacheSink) -> Result<Digest> {
        let own: HashSet<&Digest> =
            self.images.iter().flat_map(|image| &image.layers).map(|layer| &layer.diff_id).collect();
        let is_wanted = |step: &&KnownStep| {
            sink.all_steps || step.layers.iter().all(|layer| own.contains(&layer.diff_id))
        };
        let steps: Vec<&KnownStep> = self.steps.iter().filter(is_wanted).collect();
        let options = self.engine.copying(&Platforms::All);
        let root = match &sink.place {
            CachePlace::Registry(reference) => {
                let cache = self.assemble(&steps, sink.packing, Some(reference))?;
                let none = |_: &Digest| Vec::new();
                copy(&cache, &self.engine.client().sink(reference, &none, &Silent)?, &options, &Silent)?
            }
            CachePlace::Local { directory, tag } => {
                let cache = self.assemble(&steps, sink.packing, None)?;
                let layout = Layout::create(directory)?;
                copy(&cache, &layout.sink(None, Some(tag)), &options, &Silent)?
            }
            CachePlace::Inline => return Err(Error::internal("an inline cache is part of its image")),
        };
        Ok(root.digest().clone())
    }

    fn assemble(&self, steps: &[&KnownStep], packing: Packing, to: Option<&Reference>) -> Result<CacheImage> {
        let mut config = CacheConfig::of(steps.iter().copied());
        let (mut packed, mut layers) = (HashMap::new(), Vec::new());
        for layer in &mut config.layers {
            let diff_id: Digest = layer.annotations.diff_id.parse()?;
            let descriptor = match to.and_then(|to| self.imports.known_at(to, &diff_id)) {
                // It came from there: there it is.
                Some(descriptor) => descriptor.clone(),
                None => {
                    let made = self.pack(steps, &diff_id, packing)?;
                    let descriptor = made.descriptor().clone();
                    packed.insert(descriptor.digest.clone(), made);
                    descriptor
                }
            };
            layer.blob = descriptor.digest.to_string();
            layer.annotations.media_type.clone_from(&descriptor.media_type);
            layer.annotations.size = descriptor.size;
            layers.push(descriptor);
        }
        let config = config.bytes();
        let manifest = Manifest::from_body(ManifestBody::Image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::of(CONFIG, &config),
            layers,
            subject: None,
            annotations: Default::default(),
        }));
        Ok(CacheImage { manifest, config, packed })
    }

    /// A layer in the form in which it leaves; one that is still elsewhere comes first.
    fn pack(&self, steps: &[&KnownStep], diff_id: &Digest, packing: Packing) -> Result<Packed> {
        if !self.lease.protect(&[Protected::Layer(diff_id)])? {
            let find = |layer: &&Layer| layer.diff_id == *diff_id;
            let layer = steps.iter().flat_map(|step| &step.layers).find(find);
            let layer = layer.ok_or_else(|| Error::internal("a layer belongs to no step"))?;
            self.imports.bring(self.engine, layer, self.lease)?;
        }
        self.engine.store()?.pack(diff_id, packing)
    }
}

/// What an image says of the steps that made it.
pub(in crate::build) fn inline(steps: &[KnownStep], image: &BuiltImage) -> String {
    let own: HashSet<&Digest> = image.layers.iter().map(|layer| &layer.diff_id).collect();
    let steps = steps.iter().filter(|step| step.layers.iter().all(|layer| own.contains(&layer.diff_id)));
    STANDARD.encode(CacheConfig::of(steps).bytes())
}

/// The cache as an image.
struct CacheImage {
    manifest: Manifest,
    config: Vec<u8>,
    packed: HashMap<Digest, Packed>,
}

impl Source for CacheImage {
    fn root(&self) -> Result<Manifest> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        Err(Error::not_found(format!("a cache has no manifest {}", descriptor.digest)))
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        match self.packed.get(&descriptor.digest) {
            Some(layer) => Ok(layer.open(offset)?),
            None if descriptor.media_type == CONFIG => {
                let mut config = Cursor::new(&self.config[..]);
                config.set_position(offset);
                Ok(Box::new(config))
            }
            None => Err(Error::not_found(format!(
                "the registry has lost the layer {} of its own cache",
                descriptor.digest
            ))
            .hint("build once without --cache-from, and export it again")),
        }
    }
}
