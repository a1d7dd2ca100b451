//! `build`: a Dockerfile and a context become an image of the store, or files.
//!
//! Here: the verb, and what the builder asks of this machine. Not here: the language, keys, layers; those are
//! `berth-build`'s. Invariant: an image gets its name when all of it is there.

mod host;
mod output;
mod output_files;
mod step;

pub use host::StepLimits;
pub use output::BuildOutput;

use crate::Engine;
use berth_build::{BuildRequest, BuiltImage, Cancel, Failure, Listener};
use berth_oci::{Descriptor, Digest, Reference, Result};
use host::EngineHost;
use std::collections::BTreeMap;

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

impl Engine {
    /// Builds an image.
    ///
    /// # Errors
    /// The first failure of any step, with its place in the Dockerfile.
    pub fn build(
        &self,
        options: &BuildOptions,
        listener: &dyn Listener,
        cancel: &Cancel,
    ) -> Result<BuildResult, Failure> {
        let store = self.store()?;
        let host = EngineHost { engine: self, limits: &options.limits };
        let built = berth_build::build(store, &host, listener, cancel, &options.request)?;
        let images = built.images.iter().map(|image| self.finished(image, options, &built.lease));
        let images = images.collect::<Result<Vec<_>>>()?;
        let export = output::Export { engine: self, options, images: &images, lease: &built.lease, listener };
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
