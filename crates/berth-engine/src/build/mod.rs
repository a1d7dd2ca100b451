//! `build`: a Dockerfile and a context become an image of the store, or files.
//!
//! Here: the verb, and what the builder asks of this machine. Not here: the language, keys, layers; those are
//! `berth-build`'s. Invariant: an image gets its name when all of it is there.

mod annotations;
mod attest;
mod cache;
mod git;
mod host;
mod image_set;
mod keeping;
mod output;
mod output_files;
mod provenance;
mod remote;
mod sbom;
mod step;

pub(crate) use annotations::words_for as annotation_words;
pub use annotations::{Annotated, BuildAnnotation};
pub use attest::{Attestations, ProvenanceDetail};
pub use cache::{CachePlace, CacheSink, CacheSource};
pub use host::StepLimits;
pub use image_set::ImageForm;
pub use keeping::{CacheEntry, CacheKind, CachePrune, CachePruned};
pub use output::{BuildOutput, OutputPlace};
pub use remote::WEB_FILE_LIMIT;

use crate::Engine;
use attest::Predicate;
use berth_build::history::{BuildReport, Recording};
use berth_build::{BuildRequest, Built, BuiltImage, Cancel, Failure, Listener};
use berth_oci::{Descriptor, Digest, Platform, Reference, Result};
use cache::{Exporter, Imports};
use host::EngineHost;
use jiff::Timestamp;
use provenance::Period;
use std::path::PathBuf;

/// A build, and what is to become of it.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// What is built.
    pub request: BuildRequest,
    /// The image's names.
    pub names: Vec<Reference>,
    /// `--annotation`.
    pub annotations: Vec<BuildAnnotation>,
    /// What is said of the image beside it.
    pub attestations: Attestations,
    /// `--cache-from`.
    pub cache_from: Vec<CacheSource>,
    /// `--cache-to`.
    pub cache_to: Vec<CacheSink>,
    /// Whether all layers become one.
    pub squash: bool,
    /// Where the result goes beside the store.
    pub outputs: Vec<BuildOutput>,
    /// Limits of every step.
    pub limits: StepLimits,
    /// Bytes that the build cache may take afterwards; without it, a tenth of the disk.
    pub max_cache: Option<u64>,
}

/// What a build came to.
#[derive(Clone, Debug)]
pub struct BuildResult {
    /// The image; `None` where nothing asked for one.
    pub target: Option<Descriptor>,
    /// The digests of the configurations, one for each platform.
    pub configs: Vec<Digest>,
    /// `--build-arg`s that no stage asked for.
    pub unused_args: Vec<String>,
    /// What provenance says, for each platform, where it was asked for.
    pub provenance: Vec<(Platform, serde_json::Value)>,
}

/// A build that is over, well or not.
#[derive(Debug)]
pub struct BuildOutcome {
    /// What it came to.
    pub result: Result<BuildResult, Failure>,
    /// What its steps came to; it is in the history, too.
    pub report: BuildReport,
    /// Where everything is that it said.
    pub log: PathBuf,
}

impl Engine {
    /// Builds an image, and writes down how that went.
    ///
    /// # Errors
    /// The store cannot be read or written to. A build that fails is an outcome.
    pub fn build(
        &self,
        options: &BuildOptions,
        listener: &dyn Listener,
        cancel: &Cancel,
    ) -> Result<BuildOutcome> {
        let store = self.store()?;
        let recording = Recording::begin(store, listener, &options.request)?;
        let result = self.build_recorded(options, &recording, cancel);
        let log = recording.log_path().to_owned();
        let target = result.as_ref().ok().and_then(|result| Some(result.target.as_ref()?.digest.clone()));
        let names = options.names.iter().map(ToString::to_string).collect();
        let report = recording.finish(target, names, result.as_ref().err())?;
        if report.steps.len() > report.cached() {
            self.limit_build_cache(options.max_cache)?;
        }
        Ok(BuildOutcome { result, report, log })
    }

    fn build_recorded(
        &self,
        options: &BuildOptions,
        recording: &Recording<'_>,
        cancel: &Cancel,
    ) -> Result<BuildResult, Failure> {
        let store = self.store()?;
        let started = Timestamp::now();
        let imports = Imports::read(self, &options.cache_from, recording);
        let host = EngineHost { engine: self, limits: &options.limits, imports: &imports };
        let built = berth_build::build(store, &host, recording, cancel, &options.request)?;
        let images = built.images.iter().map(|image| self.finished(image, options, &built));
        let images = images.collect::<Result<Vec<_>>>()?;
        let period = Period { started, finished: Timestamp::now() };
        let predicates = images.iter().map(|image| self.predicates(image, options, &built, period));
        let predicates = predicates.collect::<Result<Vec<_>>>()?;
        let (lease, listener) = (&built.lease, recording);
        let export = output::Export {
            engine: self,
            options,
            images: &images,
            predicates: &predicates,
            lease,
            listener,
        };
        let target = export.all()?;
        let steps = &built.steps;
        let exporter = Exporter { engine: self, steps, images: &images, imports: &imports, lease, listener };
        exporter.all(&options.cache_to)?;
        let said = images.iter().zip(&predicates).filter_map(|(image, predicates)| {
            let provenance = predicates.iter().find(|predicate| predicate.kind == provenance::KIND)?;
            Some((image.platform.clone(), provenance.value.clone()))
        });
        Ok(BuildResult {
            target,
            configs: images.iter().map(|image| output::config_digest(&image.config)).collect(),
            provenance: said.collect(),
            unused_args: built.unused_args,
        })
    }

    /// What is said of an image.
    fn predicates(
        &self,
        image: &BuiltImage,
        options: &BuildOptions,
        built: &Built,
        period: Period,
    ) -> Result<Vec<Predicate>> {
        let mut predicates = Vec::new();
        if options.attestations.sbom {
            let name = options.names.first().map_or_else(|| "image".to_owned(), Reference::familiar);
            let now = options.request.epoch.and_then(|epoch| Timestamp::from_second(epoch).ok());
            predicates.push(sbom::sbom(self.store()?, image, &name, now.unwrap_or(period.finished))?);
        }
        if let Some(detail) = options.attestations.provenance {
            let materials = built.materials.iter();
            predicates.push(provenance::provenance(&options.request, materials, detail, period));
        }
        Ok(predicates)
    }

    /// The image as it is to be kept.
    fn finished(&self, image: &BuiltImage, options: &BuildOptions, built: &Built) -> Result<BuiltImage> {
        let mut image = match options.squash {
            true => output::squashed(self.store()?, image, &built.lease)?,
            false => image.clone(),
        };
        if options.cache_to.iter().any(|sink| sink.place == CachePlace::Inline) {
            image.config.cache = Some(cache::inline(&built.steps, &image));
        }
        Ok(image)
    }
}
