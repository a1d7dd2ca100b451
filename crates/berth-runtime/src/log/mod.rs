//! A container's output on disk, in docker's json-file format: written by the monitor, read by anyone.
//!
//! Older files may be compressed; readers do not notice.
//!
//! Invariant: a line on disk is complete or, at the very end of the newest file, being written; a reader waits for
//! its end.

mod backlog;
mod beside;
mod file;
mod journald;
mod lines;
mod packer;
mod parts;
mod reader;
mod syslog;
mod writer;

pub(crate) use beside::{ROLE as WRITER_ROLE, role as writer_role};
pub(crate) use lines::Lines;
pub use lines::Woken;
pub(crate) use packer::{ROLE as PACKER_ROLE, role as packer_role};
pub(crate) use parts::rotated;
pub use reader::{Entry, Options, Reader, Stream};
pub(crate) use writer::Writer;
