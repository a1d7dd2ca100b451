//! What inflating a layer may cost. A bomb is stopped by proportion, by size, or before the disk is full.

use crate::tar::Limits;
use berth_oci::{Error, Result};
use std::fs::File;
use std::io;

/// The bounds of one ingest.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What the archive may ask of memory.
    pub archive: Limits,
    /// Bytes of the uncompressed layer.
    pub size: u64,
    /// Uncompressed bytes per compressed byte; only counts above [`ratio_from`](Self::ratio_from).
    pub ratio: u64,
    /// Layers up to this size may compress as well as they like.
    pub ratio_from: u64,
    /// Bytes of the disk that stay free.
    pub reserve: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            archive: Limits::default(),
            size: 1 << 40,
            ratio: 1000,
            ratio_from: 1 << 30,
            reserve: 64 << 20,
        }
    }
}

/// How often the disk is asked.
const ASK_EVERY: u64 = 64 << 20;

/// Counts what comes out.
pub(super) struct Guard {
    bounds: Bounds,
    written: u64,
    ask_at: u64,
}

impl Guard {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, written: 0, ask_at: 0 }
    }

    /// `length` more bytes are about to be written to the disk of `file`, out of `compressed` so far.
    pub(super) fn admit(&mut self, length: usize, compressed: u64, file: &File) -> Result<()> {
        self.written += length as u64;
        let bounds = &self.bounds;
        if self.written > bounds.size {
            return Err(Error::unsupported(format!(
                "it is larger than {} MiB when it is unpacked",
                bounds.size >> 20
            )));
        }
        if self.written > bounds.ratio_from && self.written / compressed.max(1) > bounds.ratio {
            return Err(Error::unsupported(format!(
                "{compressed} bytes of it unpack to more than {} MiB: that is a decompression bomb",
                self.written >> 20
            ))
            .hint("if the image is what it should be, ask its publisher for one that is not padded"));
        }
        if self.written > self.ask_at {
            self.ask_at = self.written + ASK_EVERY;
            return leave_room(file, bounds.reserve.saturating_add(ASK_EVERY));
        }
        Ok(())
    }
}

fn leave_room(file: &File, needed: u64) -> Result<()> {
    let disk = rustix::fs::fstatvfs(file).map_err(io::Error::from)?;
    match disk.f_bavail.saturating_mul(disk.f_frsize) < needed {
        true => Err(io::Error::from(io::ErrorKind::StorageFull).into()),
        false => Ok(()),
    }
}
