//! What a build asks of this machine: images and running steps.

use super::step;
use crate::Engine;
use crate::spec::{ExtraHost, Ulimit};
use berth_build::{BaseImage, Cancel, Fetched, Host, Layer, Step, StepExit};
use berth_oci::{Error, Kind, Platform, Platforms, Reference, Result, Silent};
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
}

impl Host for EngineHost<'_> {
    fn image(&self, reference: &Reference, platform: &Platform, ask: bool) -> Result<BaseImage> {
        if !ask {
            match self.local(reference, platform) {
                Err(error) if error.kind() == Kind::NotFound => {}
                answer => return answer,
            }
        }
        self.engine.pull(reference, &Platforms::One(platform.clone()), &Silent)?;
        self.local(reference, platform)
    }

    fn run(&self, step: &Step<'_>, output: &mut dyn FnMut(&[u8])) -> Result<StepExit> {
        step::run(self.engine, self.limits, step, output)
    }

    fn can_run(&self, platform: &Platform) -> bool {
        Platform::host().rank(platform).is_some() || step::has_emulator(platform)
    }

    fn fetch(&self, url: &str, _destination: &Path, _cancel: &Cancel) -> Result<Fetched> {
        Err(Error::unsupported(format!("ADD {url}: nothing is fetched from the web yet"))
            .hint("download it beside the Dockerfile and COPY it"))
    }
}

impl EngineHost<'_> {
    fn local(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage> {
        let store = self.engine.store()?;
        let record = store.resolve(&reference.to_string())?;
        let found = store.platform_image(&record.target, Some(platform))?;
        let descriptors = found.manifest.image().map(|image| image.layers.clone()).unwrap_or_default();
        let layers = descriptors.into_iter().zip(found.diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
        store.touch(&record.target)?;
        Ok(BaseImage { digest: record.target, config: found.config, layers })
    }
}
