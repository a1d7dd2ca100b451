//! `build`: a Dockerfile and a context become an image of the store, or files.
//!
//! Here: the verb, and what the builder asks of this machine. Not here: the language, keys, layers; those are
//! `berth-build`'s. Invariant: an image gets its name when all of it is there.

mod git;
mod host;
mod output;
mod output_files;
mod remote;
mod step;

pub use host::StepLimits;
pub use output::BuildOutput;
pub use remote::WEB_FILE_LIMIT;

use crate::Engine;
use berth_build::history::{BuildReport, Recording};
use berth_build::{BuildRequest, BuiltImage, Cancel, Failure, Listener};
use berth_oci::{Descriptor, Digest, Reference, Result};
use host::EngineHost;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A build, and what is to become of it.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// What is built.
    pub request: BuildRequest,
    /// The image's names.
    pub names: Vec<Reference>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// Whether all layers become one.
    pub squash: bool,
    /// Where the result goes beside the store.
    pub outputs: Vec<BuildOutput>,
    /// Limits of every step.
    pub limits: StepLimits,
}

/// What a build came to.
#[derive(Clone, Debug)]
pub struct BuildResult {
    /// The image's id; `None` where nothing asked for an image.
    pub target: Option<Digest>,
    /// The digests of the configurations, one for each platform.
    pub configs: Vec<Digest>,
    /// `--build-arg`s that no stage asked for.
    pub unused_args: Vec<String>,
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
        let target = result.as_ref().ok().and_then(|result| result.target.clone());
        let names = options.names.iter().map(ToString::to_string).collect();
        let report = recording.finish(target, names, result.as_ref().err())?;
        Ok(BuildOutcome { result, report, log })
    }

    fn build_recorded(
        &self,
        options: &BuildOptions,
        recording: &Recording<'_>,
        cancel: &Cancel,
    ) -> Result<BuildResult, Failure> {
        let store = self.store()?;
        let host = EngineHost { engine: self, limits: &options.limits };
        let built = berth_build::build(store, &host, recording, cancel, &options.request)?;
        let images = built.images.iter().map(|image| self.finished(image, options, &built.lease));
        let images = images.collect::<Result<Vec<_>>>()?;
        let export = output::Export {
            engine: self,
            options,
            images: &images,
            lease: &built.lease,
            listener: recording,
        };
        let target = export.all()?;
        Ok(BuildResult {
            target,
            configs: images.iter().map(|image| output::config_digest(&image.config)).collect(),
            unused_args: built.unused_args,
        })
    }

    /// The image as it is to be kept.
    fn finished(
        &self,
        image: &BuiltImage,
        options: &BuildOptions,
        lease: &berth_store::Lease,
    ) -> Result<BuiltImage> {
        match options.squash {
            true => output::squashed(self.store()?, image, lease),
            false => Ok(image.clone()),
        }
    }
}

/// The descriptors of an image's layers.
fn descriptors(image: &BuiltImage) -> Vec<Descriptor> {
    image.layers.iter().map(|layer| layer.descriptor.clone()).collect()
}
