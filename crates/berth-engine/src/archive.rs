//! Trees of files as tar streams, both ways: `cp`, `export`, and the archives of volumes.
//!
//! Not here: layers with their whiteouts; those are the store's. Invariant: a tree is walked by descriptors, and a name
//! of an archive is resolved inside the directory that it is unpacked into; no link leads out of either.

use crate::container::UserRange;
use crate::tree::{attribute, attribute_names, names};
use berth_oci::{Context, Error, Result};
use berth_runtime::in_root;
use berth_store::tar::{Device, Entry, EntryKind, Limits, NewEntry, NewKind, Scanner, Visitor, Writer};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchown, fstat, linkat,
    makedev, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Writes the thing called `name` in the directory `parent`, and what is below it, as `shown`; an empty one leaves
/// its own entry out and the rest at the top.
///
/// # Errors
/// It cannot be read, or the sink is full.
pub fn write(parent: BorrowedFd<'_>, name: &CStr, shown: &[u8], out: &mut dyn Write) -> Result<()> {
    write_of(None, parent, name, shown, out)
}

/// The same of the files of users who are these of the host: the archive has the numbers that they know.
pub(crate) fn write_of(
    users: Option<UserRange>,
    parent: BorrowedFd<'_>,
    name: &CStr,
    shown: &[u8],
    out: &mut dyn Write,
) -> Result<()> {
    let mut walk = Walk { writer: Writer::new(out), links: HashMap::new(), users };
    walk.thing(parent, name, shown)?;
    walk.writer.finish().map(drop)
}

struct Walk<W: Write> {
    writer: Writer<W>,
    links: HashMap<(u64, u64), Vec<u8>>,
    users: Option<UserRange>,
}

impl<W: Write> Walk<W> {
    fn thing(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        let shown = || format!("cannot read `{}`", String::from_utf8_lossy(path));
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from).context(shown)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = openat(parent, name, flags, Mode::empty()).map_err(io::Error::from);
                let directory = directory.context(shown)?;
                if !path.is_empty() {
                    self.entry(path, NewKind::Directory, &stat, &attributes(&directory)?, &mut io::empty())?;
                }
                for name in names(&directory).context(shown)? {
                    let inner = if path.is_empty() {
                        name.to_bytes().to_vec()
                    } else {
                        [path, b"/", name.to_bytes()].concat()
                    };
                    self.thing(directory.as_fd(), &name, &inner)?;
                }
                Ok(())
            }
            // A socket lives as long as the process behind it.
            FileType::Socket => Ok(()),
            kind => self.leaf(parent, name, path, &stat, kind).context(shown),
        }
    }

    fn leaf(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> Result<()> {
        let none = BTreeMap::new();
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                return self.entry(path, NewKind::HardLink(&first), stat, &none, &mut io::empty());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let device =
            Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
        let kind = match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(openat(parent, name, flags, Mode::empty()).map_err(io::Error::from)?);
                // What was opened may be another thing than what was looked at.
                let stat = fstat(&file).map_err(io::Error::from)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(Error::conflict("it was replaced while it was read"));
                }
                let size = stat.st_size.cast_unsigned();
                return self.entry(path, NewKind::File(size), &stat, &attributes(&file)?, &mut &file);
            }
            FileType::Symlink => {
                let target = readlinkat(parent, name, Vec::new()).map_err(io::Error::from)?;
                return self.entry(path, NewKind::Symlink(target.as_bytes()), stat, &none, &mut io::empty());
            }
            FileType::CharacterDevice => NewKind::CharDevice(device),
            FileType::BlockDevice => NewKind::BlockDevice(device),
            _ => NewKind::Fifo,
        };
        self.entry(path, kind, stat, &none, &mut io::empty())
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: NewKind<'_>,
        stat: &Stat,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
        content: &mut dyn Read,
    ) -> Result<()> {
        let mode = stat.st_mode & 0o7777;
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        let (uid, gid) = self.users.map_or((uid, gid), |users| users.inside(uid, gid));
        let mtime = stat.st_mtime;
        self.writer.entry(&NewEntry { path, kind, mode, uid, gid, mtime, xattrs }, content)
    }
}

/// What means something elsewhere, too: capabilities, and what people wrote themselves.
fn attributes(file: &impl AsFd) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let mut found = BTreeMap::new();
    for name in attribute_names(&path)? {
        if is_carried(name.to_bytes()) {
            found.insert(name.to_bytes().to_vec(), attribute(&path, &name)?);
        }
    }
    Ok(found)
}

fn is_carried(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.")
}

/// Whose the files are that are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// As the archive has it.
    Archive,
    /// This user's and group's.
    Fixed(u32, u32),
    /// Whoever unpacks.
    Caller,
}

/// Unpacks a tar into the directory `root`. What is there is replaced, but a directory never by something else.
///
/// # Errors
/// It is no tar, a name leads out, or something cannot be made.
pub fn unpack(root: BorrowedFd<'_>, owner: Owner, tar: &mut dyn Read) -> Result<()> {
    unpack_for(None, root, owner, tar)
}

/// The same for users who are these of the host: numbers of the archive and of `owner` are theirs. The calling thread
/// makes files as their root.
pub(crate) fn unpack_for(
    users: Option<UserRange>,
    root: BorrowedFd<'_>,
    owner: Owner,
    tar: &mut dyn Read,
) -> Result<()> {
    let mut unpacker = Unpacker { root, owner, users, current: None, directories: Vec::new() };
    let mut scanner = Scanner::new(Limits::default());
    let mut bytes = vec![0; 256 << 10];
    loop {
        match tar.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => scanner.push(&bytes[..length], &mut unpacker)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    scanner.finish()?;
    unpacker.finish()
}

struct Unpacker<'a> {
    root: BorrowedFd<'a>,
    owner: Owner,
    users: Option<UserRange>,
    current: Option<Current>,
    /// Their times come last, when nothing is made in them any more.
    directories: Vec<(PathBuf, i64)>,
}

/// The file whose bytes come now.
struct Current {
    file: File,
    path: PathBuf,
    segments: Vec<(u64, u64)>,
    size: u64,
    mtime: i64,
    mode: u32,
    owner: (u32, u32),
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Visitor for Unpacker<'_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.end_file()?;
        let path = inside(entry.path)?;
        self.make(entry, &path).context(|| format!("cannot unpack `{}`", path.display()))
    }

    fn data(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        while let Some((offset, length)) = current.segments.first_mut().filter(|_| !bytes.is_empty()) {
            let now = bytes.len().min(usize::try_from(*length).unwrap_or(usize::MAX));
            std::os::unix::fs::FileExt::write_all_at(&current.file, &bytes[..now], *offset)?;
            (*offset, *length) = (*offset + now as u64, *length - now as u64);
            bytes = &bytes[now..];
            if *length == 0 {
                current.segments.remove(0);
            }
        }
        Ok(())
    }
}

/// A name of an archive as a path below the root; `..` is never followed.
fn inside(name: &[u8]) -> Result<PathBuf> {
    let mut path = PathBuf::from("/");
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                return Err(Error::invalid(format!(
                    "`{}` leads out of the archive",
                    String::from_utf8_lossy(name)
                )));
            }
            _ => {}
        }
    }
    Ok(path)
}

impl Unpacker<'_> {
    fn make(&mut self, entry: &Entry<'_>, path: &Path) -> Result<()> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else {
            // The root itself, which is there and is somebody's.
            return Ok(());
        };
        let name = CString::new(name.as_bytes()).map_err(|_| Error::invalid("a name has a zero byte"))?;
        let parent = in_root::make_directories(self.root, parent)?;
        let is_directory = matches!(entry.kind, EntryKind::Directory);
        if self.clear(parent.as_fd(), &name, is_directory)? {
            self.directories.push((path.to_owned(), entry.mtime.seconds));
            let there = self.thing(parent.as_fd(), &name)?;
            return self.describe(&there, entry);
        }
        let mode = Mode::from_raw_mode(u32::from(entry.mode));
        match &entry.kind {
            EntryKind::File(data) => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = File::from(
                    openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?,
                );
                let segments = match data.segments {
                    Some(segments) => segments.iter().map(|s| (s.offset, s.length)).collect(),
                    None => vec![(0, data.size)],
                };
                self.current = Some(Current {
                    file,
                    path: path.to_owned(),
                    segments,
                    size: data.size,
                    mtime: entry.mtime.seconds,
                    mode: u32::from(entry.mode),
                    owner: (entry.uid, entry.gid),
                    attributes: entry.xattrs.clone(),
                });
                return Ok(());
            }
            EntryKind::Directory => {
                mkdirat(&parent, &name, Mode::RWXU).map_err(io::Error::from)?;
                self.directories.push((path.to_owned(), entry.mtime.seconds));
            }
            EntryKind::Symlink(target) => symlinkat(*target, &parent, &name).map_err(io::Error::from)?,
            EntryKind::HardLink(target) => {
                let target = inside(target)?;
                let flags = OFlags::PATH | OFlags::NOFOLLOW;
                let first = in_root::open(self.root, &target, flags)
                    .context(|| format!("its other name `{}`", target.display()))?;
                linkat(&first, c"", &parent, &name, AtFlags::EMPTY_PATH).map_err(io::Error::from)?;
                return Ok(());
            }
            EntryKind::CharDevice(device) => {
                self.node(&parent, &name, FileType::CharacterDevice, mode, *device)?
            }
            EntryKind::BlockDevice(device) => {
                self.node(&parent, &name, FileType::BlockDevice, mode, *device)?
            }
            EntryKind::Fifo => {
                self.node(&parent, &name, FileType::Fifo, mode, Device { major: 0, minor: 0 })?;
            }
        }
        let made = self.thing(parent.as_fd(), &name)?;
        self.describe(&made, entry)
    }

    fn node(&self, parent: &OwnedFd, name: &CStr, kind: FileType, mode: Mode, device: Device) -> Result<()> {
        Ok(mknodat(parent, name, kind, mode, makedev(device.major, device.minor)).map_err(io::Error::from)?)
    }

    /// Takes away what is in the place of a new thing; answers whether a directory stays for a directory.
    fn clear(&self, parent: BorrowedFd<'_>, name: &CStr, for_directory: bool) -> Result<bool> {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => stat.map_err(io::Error::from)?,
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (is_directory, for_directory) {
            (true, true) => Ok(true),
            (true, false) => Err(Error::conflict("cannot overwrite directory with non-directory")),
            (false, true) => Err(Error::conflict("cannot overwrite non-directory with directory")),
            (false, false) => {
                unlinkat(parent, name, AtFlags::empty()).map_err(io::Error::from)?;
                Ok(false)
            }
        }
    }

    fn thing(&self, parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(parent, name, flags, Mode::empty()).map_err(io::Error::from)?)
    }

    fn ids(&self, archived: (u32, u32)) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self.owner {
            Owner::Archive => archived,
            Owner::Fixed(uid, gid) => (uid, gid),
            Owner::Caller => return None,
        };
        let (uid, gid) = self.users.map_or((uid, gid), |users| users.outside(uid, gid));
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Owner, mode and times of what has been made.
    fn describe(&self, made: &OwnedFd, entry: &Entry<'_>) -> Result<()> {
        if let Some((uid, gid)) = self.ids((entry.uid, entry.gid)) {
            let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(made, c"", Some(uid), Some(gid), flags).map_err(io::Error::from)?;
        }
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            // A descriptor of a mere location takes no mode; its name under /proc does.
            let path = format!("/proc/self/fd/{}", made.as_raw_fd());
            rustix::fs::chmod(&path, Mode::from_raw_mode(u32::from(entry.mode))).map_err(io::Error::from)?;
        }
        set_time(made, entry.mtime.seconds)
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let shown = || format!("cannot unpack `{}`", current.path.display());
        current.file.set_len(current.size).context(shown)?;
        if let Some((uid, gid)) = self.ids(current.owner) {
            fchown(&current.file, Some(uid), Some(gid)).map_err(io::Error::from).context(shown)?;
        }
        let mode = Mode::from_raw_mode(current.mode);
        rustix::fs::fchmod(&current.file, mode).map_err(io::Error::from).context(shown)?;
        for (name, value) in current.attributes.iter().filter(|(name, _)| is_carried(name)) {
            let name = CString::new(name.clone()).map_err(|_| Error::invalid("a name has a zero byte"))?;
            match rustix::fs::fsetxattr(&current.file, &name, value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => {}
                set => set.map_err(io::Error::from).context(shown)?,
            }
        }
        set_time(&current.file, current.mtime)
    }

    fn finish(mut self) -> Result<()> {
        self.end_file()?;
        for (path, mtime) in self.directories.iter().rev() {
            let directory =
                in_root::locate_exactly(self.root, path).context(|| path.display().to_string())?;
            set_time(&directory, *mtime)?;
        }
        Ok(())
    }
}

fn set_time(thing: &impl AsFd, seconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(thing, c"", &times, AtFlags::EMPTY_PATH).map_err(io::Error::from)?)
}

/// Runs both ends of a stream at once.
///
/// # Errors
/// The writer's, unless the reader broke the stream; else the reader's.
pub fn pipe<T: Send>(
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()> + Send,
    read: impl FnOnce(&mut (dyn Read + Send)) -> Result<T>,
) -> Result<T> {
    let (mut reader, writer) = io::pipe().context(|| "cannot make a pipe")?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut out = io::BufWriter::with_capacity(256 << 10, writer);
            write(&mut out).and_then(|()| Ok(out.flush()?))
        });
        let answer = read(&mut reader);
        drop(reader);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (written, answer) {
            (Err(error), Ok(_)) => Err(error),
            (_, answer) => answer,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn packed(parent: &Path, name: &CStr, shown: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(File::open(parent).unwrap().as_fd(), name, shown, &mut bytes).unwrap();
        bytes
    }

    fn unpacked(target: &Path, tar: &[u8], owner: Owner) -> Result<()> {
        unpack(File::open(target).unwrap().as_fd(), owner, &mut &tar[..])
    }

    #[test]
    fn there_and_back() {
        let home = tempfile::tempdir().unwrap();
        let (source, target) = (home.path().join("a"), home.path().join("b"));
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(source.join("sub/file"), b"content").unwrap();
        fs::set_permissions(source.join("sub/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        std::os::unix::fs::chown(source.join("sub/file"), Some(7), Some(8)).unwrap();
        fs::set_permissions(source.join("sub/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::hard_link(source.join("sub/file"), source.join("z")).unwrap();
        symlink("/etc/passwd", source.join("link")).unwrap();
        let tar = packed(home.path(), c"a", b"n");
        for _ in 0..2 {
            unpacked(&target, &tar, Owner::Archive).unwrap();
        }
        let stat = |path: &str| fs::symlink_metadata(target.join(path)).unwrap();
        assert_eq!(fs::read(target.join("n/sub/file")).unwrap(), b"content");
        assert_eq!((stat("n/sub/file").mode() & 0o7777, stat("n/sub/file").uid()), (0o4750, 7));
        assert_eq!(stat("n/z").ino(), stat("n/sub/file").ino());
        assert_eq!(fs::read_link(target.join("n/link")).unwrap(), Path::new("/etc/passwd"));
        unpacked(&target, &packed(&source, c".", b""), Owner::Caller).unwrap();
        assert_eq!(stat("sub/file").uid(), 0);
    }

    #[test]
    fn nothing_leads_out() {
        let home = tempfile::tempdir().unwrap();
        let (root, outside) = (home.path().join("root"), home.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(home.path().join("x"), b"x").unwrap();
        symlink(&outside, root.join("out")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        for shown in [&b"out/x"[..], b"up/x", b"../outside/x", b"dir"] {
            let tar = packed(home.path(), c"x", shown);
            let answer = unpacked(&root, &tar, Owner::Archive);
            assert!(answer.is_err(), "{}", String::from_utf8_lossy(shown));
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        }
        // A file in the place of a link replaces the link, not what it leads to.
        fs::write(outside.join("kept"), b"kept").unwrap();
        symlink(outside.join("kept"), root.join("trap")).unwrap();
        unpacked(&root, &packed(home.path(), c"x", b"trap"), Owner::Archive).unwrap();
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::read(root.join("trap")).unwrap(), b"x");
    }
}
