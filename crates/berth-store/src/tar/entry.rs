//! What a [`Scanner`](super::Scanner) tells about an entry. Paths and targets are the archive's own bytes: nothing
//! is normalised here.

use std::collections::BTreeMap;

/// One entry of the archive, with PAX and GNU extensions applied.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The name as written.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind<'a>,
    /// The permission bits, set-id and sticky bits included; nothing above `0o7777`.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content changed.
    pub mtime: ModificationTime,
    /// Extended attributes (`SCHILY.xattr.*`), the prefix taken away.
    pub xattrs: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum EntryKind<'a> {
    /// A file; its bytes follow.
    File(FileData<'a>),
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(&'a [u8]),
    /// Another name for an earlier entry.
    HardLink(&'a [u8]),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, Debug)]
pub struct FileData<'a> {
    /// The file's length.
    pub size: u64,
    /// Where its bytes begin in the archive; a multiple of [`BLOCK`](super::BLOCK).
    pub offset: u64,
    /// How many bytes of the archive belong to it.
    pub stored: u64,
    /// For a sparse file the parts that are stored, one after the other, in ascending order; the rest is zeros.
    pub segments: Option<&'a [Segment]>,
}

/// A stored part of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length, never zero.
    pub length: u64,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The driver; at most 12 bits.
    pub major: u32,
    /// The device; at most 20 bits.
    pub minor: u32,
}

/// Seconds since 1970 and a fraction that counts upwards, also before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModificationTime {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}
