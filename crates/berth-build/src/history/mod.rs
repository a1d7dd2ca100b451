//! What is known of builds after they are over: a report of each, what several of them teach, and their forms.
//!
//! Here: plain data, its JSON form, the recorder that collects it, advice, traces. Not here: showing it. Invariant:
//! a report holds no contents of files and no secret.

mod advice;
mod plain;
mod recording;
mod trace;

pub use advice::{Advice, advise};
pub use plain::PlainText;
pub use recording::Recording;
pub use trace::chrome_trace;

use berth_oci::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A build that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    /// What it is called.
    pub id: String,
    /// Context and Dockerfile: builds of one project are compared with each other.
    pub project: String,
    /// The context, as it was named.
    pub context: String,
    /// The Dockerfile's name.
    pub dockerfile: String,
    /// `--target`.
    #[serde(default)]
    pub target: Option<String>,
    /// For what it was built.
    pub platforms: Vec<String>,
    /// Whether results from before did not count.
    #[serde(default)]
    pub no_cache: bool,
    /// Whether base images were asked for at their registries.
    #[serde(default)]
    pub pull: bool,
    /// The ignore file's rules, in one line each.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// The image that was made of it.
    #[serde(default)]
    pub image: Option<Digest>,
    /// Its names.
    #[serde(default)]
    pub names: Vec<String>,
    /// Its steps, in the order in which they ended.
    pub steps: Vec<StepReport>,
    /// Stages of the Dockerfile that nobody needed.
    #[serde(default)]
    pub skipped: Vec<String>,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Well.
    Completed,
    /// With an error.
    Error,
    /// Somebody did not want to wait for it.
    Canceled,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// What it is called: `[build 2/3] RUN make`.
    pub name: String,
    /// Its stage's name, or number.
    pub stage: String,
    /// Its place among the steps of the stage.
    pub number: usize,
    /// The instruction as it was written.
    pub text: String,
    /// `FROM`, `RUN`, `COPY`, …
    pub operation: String,
    /// For what.
    #[serde(default)]
    pub platform: String,
    /// Under what its result is kept; of `FROM` the image's digest.
    pub key: Digest,
    /// Stands for all layers after it; empty where it was not finished.
    #[serde(default)]
    pub chain: String,
    /// What became of it.
    pub outcome: StepOutcome,
    /// Why it was done anew.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// When it began, in milliseconds since the build did.
    pub began_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long it took when it was done, in milliseconds: the same, or what was saved.
    pub cost_ms: u64,
    /// Processor time, in milliseconds, where it is known.
    #[serde(default)]
    pub cpu_ms: Option<u64>,
    /// Bytes of its layers' tars.
    #[serde(default)]
    pub bytes: u64,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// Its result was there.
    Cached,
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It was broken off.
    Canceled,
}

/// Why a step was done anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Of which kind.
    pub kind: ReasonKind,
    /// Which file, argument, image or step.
    pub subject: String,
    /// A clause for people: `because …`.
    pub text: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonKind {
    /// This project was not built before.
    FirstBuild,
    /// There was no such instruction.
    NewInstruction,
    /// The instruction says something else.
    Instruction,
    /// A file's contents or attributes changed, or it came or went.
    File,
    /// An argument's value.
    Argument,
    /// A variable's value.
    Environment,
    /// The base image's name means another image.
    Base,
    /// A step before it made something else.
    Earlier,
    /// Its result had been removed.
    Evicted,
    /// It had failed, or had been broken off.
    Unfinished,
    /// Somebody asked for it.
    NoCache,
    /// Anything else that is a part of it: user, directory, network, a mount, …
    Option,
}

impl BuildReport {
    /// Reads one.
    #[must_use]
    pub fn parse(document: &str) -> Option<Self> {
        // What an older berth wrote in other words is forgotten.
        serde_json::from_str(document).ok()
    }

    /// What it is called among people: the context's last part.
    #[must_use]
    pub fn title(&self) -> String {
        let context = self.context.trim_end_matches('/');
        let base = context.rsplit('/').next().filter(|base| !base.is_empty()).unwrap_or(context);
        let mut title = base.to_owned();
        if self.dockerfile != "Dockerfile" && !self.dockerfile.is_empty() {
            title.push('/');
            title.push_str(&self.dockerfile);
        }
        match &self.target {
            Some(target) if !target.is_empty() => format!("{title} ({target})"),
            _ => title,
        }
    }

    /// How many of its steps need not be done.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome == StepOutcome::Cached).count()
    }
}
