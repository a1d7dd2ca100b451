//! The build cache's way to other machines and back: `--cache-to` and `--cache-from`.
//!
//! Here: where such a cache may be. Its form is in `format.rs`. Invariant: a cache from elsewhere that cannot be read
//! is a warning, never the end of a build; one that cannot be written is an error, unless that was said not to matter.

mod export;
mod format;
mod import;

pub(super) use export::{Exporter, inline};
pub(super) use import::Imports;

use berth_oci::{Digest, Reference};
use berth_store::Packing;
use std::fmt;
use std::path::PathBuf;

/// `--cache-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheSource {
    /// In a registry: a cache of its own, or inside of an image.
    Registry(Reference),
    /// In an OCI layout directory.
    Local {
        /// Where.
        directory: PathBuf,
        /// Which one, by its tag.
        tag: String,
        /// Which one, by its digest.
        digest: Option<Digest>,
    },
}

/// `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSink {
    /// Where.
    pub place: CachePlace,
    /// Whether the steps of stages that are not in the image go along (`mode=max`).
    pub all_steps: bool,
    /// How layers are packed.
    pub packing: Packing,
    /// Whether a failure is only a warning.
    pub ignore_error: bool,
}

/// Where a cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// Into a registry.
    Registry(Reference),
    /// Into an OCI layout directory.
    Local {
        /// Where.
        directory: PathBuf,
        /// Its tag.
        tag: String,
    },
    /// Into the image itself.
    Inline,
}

impl fmt::Display for CacheSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => f.write_str(&reference.familiar()),
            Self::Local { directory, .. } => write!(f, "{}", directory.display()),
        }
    }
}
