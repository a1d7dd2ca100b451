//! A container's output on disk, in docker's json-file format: written by the monitor, read by anyone.
//!
//! Invariant: a line on disk is complete or, at the very end of the newest file, being written; a reader waits for
//! its end.

mod journald;
mod lines;
mod reader;
mod syslog;
mod writer;

pub(crate) use lines::Lines;
pub use lines::Woken;
pub use reader::{Entry, Options, Reader, Stream};
pub(crate) use writer::Writer;

use std::path::{Path, PathBuf};

/// The n-th oldest file; 0 is the one being written.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.into();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
