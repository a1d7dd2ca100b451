//! What a build asks of this machine: images and running steps.

use super::cache::Imports;
use super::remote::WEB_FILE_LIMIT;
use super::step;
use crate::Engine;
use crate::spec::{ExtraHost, Ulimit};
use berth_build::git_ref::GitRef;
use berth_build::{BaseImage, Cancel, GitAccess, GitCommit, Host, KnownStep, Layer, Step, StepExit, WebFile};
use berth_oci::{Digest, Kind, Platform, Platforms, Reference, Result, Silent};
use berth_store::Lease;
use std::path::Path;

/// Limits of every step.
#[derive(Clone, Debug, Default)]
pub struct StepLimits {
    /// `--shm-size`.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--add-host`.
    pub extra_hosts: Vec<ExtraHost>,
    /// `--memory`.
    pub memory: Option<u64>,
}

/// The engine, as a build sees it.
pub(super) struct EngineHost<'a> {
    pub(super) engine: &'a Engine,
    pub(super) limits: &'a StepLimits,
    pub(super) imports: &'a Imports,
}

impl Host for EngineHost<'_> {
    fn image(&self, reference: &Reference, platform: &Platform, ask: bool) -> Result<BaseImage> {
        if !ask {
            match self.local(&reference.to_string(), platform) {
                Err(error) if error.kind() == Kind::NotFound => {}
                answer => return answer,
            }
        }
        self.engine.pull(reference, &Platforms::One(platform.clone()), &Silent)?;
        self.local(&reference.to_string(), platform)
    }

    fn stored(&self, digest: &Digest, platform: &Platform) -> Result<BaseImage> {
        self.local(digest.as_str(), platform)
    }

    fn cached(&self, key: &Digest) -> Option<KnownStep> {
        self.imports.step(key)
    }

    fn bring(&self, layer: &Layer, lease: &Lease) -> Result<()> {
        self.imports.bring(self.engine, layer, lease)
    }

    fn run(&self, step: &Step<'_>, output: &mut dyn FnMut(&[u8])) -> Result<StepExit> {
        step::run(self.engine, self.limits, step, output)
    }

    fn check_platform(&self, platform: &Platform) -> Result<()> {
        crate::emulator::check(platform)
    }

    fn fetch(
        &self,
        url: &str,
        known: Option<&WebFile>,
        destination: &Path,
        cancel: &Cancel,
    ) -> Result<Option<WebFile>> {
        self.engine.fetch_file(url, known, destination, WEB_FILE_LIMIT, cancel)
    }

    fn commit(&self, source: &GitRef, access: &GitAccess, cancel: &Cancel) -> Result<GitCommit> {
        self.engine.git_commit(source, access, cancel)
    }

    fn checkout(
        &self,
        source: &GitRef,
        commit: &GitCommit,
        access: &GitAccess,
        lease: &Lease,
        cancel: &Cancel,
    ) -> Result<Layer> {
        self.engine.git_checkout(source, commit, access, lease, cancel)
    }
}

impl EngineHost<'_> {
    fn local(&self, name: &str, platform: &Platform) -> Result<BaseImage> {
        let store = self.engine.store()?;
        let record = store.resolve(name)?;
        let found = store.platform_image(&record.target, Some(platform))?;
        let descriptors = found.manifest.image().map(|image| image.layers.clone()).unwrap_or_default();
        let layers = descriptors.into_iter().zip(found.diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
        store.touch(&record.target)?;
        Ok(BaseImage { digest: record.target, config: found.config, layers })
    }
}
