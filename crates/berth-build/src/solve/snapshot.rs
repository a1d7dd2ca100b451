//! Where a stage stands after an instruction: layers, configuration, variables.

use super::step::Outcome;
use super::workdir::clean;
use super::{BuiltImage, Shared, evidence};
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
    /// How it came to its layers.
    pub(crate) lineage: Vec<Link>,
}

/// A step that brought layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) stage: String,
    pub(crate) number: usize,
    /// The instruction as it was written.
    pub(crate) raw: String,
    /// Stands for all layers after it.
    pub(crate) chain: String,
    /// Of `FROM`: the image's name, and its digest.
    pub(crate) image: Option<String>,
    pub(crate) digest: Option<Digest>,
}

/// Where programs are looked for when the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What history says of who made an entry.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Gives entries without a time that of the layer before them, the first ones that of the first layer made here;
/// answers the last one.
fn settle_times(history: &mut [History], now: Timestamp) -> String {
    let own = |entry: &&History| entry.comment.as_deref() == Some(COMMENT) && entry.created.is_some();
    let first =
        history.iter().rposition(|entry| entry.comment.as_deref() != Some(COMMENT)).map_or(0, |at| at + 1);
    let first_made = history[first..].iter().find(own).and_then(|entry| entry.created.clone());
    let before = history[..first].last().and_then(|entry| entry.created.clone());
    let mut last = first_made.or(before).unwrap_or_else(|| now.to_string());
    for entry in &mut history[first..] {
        last = entry.created.get_or_insert(last).clone();
    }
    last
}

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
        image.cache = None;
        image.os.clone_from(&platform.os);
        image.architecture.clone_from(&platform.architecture);
        image.variant.clone_from(&platform.variant);
        let scope = Scope::new(Variables::of_image(&image.config.env));
        Self { image, layers, scope, platform: platform.clone(), cmd_is_own: false, lineage: Vec::new() }
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

    /// A path as an instruction means it: absolute, or from the working directory, clean; a slash at its end stays.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let is_directory = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
        let whole = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.working_dir()),
        };
        let clean = clean(&whole);
        if is_directory && clean != "/" { format!("{clean}/") } else { clean }
    }

    /// What runs commands in their shell form.
    pub(crate) fn shell(&self) -> Vec<String> {
        crate::amend::shell(&self.image.config)
    }

    /// Stands for everything below the next layer.
    pub(crate) fn chain(&self) -> String {
        evidence::chain(self.layers.iter().map(|layer| &layer.diff_id))
    }

    pub(crate) fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    /// An instruction that made a layer.
    pub(crate) fn add_layers(&mut self, outcome: Outcome, said: &str) {
        for layer in outcome.layers {
            self.layers.push(layer);
            self.note(said.to_owned(), Some(outcome.made));
        }
    }

    /// An instruction that made none. It counts as old as the layer before it, so that what was built before is
    /// the same image again.
    pub(crate) fn note_empty(&mut self, said: impl Into<String>) {
        self.note(said.into(), None);
    }

    fn note(&mut self, created_by: String, made: Option<Timestamp>) {
        let empty_layer = made.is_none();
        self.image.history.push(History {
            created: made.map(|made| made.to_string()),
            created_by: Some(created_by),
            author: None,
            comment: Some(COMMENT.to_owned()),
            empty_layer,
        });
    }

    /// The finished image.
    pub(crate) fn image(&self, wanted: &Platform, shared: &Shared<'_>) -> BuiltImage {
        let mut config = self.image.clone();
        config.created = Some(settle_times(&mut config.history, shared.now()));
        config.config.labels.extend(shared.request.labels.iter().cloned());
        config.rootfs = RootFs { diff_ids: self.diff_ids(), ..RootFs::default() };
        BuiltImage { platform: wanted.clone(), config, layers: self.layers.clone() }
    }
}
