//! The second of the two threads: takes digests, writes, scans. It is also what remembers the compressed bytes.

use super::bounds::{Bounds, Guard};
use super::extract::Extractor;
use super::feed::Parcel;
use super::temporary::Temporary;
use super::tree::Tree;
use crate::tar::{Entry, Scanner, Visitor};
use berth_oci::{Algorithm, AtPath, Descriptor, Digest, Error, Hasher, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The kernel is asked to write this much at a time, so that the sync at the end is short.
const WRITEBACK: u64 = 8 << 20;

/// The compressed bytes: their digest, and the file that remembers them.
pub(super) struct Compressed {
    /// `None`: they are the tar's own, whose digest is taken anyway.
    hasher: Option<Hasher>,
    length: u64,
    /// Bytes that are in the file already.
    known: u64,
    file: Option<File>,
    writeback: Writeback,
    expected: Option<u64>,
}

impl Compressed {
    pub(super) fn new(
        hasher: Option<Hasher>,
        expected: Option<&Descriptor>,
        file: Option<File>,
        known: u64,
    ) -> Self {
        let expected = expected.map(|descriptor| descriptor.size);
        Self { hasher, length: 0, known, file, writeback: Writeback::default(), expected }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        let start = self.length;
        self.length += bytes.len() as u64;
        if let Some(size) = self.expected.filter(|&size| self.length > size) {
            return Err(Error::corrupt(format!("it goes on after its {size} bytes")));
        }
        let is_known = self.known.saturating_sub(start).min(bytes.len() as u64) as usize;
        if let Some(file) = &mut self.file {
            file.write_all(&bytes[is_known..])?;
            self.writeback.wrote(file, self.length);
        }
        Ok(())
    }

    /// Digest and length of all that came.
    pub(super) fn finish(self) -> (Option<Digest>, u64) {
        (self.hasher.map(Hasher::finish), self.length)
    }
}

/// What becomes of the tar's bytes.
pub(super) enum Target {
    Erofs { tar: Temporary, tree: Tree },
    Directory(Extractor),
}

/// The uncompressed layer on its way to the disk.
pub(super) struct Settler {
    hasher: Hasher,
    pub(super) length: u64,
    guard: Guard,
    writeback: Writeback,
    pub(super) scanner: Scanner,
    pub(super) target: Target,
}

impl Settler {
    pub(super) fn new(algorithm: Algorithm, bounds: Bounds, target: Target) -> Self {
        Self {
            hasher: Hasher::new(algorithm),
            length: 0,
            guard: Guard::new(bounds),
            writeback: Writeback::default(),
            scanner: Scanner::new(bounds.archive),
            target,
        }
    }

    /// Takes a parcel in; compressed bytes go to `compressed`.
    pub(super) fn take(
        &mut self,
        parcel: &Parcel,
        compressed: Option<&mut Compressed>,
        at: &Path,
    ) -> Result<()> {
        match parcel {
            Parcel::Compressed(buffer) => match compressed {
                Some(compressed) => compressed.take(buffer.filled()),
                None => Ok(()),
            },
            Parcel::Plain { buffer, compressed } => self.plain(buffer.filled(), *compressed, at),
            Parcel::Both(buffer) => {
                if let Some(compressed) = compressed {
                    compressed.take(buffer.filled())?;
                }
                self.plain(buffer.filled(), u64::MAX, at)
            }
        }
    }

    fn plain(&mut self, bytes: &[u8], compressed: u64, at: &Path) -> Result<()> {
        self.guard.admit(bytes.len(), compressed, self.target.file())?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        match &mut self.target {
            Target::Erofs { tar, tree } => {
                tar.file().write_all(bytes).at(at)?;
                self.writeback.wrote(tar.file(), self.length);
                self.scanner.push(bytes, &mut Listener(tree))
            }
            Target::Directory(extractor) => self.scanner.push(bytes, extractor),
        }
    }

    /// The archive is whole; its digest.
    pub(super) fn finish(self) -> Result<(Digest, u64, u64, Target)> {
        self.scanner.finish()?;
        Ok((self.hasher.finish(), self.length, self.scanner.entries(), self.target))
    }
}

impl Target {
    /// A file on the disk that fills.
    fn file(&self) -> &File {
        match self {
            Self::Erofs { tar, .. } => tar.file(),
            Self::Directory(extractor) => extractor.root(),
        }
    }
}

/// Builds the tree; contents stay where they are.
struct Listener<'t>(&'t mut Tree);

impl Visitor for Listener<'_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.0.add(entry).map(drop)
    }

    fn data(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Starts writing early.
#[derive(Default)]
struct Writeback {
    started: u64,
}

impl Writeback {
    fn wrote(&mut self, file: &File, length: u64) {
        if length >= self.started + WRITEBACK {
            // Only a wish: the sync at the end does the same, later.
            let _ = berth_sys::file::start_writeback(file, self.started, length - self.started);
            self.started = length;
        }
    }
}
