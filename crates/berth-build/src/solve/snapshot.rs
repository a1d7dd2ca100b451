//! Where a stage stands after an instruction: layers, configuration, variables.

use super::{BuiltImage, Shared};
use crate::dockerfile::{Scope, Variables};
use crate::host::{BaseImage, Layer};
use berth_oci::{Digest, History, ImageConfig, Platform, RootFs, RuntimeConfig};
use jiff::Timestamp;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Everything but its `rootfs`, which `layers` say.
    pub(crate) image: ImageConfig,
    pub(crate) layers: Vec<Layer>,
    pub(crate) scope: Scope,
    /// For what the stage's programs are.
    pub(crate) platform: Platform,
    /// The stage has said `CMD` itself.
    pub(crate) cmd_is_own: bool,
}

/// Where programs are looked for when the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What history says of who made an entry.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl Snapshot {
    /// `FROM scratch`.
    pub(crate) fn scratch(platform: &Platform) -> Self {
        let config = RuntimeConfig { working_dir: "/".to_owned(), ..RuntimeConfig::default() };
        Self::new(ImageConfig { config, ..ImageConfig::default() }, Vec::new(), platform)
    }

    /// `FROM image`.
    pub(crate) fn of_image(base: BaseImage, platform: &Platform) -> Self {
        Self::new(base.config, base.layers, platform)
    }

    fn new(mut image: ImageConfig, layers: Vec<Layer>, platform: &Platform) -> Self {
        let env = &mut image.config.env;
        if !env.iter().any(|line| line.starts_with("PATH=")) {
            env.push(format!("PATH={PATH}"));
        }
        // What is made here was made now, by whoever says so.
        (image.created, image.author, image.comment, image.docker_version) = (None, None, None, None);
        image.os.clone_from(&platform.os);
        image.architecture.clone_from(&platform.architecture);
        image.variant.clone_from(&platform.variant);
        let scope = Scope::new(Variables::of_image(&image.config.env));
        Self { image, layers, scope, platform: platform.clone(), cmd_is_own: false }
    }

    /// A stage on top of this one.
    pub(crate) fn child(&self) -> Self {
        Self { cmd_is_own: false, ..self.clone() }
    }

    /// Where relative paths start.
    pub(crate) fn working_dir(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            directory => directory,
        }
    }

    /// A path as an instruction means it: absolute, or from the working directory; a slash at its end stays.
    pub(crate) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        let directory = self.working_dir().trim_end_matches('/');
        match path {
            "" | "." => format!("{directory}/"),
            path => format!("{directory}/{path}"),
        }
    }

    /// What runs commands in their shell form.
    pub(crate) fn shell(&self) -> Vec<String> {
        match &self.image.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    /// Stands for everything below the next layer.
    pub(crate) fn chain(&self) -> String {
        let ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        Digest::of(ids.join(" ").as_bytes()).to_string()
    }

    pub(crate) fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    /// An instruction that made a layer.
    pub(crate) fn add_layer(&mut self, layer: Layer, said: &str, now: Timestamp) {
        self.layers.push(layer);
        self.note(format!("{said} # buildkit"), false, now);
    }

    /// An instruction that made none.
    pub(crate) fn note_empty(&mut self, said: impl Into<String>, now: Timestamp) {
        self.note(said.into(), true, now);
    }

    pub(crate) fn note(&mut self, created_by: String, empty_layer: bool, now: Timestamp) {
        self.image.history.push(History {
            created: Some(now.to_string()),
            created_by: Some(created_by),
            author: None,
            comment: Some(COMMENT.to_owned()),
            empty_layer,
        });
    }

    /// The finished image.
    pub(crate) fn image(&self, wanted: &Platform, shared: &Shared<'_>) -> BuiltImage {
        let mut config = self.image.clone();
        config.created = Some(shared.now.to_string());
        config.config.labels.extend(shared.request.labels.iter().cloned());
        config.rootfs = RootFs { diff_ids: self.diff_ids(), ..RootFs::default() };
        BuiltImage { platform: wanted.clone(), config, layers: self.layers.clone() }
    }
}
