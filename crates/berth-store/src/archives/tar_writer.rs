//! Tar archives as we write them: plain files in the ustar format, the same bytes for the same content.
//!
//! Invariant: an entry's header promises exactly the bytes that follow it, or the write fails.

use berth_oci::{Error, Result};
use std::io::{Read, Write};

const BLOCK: usize = 512;
/// What eleven octal digits hold.
const OCTAL_LIMIT: u64 = 1 << 33;

/// Writes a file of `size` bytes.
pub(super) fn file(out: &mut dyn Write, name: &str, size: u64, bytes: &mut dyn Read) -> Result<()> {
    out.write_all(&header(name, size, b'0')?)?;
    let written = std::io::copy(&mut bytes.take(size), out)?;
    if written != size {
        return Err(Error::corrupt(format!("`{name}` ended after {written} of its {size} bytes")));
    }
    out.write_all(&[0; BLOCK][..(size.wrapping_neg() % BLOCK as u64) as usize])?;
    Ok(())
}

/// Writes a directory.
pub(super) fn directory(out: &mut dyn Write, name: &str) -> Result<()> {
    Ok(out.write_all(&header(name, 0, b'5')?)?)
}

/// Two zero blocks.
pub(super) fn end(out: &mut dyn Write) -> Result<()> {
    Ok(out.write_all(&[0; 2 * BLOCK])?)
}

fn header(name: &str, size: u64, kind: u8) -> Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    if name.len() > 100 {
        return Err(Error::internal(format!("`{name}` is too long a name for the archives we write")));
    }
    let mode = if kind == b'5' { "0000755\0" } else { "0000644\0" };
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, mode.as_bytes());
    put(108, b"0000000\x000000000\0");
    match size < OCTAL_LIMIT {
        true => put(124, format!("{size:011o}\0").as_bytes()),
        // GNU's base-256, which everybody reads.
        false => {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &size.to_be_bytes());
        }
    }
    put(136, b"00000000000\0        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}
