//! Whether a stored layer still is what it was: one pass over the tar, as fast as its digest can be computed.

use berth_oci::{AtPath, Digest, Error, Hasher, Result};
use rustix::fs::Advice;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const BUFFER: usize = 512 << 10;

/// Reads the tar of a layer and compares its digest with the diff ID.
///
/// # Errors
/// The tar cannot be read, or has other bytes (kind `Corrupt`).
pub fn verify(tar: &Path, diff_id: &Digest) -> Result<u64> {
    let mut file = File::open(tar).at(tar)?;
    // Only a wish; the kernel reads ahead either way.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
    let mut hasher = Hasher::new(diff_id.algorithm());
    let mut buffer = vec![0; BUFFER];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer).at(tar)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
    let found = hasher.finish();
    match found == *diff_id {
        true => Ok(length),
        false => Err(Error::corrupt(format!(
            "layer {diff_id} has other bytes on the disk: their digest is {found}"
        ))
        .hint("`berth system check --repair` removes it, so that the next pull fetches it again")),
    }
}
