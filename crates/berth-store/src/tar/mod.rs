//! Tar archives, as a stream: bytes are pushed in in pieces of any size, entries come out; and [`Writer`].
//!
//! Here: ustar, v7, star, GNU (long names, base-256 numbers, sparse) and PAX (records, global records, sparse 0.0,
//! 0.1, 1.0), as Go's `archive/tar` and GNU tar read them. Not here: what a path means ([`crate::layer`]), files.
//! Invariant: memory is bounded by [`Limits`] whatever the bytes are, and no bytes make it panic.

mod entry;
mod header;
mod number;
mod pax;
mod scanner;
mod sparse;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

pub use entry::{Device, Entry, EntryKind, FileData, ModificationTime, Segment};
pub use scanner::{Limits, Scanner, Visitor};
pub use writer::{NewEntry, NewKind, Writer};

/// Everything in a tar archive begins at a multiple of this.
pub const BLOCK: usize = 512;

/// The bytes between the end of `size` bytes of content and the next block.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
