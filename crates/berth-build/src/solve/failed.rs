//! A step that failed: what it left of its file system, and what it ran in, for a day.
//!
//! It lies in the store as a step that no key leads to: its layers stay as long as its row does. Invariant: no
//! secret is written down, and what is kept is bounded in number, time and size.

use super::run_mounts::{FILES, copy_tree};
use crate::host::{Layer, StepNetwork};
use berth_oci::{AtPath, Digest, Error, Result};
use berth_store::{ChangesOptions, Lease, NewStep, StepRecord, Store};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A failed step as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStep {
    /// What it is called.
    pub name: String,
    /// For what it ran.
    pub platform: String,
    /// When it failed.
    pub at: Timestamp,
    /// Everything it saw, and on top what it wrote.
    pub layers: Vec<Layer>,
    /// What ran.
    pub args: Vec<String>,
    /// `NAME=value`, without secrets.
    pub env: Vec<String>,
    /// `user[:group]`.
    pub user: String,
    /// Where it ran.
    pub working_dir: String,
    /// What it called its machine.
    pub hostname: String,
    /// How it reached others.
    pub network: StepNetwork,
    /// Whether nothing was held back.
    pub insecure: bool,
    /// What it saw beside its root.
    pub mounts: Vec<KeptMount>,
}

/// A mount that can be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMount {
    /// Where.
    pub target: String,
    /// What.
    pub source: KeptSource,
}

/// What was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum KeptSource {
    /// A cache.
    Bind {
        /// Where it lies.
        path: PathBuf,
        /// Whether it could not be written.
        read_only: bool,
    },
    /// Files of a context, a stage or an image: they are called `files` in a layer of their own.
    Layer {
        /// Which.
        diff_id: Digest,
        /// Whether the step could write to them, for itself.
        #[serde(default)]
        writable: bool,
    },
    /// Memory, with a limit in bytes.
    Tmpfs {
        /// The limit.
        size: Option<u64>,
    },
}

/// What stands in the store's row.
#[derive(Serialize, Deserialize)]
struct Document {
    failed: FailedStep,
    /// As all steps have it.
    name: String,
}

/// Bytes that a failed step may have written to be kept.
const SIZE_LIMIT: u64 = 4 << 30;
/// So many are kept, the last ones.
const COUNT_LIMIT: usize = 5;
/// For so long.
const AGE_LIMIT: SignedDuration = SignedDuration::from_hours(24);

impl FailedStep {
    /// Keeps it, with what lies in `upper` on top; answers its name.
    pub(super) fn keep(mut self, store: &Store, lease: &Lease, upper: &Path) -> Result<Digest> {
        if is_larger(upper, SIZE_LIMIT)? {
            return Err(Error::unsupported(format!("they are more than {} GiB", SIZE_LIMIT >> 30)));
        }
        forget_failed(store, COUNT_LIMIT - 1)?;
        let (descriptor, diff_id) = store.add_changes(upper, &ChangesOptions::default(), lease)?;
        self.layers.push(Layer { descriptor, diff_id });
        let own = self.layers.iter().map(|layer| layer.diff_id.clone());
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.source {
            KeptSource::Layer { diff_id, .. } => Some(diff_id.clone()),
            KeptSource::Bind { .. } | KeptSource::Tmpfs { .. } => None,
        });
        let layers: Vec<Digest> = own.chain(mounted).collect();
        let key = Digest::of(format!("failed {} {} {}", self.name, self.at, lease.name()).as_bytes());
        let name = format!("failed: {}", self.name);
        let document = serde_json::to_string(&Document { failed: self, name }).expect("it has string keys");
        store.put_step(&NewStep { key: &key, document: &document, layers: &layers, cost: Duration::ZERO })?;
        Ok(key)
    }

    /// The failed step in a row, if one is in it.
    #[must_use]
    pub fn of(record: &StepRecord) -> Option<Self> {
        serde_json::from_str::<Document>(&record.document).ok().map(|document| document.failed)
    }

    /// The one whose name begins so; the last one, where none is given.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find(store: &Store, name: &str) -> Result<(Digest, Self)> {
        let mut found: Vec<(Digest, Self)> = store
            .steps()?
            .iter()
            .filter(|record| record.key.hex().starts_with(name))
            .filter_map(|record| Some((record.key.clone(), Self::of(record)?)))
            .collect();
        found.sort_by_key(|(_, step)| step.at);
        match (name, found.len()) {
            (_, 0) => Err(Error::not_found(format!("no failed step {name} is kept"))
                .hint("the last ones are kept for a day; a build that fails names its step")),
            ("", _) | (_, 1) => Ok(found.pop().expect("there is one")),
            _ => Err(Error::invalid(format!("several failed steps begin with {name}"))),
        }
    }

    /// What its files are called in the layer of a mount.
    #[must_use]
    pub fn files() -> &'static str {
        FILES
    }

    /// Copies a mount's files to where they may be changed.
    ///
    /// # Errors
    /// The disk is full.
    pub fn copy(files: &Path, to: &Path) -> Result<()> {
        copy_tree(files, to)
    }
}

/// Forgets failed steps that are too old, and all but the last `most`.
///
/// # Errors
/// The store cannot be written to.
pub(super) fn forget_failed(store: &Store, most: usize) -> Result<()> {
    let oldest = Timestamp::now() - AGE_LIMIT;
    let mut failed: Vec<(Timestamp, Digest)> = store
        .steps()?
        .iter()
        .filter_map(|record| FailedStep::of(record).map(|step| (step.at, record.key.clone())))
        .collect();
    failed.sort();
    let surplus = failed.len().saturating_sub(most);
    let gone = failed.into_iter().enumerate().filter(|(at, (time, _))| *at < surplus || *time < oldest);
    let gone: Vec<Digest> = gone.map(|(_, (_, key))| key).collect();
    if !gone.is_empty() {
        store.remove_steps(&gone)?;
    }
    Ok(())
}

/// Whether a tree takes more than so many bytes of disk.
fn is_larger(directory: &Path, limit: u64) -> Result<bool> {
    let mut pending = vec![directory.to_owned()];
    let mut bytes = 0_u64;
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).at(&directory)? {
            let entry = entry.at(&directory)?;
            let metadata = entry.metadata().at(entry.path())?;
            bytes += metadata.blocks() * 512;
            if bytes > limit {
                return Ok(true);
            }
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(false)
}
