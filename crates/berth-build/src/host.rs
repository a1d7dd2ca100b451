//! What a build asks of the outside: images, files from elsewhere, and running a step. Nothing else leaves this crate.

use crate::cancel::Cancel;
use crate::git_ref::GitRef;
use berth_oci::{Descriptor, Digest, ImageConfig, Platform, Reference, Result};
use berth_store::Lease;
use berth_store::mount::Rootfs;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The world around a build.
pub trait Host: Sync {
    /// An image for a platform, with all of its layers in the store. `ask`: its registry is asked whether the name
    /// means something else by now.
    ///
    /// # Errors
    /// There is none, or not for that platform.
    fn image(&self, reference: &Reference, platform: &Platform, ask: bool) -> Result<BaseImage>;

    /// An image of the store by its digest, for a platform.
    ///
    /// # Errors
    /// It is not there, or not for that platform.
    fn stored(&self, digest: &Digest, platform: &Platform) -> Result<BaseImage>;

    /// What a cache that was brought along knows of a step.
    fn cached(&self, key: &Digest) -> Option<KnownStep>;

    /// Brings the layer of a step that such a cache knows; it is kept for the lease.
    ///
    /// # Errors
    /// It is not there any more, or is not what the cache says it is.
    fn bring(&self, layer: &Layer, lease: &Lease) -> Result<()>;

    /// Runs a step to its end; what it writes goes to `output`.
    ///
    /// # Errors
    /// It could not be started, or the build was cancelled meanwhile.
    fn run(&self, step: &Step<'_>, output: &mut dyn FnMut(&[u8])) -> Result<StepExit>;

    /// Whether programs for that platform run here, as they are or under an emulator.
    ///
    /// # Errors
    /// They do not: why, and what to do about it.
    fn check_platform(&self, platform: &Platform) -> Result<()>;

    /// Fetches a file from the web into `destination`; `None`: it still is what `known` says, and nothing was written.
    ///
    /// # Errors
    /// It is not there, its line broke, or the build was cancelled meanwhile.
    fn fetch(
        &self,
        url: &str,
        known: Option<&WebFile>,
        destination: &Path,
        cancel: &Cancel,
    ) -> Result<Option<WebFile>>;

    /// The commit that an address of a repository means now.
    ///
    /// # Errors
    /// There is none, the repository cannot be asked, or the commit is not the one that was expected.
    fn commit(&self, source: &GitRef, access: &GitAccess, cancel: &Cancel) -> Result<GitCommit>;

    /// The files of a commit as a layer, with `.git` if the address says so; it is kept for the lease.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); the disk is full.
    fn checkout(
        &self,
        source: &GitRef,
        commit: &GitCommit,
        access: &GitAccess,
        lease: &Lease,
        cancel: &Cancel,
    ) -> Result<Layer>;
}

/// A file of the web, as its server describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebFile {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// When it changed last, in seconds since 1970.
    pub modified: Option<i64>,
    /// `ETag`, to ask for it again.
    pub etag: Option<String>,
    /// `Last-Modified`, to ask for it again.
    pub last_modified: Option<String>,
}

/// A commit, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCommit {
    /// Its whole hash.
    pub id: String,
    /// The branch or tag that led to it: `refs/heads/main`.
    pub reference: Option<String>,
}

/// What opens repositories that are not everybody's.
#[derive(Clone, Default)]
pub struct GitAccess {
    /// The value of `Authorization` for the repository's own server.
    pub authorization: Option<String>,
    /// The socket of an SSH agent.
    pub agent: Option<PathBuf>,
}

/// It is a secret.
impl std::fmt::Debug for GitAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitAccess").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// An image to start from.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// The digest that its name means.
    pub digest: Digest,
    /// What it says about itself.
    pub config: ImageConfig,
    /// Its layers, the base first.
    pub layers: Vec<Layer>,
}

/// A step that was done, here or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownStep {
    /// What its result depends on.
    pub key: Digest,
    /// The builder's own words about it.
    pub document: String,
    /// What it made.
    pub layers: Vec<Layer>,
}

/// Something that a build was made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Material {
    /// An image.
    Image {
        /// Its name.
        name: String,
        /// For what.
        platform: String,
        /// What the name meant.
        digest: Digest,
    },
    /// A file of the web.
    Web {
        /// Where.
        url: String,
        /// What it was.
        digest: Digest,
    },
    /// A repository.
    Git {
        /// Where, and which branch or tag.
        url: String,
        /// What that meant.
        commit: String,
    },
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// As manifests have it.
    pub descriptor: Descriptor,
    /// The digest of its tar.
    pub diff_id: Digest,
}

/// A process to be run over layers.
#[derive(Debug)]
pub struct Step<'a> {
    /// Names its cgroup and its directories; unique.
    pub id: &'a str,
    /// A directory that goes with the step.
    pub directory: &'a Path,
    /// Where it runs.
    pub rootfs: &'a Rootfs,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`.
    pub user: String,
    /// Where it starts.
    pub working_dir: String,
    /// What it calls its machine.
    pub hostname: String,
    /// What it sees beside its root.
    pub mounts: Vec<StepMount>,
    /// How it reaches others.
    pub network: StepNetwork,
    /// Whether nothing is held back.
    pub insecure: bool,
    /// Ends it early.
    pub cancel: &'a Cancel,
}

/// Something a step sees beside its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMount {
    /// Where.
    pub target: PathBuf,
    /// What.
    pub source: StepMountSource,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepMountSource {
    /// A file or directory of the host.
    Bind {
        /// Which.
        path: PathBuf,
        /// Whether it cannot be written.
        read_only: bool,
    },
    /// Memory, with a limit in bytes.
    Tmpfs(Option<u64>),
}

/// How a step reaches others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepNetwork {
    /// As a container does.
    Default,
    /// Not at all.
    None,
    /// As the host.
    Host,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepExit {
    /// Its code.
    pub code: i32,
    /// Whether the kernel killed it because memory ran out.
    pub oom_killed: bool,
    /// Processor time of all of its processes, where it is known.
    pub cpu: Option<Duration>,
}
