//! `sync_file_range`: begins to write a file's dirty pages without waiting for them.

use crate::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Starts to write `length` bytes from `offset` on; promises nothing about durability.
pub fn start_writeback(file: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    let signed =
        |number: u64| i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, length) = (signed(offset)?, signed(length)?);
    // SAFETY: an open descriptor and three numbers; no memory of ours is touched.
    let result = unsafe {
        libc::sync_file_range(file.as_fd().as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE)
    };
    check(result.into()).map(drop)
}
