//! A tree of files copied as it is: owners, modes, times, extended attributes, hard links, holes, devices.
//!
//! Not here: archives. Invariant: both trees are walked by descriptors, so no link that somebody puts in the way
//! leads out of either.

use crate::container::UserRange;
use berth_oci::{Context, Error, Result};
use berth_runtime::in_root;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, fstat, linkat,
    mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Copies what is in the directory `source` into the directory `target`, which also becomes like it.
///
/// # Errors
/// Something cannot be read or written.
pub(crate) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    copy_for(None, source, target)
}

/// The same for users who are these of the host: the copy is theirs.
///
/// # Errors
/// As [`copy`].
pub(crate) fn copy_for(
    users: Option<UserRange>,
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<()> {
    let mut copier = Copier { root: target, users, linked: HashMap::new() };
    copier.directory(source, target, Path::new("/"))?;
    let stat = copier.given(fstat(source).map_err(io::Error::from)?);
    attributes(&source, &target, &stat).context(|| "cannot give a directory its attributes")
}

struct Copier<'a> {
    root: BorrowedFd<'a>,
    users: Option<UserRange>,
    /// Files with several names, by device and inode, and where the first of them is in the target.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn directory(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, path: &Path) -> Result<()> {
        for name in names(source).context(|| cannot("read", path))? {
            let path = path.join(name.to_string_lossy().as_ref());
            self.entry(source, target, &name, &path).context(|| cannot("copy", &path))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
    ) -> Result<()> {
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let key = (stat.st_dev, stat.st_ino);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&key) {
                let first = in_root::locate(self.root, first)?;
                linkat(&first, c"", target, name, AtFlags::EMPTY_PATH).map_err(io::Error::from)?;
                return Ok(());
            }
            self.linked.insert(key, path.to_owned());
        }
        let from = at(source, name)?;
        match kind {
            FileType::Directory => {
                mkdirat(target, name, Mode::RWXU).map_err(io::Error::from)?;
                let to = at(target, name)?;
                self.directory(from.as_fd(), to.as_fd(), path)?;
            }
            FileType::RegularFile => file(source, target, name)?,
            FileType::Symlink => {
                let link = readlinkat(source, name, Vec::new()).map_err(io::Error::from)?;
                symlinkat(link.as_c_str(), target, name).map_err(io::Error::from)?;
            }
            FileType::Socket => return Ok(()),
            kind => mknodat(target, name, kind, Mode::empty(), stat.st_rdev).map_err(io::Error::from)?,
        }
        Ok(attributes(&from, &at(target, name)?, &self.given(stat))?)
    }

    /// With its new owner.
    fn given(&self, mut stat: Stat) -> Stat {
        if let Some(users) = self.users {
            (stat.st_uid, stat.st_gid) = users.outside(stat.st_uid, stat.st_gid);
        }
        stat
    }
}

/// Gives the thing `at`, and everything below it, to a user and a group; `path` is what people call it. What has changed
/// hands already is left alone, so that its times stay.
///
/// # Errors
/// Something cannot be read or given away.
pub(crate) fn give(at: BorrowedFd<'_>, uid: u32, gid: u32, path: &Path) -> Result<()> {
    let stat = fstat(at).map_err(io::Error::from).context(|| cannot("look at", path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        for name in names(at).context(|| cannot("read", path))? {
            let path = path.join(name.to_string_lossy().as_ref());
            let below = self::at(at, &name).context(|| cannot("open", &path))?;
            give(below.as_fd(), uid, gid, &path)?;
        }
    }
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    rustix::fs::chownat(at, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
        .map_err(io::Error::from)
        .context(|| cannot("give away", path))
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} `{}`", path.display())
}

/// The names in a directory, without itself and its parent.
pub(crate) fn names(directory: impl AsFd) -> io::Result<Vec<CString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = openat(directory, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(open)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The thing itself, be it a link.
fn at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

fn file(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = File::from(openat(source, name, read, Mode::empty()).map_err(io::Error::from)?);
    let to = File::from(openat(target, name, write, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?);
    Ok(data(&from, &to)?)
}

/// Only what is not a hole.
fn data(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut position = 0;
    while position < length {
        let start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => position,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start)).unwrap_or(length);
        seek(from, SeekFrom::Start(start))?;
        seek(to, SeekFrom::Start(start))?;
        io::copy(&mut io::Read::take(from, end - start), &mut &*to)?;
        position = end;
    }
    Ok(())
}

/// Owner, mode, extended attributes and times, in the order in which they do not undo each other.
fn attributes(from: &impl AsFd, to: &impl AsFd, stat: &Stat) -> io::Result<()> {
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::chownat(to, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)?;
    // A descriptor of a mere location takes neither modes nor attributes; its name under /proc does.
    let (from, to_path) = (proc_path(from), proc_path(to));
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmod(&to_path, Mode::from_raw_mode(stat.st_mode))?;
        extended(&from, &to_path)?;
    }
    let time = |tv_sec: i64, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec.cast_signed() };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(utimensat(to, c"", &times, AtFlags::EMPTY_PATH)?)
}

fn proc_path(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn extended(from: &str, to: &str) -> io::Result<()> {
    for name in attribute_names(from)? {
        // What overlayfs notes for itself means something only there.
        if [&b"trusted.overlay."[..], b"user.overlay."].iter().any(|own| name.to_bytes().starts_with(own)) {
            continue;
        }
        let value = attribute(from, &name)?;
        match rustix::fs::setxattr(to, name.as_c_str(), &value, rustix::fs::XattrFlags::empty()) {
            // The other file system has no such attributes.
            Err(Errno::OPNOTSUPP) => {}
            set => set?,
        }
    }
    Ok(())
}

/// The kernel's limit for a value, and for all names together (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const ATTRIBUTE_LIMIT: usize = 65536;

/// The extended attributes of what is at `path`, by name.
pub(crate) fn attribute_names(path: &str) -> io::Result<Vec<CString>> {
    let mut list = vec![0_u8; ATTRIBUTE_LIMIT];
    let length = match rustix::fs::listxattr(path, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    list.truncate(length);
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| CString::new(name).map_err(|e| io::Error::other(Error::internal(e.to_string()))))
        .collect()
}

/// The value of one.
pub(crate) fn attribute(path: &str, name: &CStr) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; ATTRIBUTE_LIMIT];
    let length = rustix::fs::getxattr(path, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_tree_is_given_without_following_links() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, outside) = (directory.path().join("a"), directory.path().join("outside"));
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("sub/file"), b"").unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        give(File::open(&tree).unwrap().as_fd(), 7, 8, &tree).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
        for path in ["", "sub", "sub/file", "link"] {
            assert_eq!(owner(&tree.join(path)), (7, 8), "{path}");
        }
        assert_eq!(owner(&outside), owner(directory.path()));
    }

    #[test]
    fn a_copy_is_like_the_original() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(source.join("sub/file"), b"content").unwrap();
        fs::set_permissions(source.join("sub/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::hard_link(source.join("sub/file"), source.join("other")).unwrap();
        symlink("/etc/passwd", source.join("link")).unwrap();
        std::os::unix::fs::chown(source.join("sub"), Some(7), Some(8)).unwrap();
        let name = c"user.note";
        rustix::fs::setxattr(source.join("sub"), name, b"x", rustix::fs::XattrFlags::empty()).unwrap();
        mknodat(rustix::fs::CWD, source.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let sparse = File::create(source.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"end", 32 << 20).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o1777)).unwrap();

        copy(File::open(&source).unwrap().as_fd(), File::open(&target).unwrap().as_fd()).unwrap();
        let stat = |path: &str| fs::symlink_metadata(target.join(path)).unwrap();
        assert_eq!(fs::read(target.join("sub/file")).unwrap(), b"content");
        assert_eq!((stat("sub/file").mode() & 0o7777, stat("sub/file").nlink()), (0o4750, 2));
        assert_eq!(stat("other").ino(), stat("sub/file").ino());
        assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!((stat("sub").uid(), stat("sub").gid()), (7, 8));
        assert_eq!(attribute(target.join("sub").to_str().unwrap(), name).unwrap(), b"x");
        assert_eq!(stat("").mode() & 0o7777, 0o1777);
        assert_eq!(stat("sparse").len(), 64 << 20);
        assert!(stat("sparse").blocks() < 1000, "holes stay holes");
        let modified = |path: &Path| fs::symlink_metadata(path).unwrap().modified().unwrap();
        assert_eq!(modified(&target.join("link")), modified(&source.join("link")));
        assert_eq!(modified(&target.join("sub")), modified(&source.join("sub")));
    }
}
