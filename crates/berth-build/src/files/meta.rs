//! What is known of a file without opening it.

use rustix::fs::{FileType, Stat};

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaKind {
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    /// Cannot be in a layer.
    Socket,
}

/// What `lstat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: MetaKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// How many names it has.
    pub(crate) links: u64,
    /// Which file it is, for as long as it does not change.
    pub(crate) identity: Identity,
}

/// A file and its state: whatever changes the content changes `changed`, which nobody can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970 at which the content changed, as the file says.
    pub(crate) modified: i64,
    /// Nanoseconds since 1970 at which the inode changed, as the kernel says.
    pub(crate) changed: i64,
}

impl Meta {
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == MetaKind::Directory
    }
}

impl From<&Stat> for Meta {
    fn from(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => MetaKind::Directory,
            FileType::Symlink => MetaKind::Symlink,
            FileType::CharacterDevice => MetaKind::CharDevice,
            FileType::BlockDevice => MetaKind::BlockDevice,
            FileType::Fifo => MetaKind::Fifo,
            FileType::Socket => MetaKind::Socket,
            _ => MetaKind::File,
        };
        let moment = |seconds: i64, nanoseconds: u64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.cast_signed())
        };
        let size = stat.st_size.max(0).cast_unsigned();
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            mtime: stat.st_mtime,
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            links: stat.st_nlink,
            identity: Identity {
                device: stat.st_dev,
                inode: stat.st_ino,
                size,
                modified: moment(stat.st_mtime, stat.st_mtime_nsec),
                changed: moment(stat.st_ctime, stat.st_ctime_nsec),
            },
        }
    }
}
