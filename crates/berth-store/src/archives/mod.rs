//! Images in files: what `docker save` writes and has written, OCI archives, OCI layout directories.
//!
//! Here: [`Archive`] (opening any of them as sources of images), [`ArchiveWriter`] and [`Layout`] (making them as
//! sinks), [`decompress`]. Not here: the store itself; an archive is copied into it like a registry's image.
//! Invariant: everything in an archive is hostile: names never become paths, sizes never become allocations, and
//! blobs are verified by whoever takes them in.

mod decompress;
mod docker;
mod index;
mod layout;
mod naming;
mod open;
mod source;
mod tar_index;
mod tar_writer;
mod writer;

pub use decompress::decompress;
pub use layout::{Layout, LayoutSink};
pub use open::{Archive, ArchivedImage};
pub use source::ArchiveSource;
pub use writer::{ArchiveFormat, ArchiveSink, ArchiveWriter};
