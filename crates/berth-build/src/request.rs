//! What a build is told: plain data, complete before anything is read.
//!
//! Not here: flags, the environment, what becomes of the result. Invariant: a secret's bytes are here and in the
//! step that asks for them, and nowhere else.

use crate::git_ref::GitRef;
use crate::host::GitAccess;
use crate::ignore::Ignore;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_oci::{Digest, Platform, Reference};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A build to be.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Names context and Dockerfile on this machine: builds of one project are compared with each other.
    pub project: String,
    /// The context as it was named.
    pub context_name: String,
    /// What errors call the Dockerfile.
    pub dockerfile_name: String,
    /// Its bytes.
    pub dockerfile: Vec<u8>,
    /// Where `COPY` and `ADD` find files.
    pub context: ContextSource,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--label`: they are written last.
    pub labels: Vec<(String, String)>,
    /// For what the image is made; one or more.
    pub platforms: Vec<Platform>,
    /// Which steps must be done anew.
    pub no_cache: NoCache,
    /// Whether base images are asked for at their registry.
    pub pull: bool,
    /// `--network`.
    pub network: NetworkChoice,
    /// Secrets by their ids.
    pub secrets: BTreeMap<String, Arc<[u8]>>,
    /// Sockets of SSH agents by their ids.
    pub agents: BTreeMap<String, PathBuf>,
    /// Rights that steps may ask for.
    pub entitlements: Entitlements,
    /// `SOURCE_DATE_EPOCH`: nothing is younger.
    pub epoch: Option<i64>,
    /// Whether each step says why it is done, or not.
    pub explain: bool,
    /// How many steps run at once.
    pub jobs: usize,
}

impl BuildRequest {
    /// What opens a repository.
    #[must_use]
    pub fn git_access(&self, source: &GitRef) -> GitAccess {
        GitAccess::new(&self.secrets, &self.agents, source)
    }

    /// The context that stands for a name, and what it is called: the platform's own, or everybody's.
    #[must_use]
    pub fn named_context(&self, name: &str, platform: &Platform) -> Option<(&str, &NamedContext)> {
        if self.contexts.is_empty() {
            return None;
        }
        let name = context_name(name);
        let own = self.contexts.get_key_value(&format!("{name}::{platform}"));
        own.or_else(|| self.contexts.get_key_value(&name)).map(|(name, context)| (name.as_str(), context))
    }
}

/// A context's name as it is compared: `docker.io/library/alpine:latest` is `alpine`.
#[must_use]
pub fn context_name(text: &str) -> String {
    let text = text.to_lowercase();
    match text.parse::<Reference>() {
        Ok(reference) => {
            let familiar = reference.familiar();
            familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar)
        }
        Err(_) => text,
    }
}

impl GitAccess {
    /// What opens a repository: the secrets that BuildKit, too, looks for, those for its own host first.
    #[must_use]
    pub fn new(
        secrets: &BTreeMap<String, Arc<[u8]>>,
        agents: &BTreeMap<String, PathBuf>,
        source: &GitRef,
    ) -> Self {
        let secret = |name: &str| {
            let bytes = secrets.get(&format!("{name}.{}", source.host())).or_else(|| secrets.get(name))?;
            std::str::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
        };
        let token = || {
            let token = secret("GIT_AUTH_TOKEN")?;
            Some(format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}"))))
        };
        Self {
            authorization: secret("GIT_AUTH_HEADER").or_else(token),
            agent: agents.get("default").cloned(),
        }
    }
}

/// Where files come from.
#[derive(Clone, Debug)]
pub struct ContextSource {
    /// The directory; `None`: there is none, as with a Dockerfile from standard input.
    pub directory: Option<PathBuf>,
    /// What is left out.
    pub ignore: Option<Arc<Ignore>>,
    /// Whether its files are the same files at the next build, so that it pays to remember what was read.
    pub is_stable: bool,
}

/// `--build-context name=…`.
#[derive(Clone, Debug)]
pub enum NamedContext {
    /// A directory of the host.
    Directory {
        /// Where it is.
        path: PathBuf,
        /// Whether its files are the same files at the next build.
        is_stable: bool,
    },
    /// An image of a registry, or one that has a name here.
    Image(Reference),
    /// An image of the store, by its digest.
    Stored(Digest),
}

/// Which steps must be done anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoCache {
    /// All.
    pub all: bool,
    /// Those of these stages.
    pub stages: Vec<String>,
}

/// `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkChoice {
    /// As a container has it.
    #[default]
    Default,
    /// Loopback alone.
    None,
    /// The host's.
    Host,
}

/// Rights that steps may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`.
    pub network_host: bool,
    /// `security.insecure`.
    pub insecure: bool,
}
