//! One name of a layer that is being planned, and where its bytes are.

use crate::files::Root;
use berth_oci::{AtPath, Result};
use berth_store::tar::{Device, Segment};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A name of the layer to be.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) kind: MadeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What it is.
#[derive(Clone, Debug)]
pub(crate) enum MadeKind {
    File { size: u64, bytes: Bytes },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// In a tree.
    Tree(Root, Vec<u8>),
    /// Here.
    Inline(Arc<[u8]>),
    /// In a file of the host.
    Host(Arc<PathBuf>),
    /// In an archive, from an offset on; of a sparse file only some parts.
    Archive { file: Arc<File>, offset: u64, segments: Option<Arc<[Segment]>> },
}

impl Made {
    pub(crate) fn directory(mode: u32, uid: u32, gid: u32, mtime: i64) -> Self {
        Self { kind: MadeKind::Directory, mode, uid, gid, mtime, xattrs: BTreeMap::new() }
    }
}

impl Bytes {
    /// Opens them.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Tree(root, path) => Box::new(root.open(path)?),
            Self::Inline(bytes) => Box::new(Cursor::new(bytes)),
            Self::Host(path) => Box::new(File::open(&**path).at(&**path)?),
            Self::Archive { file, offset, segments: None } => Box::new(At { file, position: *offset }),
            Self::Archive { file, offset, segments: Some(segments) } => {
                Box::new(Sparse { stored: At { file, position: *offset }, segments, position: 0 })
            }
        })
    }
}

/// A file from an offset on; whoever else reads it is not disturbed.
struct At<'a> {
    file: &'a File,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// The stored parts with zeros between them; after the last one zeros without end, for the size is known elsewhere.
struct Sparse<'a> {
    stored: At<'a>,
    segments: &'a [Segment],
    position: u64,
}

impl Read for Sparse<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let next = self.segments.iter().find(|segment| segment.offset + segment.length > self.position);
        let hole = next.map_or(u64::MAX, |segment| segment.offset.saturating_sub(self.position));
        let count = if hole > 0 {
            let count = (buffer.len() as u64).min(hole) as usize;
            buffer[..count].fill(0);
            count
        } else {
            let segment = next.expect("without one the hole is endless");
            let left = segment.offset + segment.length - self.position;
            let count = (buffer.len() as u64).min(left) as usize;
            self.stored.read(&mut buffer[..count])?
        };
        self.position += count as u64;
        Ok(count)
    }
}
