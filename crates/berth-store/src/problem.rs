//! What [`check`](crate::Store::check) found, as values.
//!
//! Invariant: garbage costs space and nothing else; everything that is not garbage is damage, and named.

use berth_oci::Digest;
use std::fmt;

/// What was checked and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Blobs whose digests were computed.
    pub blobs: u64,
    /// Layers whose diff IDs were computed.
    pub layers: u64,
    /// Images whose parts were looked for.
    pub images: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong, the damage first.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Whether nothing that anybody was promised is missing or wrong. Garbage does not count.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.iter().all(|problem| problem.is_garbage() || problem.repaired.is_some())
    }

    /// Whether there is nothing to say at all.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong with it.
    pub fault: Fault,
    /// With which thing: a digest, a path, a name.
    pub thing: String,
    /// What was done about it, if anything.
    pub repaired: Option<String>,
}

/// Kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// SQLite finds its own structure broken.
    Database,
    /// A row says there is a file, and there is none.
    MissingFile,
    /// A file's bytes have another digest than its name.
    WrongBytes {
        /// The digest they have.
        found: Digest,
    },
    /// A file cannot be read.
    Unreadable(String),
    /// A layer has no index to be mounted by, or a broken one.
    WrongIndex,
    /// A part of an image is not here.
    Incomplete {
        /// The part.
        part: Digest,
    },
    /// A record's figures are not those of its content.
    WrongRecord,
    /// A container has no directory.
    MissingDirectory,
    /// A container's image is damaged or gone.
    ContainerWithoutImage {
        /// The image.
        image: Digest,
    },
    /// A file without a row: what a crash left.
    Orphan,
    /// A container's directory without a container.
    OrphanContainer,
    /// A lease whose process is gone.
    DeadLease,
}

impl Problem {
    pub(crate) fn new(fault: Fault, thing: impl fmt::Display) -> Self {
        Self { fault, thing: thing.to_string(), repaired: None }
    }

    /// Whether it costs space and nothing else.
    #[must_use]
    pub fn is_garbage(&self) -> bool {
        matches!(self.fault, Fault::Orphan | Fault::OrphanContainer | Fault::DeadLease)
    }
}

/// A sentence without what was done about it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thing = &self.thing;
        match &self.fault {
            Fault::Database => write!(f, "the database is damaged: {thing}"),
            Fault::MissingFile => write!(f, "{thing} is on record, but its file is gone"),
            Fault::WrongBytes { found } => write!(f, "{thing} has other bytes: their digest is {found}"),
            Fault::Unreadable(why) => write!(f, "{thing} cannot be read: {why}"),
            Fault::WrongIndex => write!(f, "layer {thing} has no usable index to be mounted by"),
            Fault::Incomplete { part } => write!(f, "image {thing} lacks {part}"),
            Fault::WrongRecord => write!(f, "the record of image {thing} does not fit its content"),
            Fault::MissingDirectory => write!(f, "container {thing} has no directory"),
            Fault::ContainerWithoutImage { image } => {
                write!(f, "container {thing} uses image {image}, which is not completely here")
            }
            Fault::Orphan => write!(f, "{thing} belongs to nothing"),
            Fault::OrphanContainer => write!(f, "{thing} belongs to no container"),
            Fault::DeadLease => write!(f, "lease {thing} was left by a process that died"),
        }
    }
}
