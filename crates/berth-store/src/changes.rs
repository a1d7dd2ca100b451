//! What was written over layers, as a layer: an overlay's upper directory becomes a tar.
//!
//! Whiteouts and opaque directories are overlayfs' own signs, so nothing is compared with what lies below.
//! Invariant: names come sorted and times in whole seconds: equal trees make equal bytes.

use crate::lease::Lease;
use crate::overlay;
use crate::store::Store;
use crate::tar::{Device, NewEntry, NewKind, Writer};
use berth_oci::{AtPath, Context, Descriptor, Digest, Error, Result};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

/// How an upper directory is read.
#[derive(Clone, Debug, Default)]
pub struct ChangesOptions {
    /// No file is younger than this: seconds since 1970.
    pub latest: Option<i64>,
    /// Paths that stand there only for the sake of a mount, relative to the root: left out where they are empty.
    pub stubs: Vec<Vec<u8>>,
}

/// The one attribute that a layer carries, as docker's layers do.
const CAPABILITY: &CStr = c"security.capability";

impl Store {
    /// Takes what was written to an overlay's upper directory in as a layer.
    ///
    /// # Errors
    /// It cannot be read, or the disk is full.
    pub fn add_changes(
        &self,
        upper: &Path,
        options: &ChangesOptions,
        lease: &Lease,
    ) -> Result<(Descriptor, Digest)> {
        self.add_written_layer(lease, |out| write_changes(upper, options, out))
    }

    /// Takes in a layer that `write` writes as a tar, while it does so.
    ///
    /// # Errors
    /// `write`'s own, or those of [`add_layer`](Self::add_layer).
    pub fn add_written_layer(
        &self,
        lease: &Lease,
        write: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
    ) -> Result<(Descriptor, Digest)> {
        let (reader, writer) = io::pipe().context(|| "cannot make a pipe")?;
        // A larger pipe means fewer turns; that there may be a limit does not matter.
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
        thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut out = BufWriter::with_capacity(256 << 10, writer);
                write(&mut out).and_then(|()| Ok(out.flush()?))
            });
            let added = self.add_layer(reader, lease);
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A writer that failed ended the archive early, and a reader that failed broke the pipe.
            match (written, added) {
                (Err(error), Err(reading)) if is_broken_pipe(&error) => Err(reading),
                (Err(error), _) => Err(error),
                (Ok(()), added) => added,
            }
        })
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Writes what is in an upper directory as a layer's tar.
///
/// # Errors
/// It cannot be read, or the sink is full.
pub fn write_changes(upper: &Path, options: &ChangesOptions, out: &mut dyn Write) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(upper, flags, Mode::empty()).map_err(io::Error::from).at(upper)?;
    let mut walk = Walk { options, writer: Writer::new(out), links: HashMap::new() };
    if attribute(root.as_fd(), overlay::opaque())?.as_deref() == Some(b"y") {
        walk.whiteout(b".wh..wh..opq")?;
    }
    walk.directory(&root, b"").context(|| format!("what was written to `{}`", upper.display()))?;
    walk.writer.finish().map(drop)
}

struct Walk<'a, W: Write> {
    options: &'a ChangesOptions,
    writer: Writer<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Walk<'_, W> {
    /// Everything in a directory, sorted by name.
    fn directory(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        for name in names(directory)? {
            let inner = join(path, name.as_bytes());
            self.name(directory, &name, &inner)
                .context(|| format!("`{}`", String::from_utf8_lossy(&inner)))?;
        }
        Ok(())
    }

    fn name(&mut self, directory: &OwnedFd, name: &CStr, path: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io::Error::from)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.subdirectory(directory, name, path, &stat),
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                let (parent, last) = split(path);
                self.whiteout(&join(parent, &[b".wh.", last].concat()))
            }
            // A socket lives as long as the process behind it.
            FileType::Socket => Ok(()),
            FileType::RegularFile if stat.st_size == 0 && self.is_stub(path) => Ok(()),
            kind => self.file(directory, name, path, &stat, kind),
        }
    }

    fn subdirectory(&mut self, parent: &OwnedFd, name: &CStr, path: &[u8], stat: &Stat) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(io::Error::from)?;
        if attribute(directory.as_fd(), overlay::redirect())?.is_some() {
            return Err(Error::unsupported("overlayfs only noted that the directory was renamed")
                .hint("switch that off: echo N > /sys/module/overlay/parameters/redirect_dir"));
        }
        if self.is_stub(path) && names(&directory)?.is_empty() {
            return Ok(());
        }
        let attributes = capability(directory.as_fd())?;
        self.entry(path, NewKind::Directory, stat, &attributes, &mut io::empty())?;
        if attribute(directory.as_fd(), overlay::opaque())?.as_deref() == Some(b"y") {
            self.whiteout(&join(path, b".wh..wh..opq"))?;
        }
        self.directory(&directory, path)
    }

    fn file(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> Result<()> {
        let none = BTreeMap::new();
        if stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                Some(first) => {
                    return self.entry(path, NewKind::HardLink(&first), stat, &none, &mut io::empty());
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), path.to_vec())),
            }
        }
        let device =
            Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
        let kind = match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOATIME;
                let file =
                    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(io::Error::from)?;
                let attributes = capability(file.as_fd())?;
                let size = stat.st_size.cast_unsigned();
                return self.entry(path, NewKind::File(size), stat, &attributes, &mut File::from(file));
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(io::Error::from)?;
                return self.entry(path, NewKind::Symlink(target.as_bytes()), stat, &none, &mut io::empty());
            }
            FileType::CharacterDevice => NewKind::CharDevice(device),
            FileType::BlockDevice => NewKind::BlockDevice(device),
            FileType::Fifo => NewKind::Fifo,
            _ => return Err(Error::unsupported("it is of a kind that no layer can hold")),
        };
        self.entry(path, kind, stat, &none, &mut io::empty())
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: NewKind<'_>,
        stat: &Stat,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
        content: &mut dyn io::Read,
    ) -> Result<()> {
        let mode = if matches!(kind, NewKind::Symlink(_)) { 0o777 } else { stat.st_mode & 0o7777 };
        let mtime = stat.st_mtime.min(self.options.latest.unwrap_or(i64::MAX));
        let entry = NewEntry { path, kind, mode, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs };
        self.writer.entry(&entry, content)
    }

    fn is_stub(&self, path: &[u8]) -> bool {
        self.options.stubs.iter().any(|stub| stub == path)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let none = BTreeMap::new();
        let (kind, mode) = (NewKind::File(0), 0);
        let entry = NewEntry { path, kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: &none };
        self.writer.entry(&entry, &mut io::empty())
    }
}

/// The names in a directory, sorted.
fn names(directory: &OwnedFd) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn capability(file: BorrowedFd<'_>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let value = attribute(file, CAPABILITY)?;
    Ok(value.map(|value| (CAPABILITY.to_bytes().to_vec(), value)).into_iter().collect())
}

fn attribute(file: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0; 256];
    match rustix::fs::fgetxattr(file, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        // Longer than any that we look at may be.
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}
