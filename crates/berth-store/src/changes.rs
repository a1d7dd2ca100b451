//! What was written over layers, as a layer: an overlay's upper directory becomes a tar.
//!
//! Whiteouts and opaque directories are overlayfs' own signs. Where what lies below is given, what a step only touched is
//! left out, and an opaque directory becomes a whiteout for each name that it hides: layers that say the same are then
//! the same. Invariant: names come sorted and times in whole seconds: equal trees make equal bytes.

use self::base::Base;
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
use std::path::{Path, PathBuf};
use std::thread;

mod base;

/// How an upper directory is read.
#[derive(Clone, Debug, Default)]
pub struct ChangesOptions {
    /// No file is younger than this: seconds since 1970.
    pub latest: Option<i64>,
    /// The tree that lies below, as a path for this process.
    pub base: Option<PathBuf>,
    /// Paths that stand there only for the sake of a mount, relative to the root: left out where they are empty.
    pub stubs: Vec<Vec<u8>>,
    /// Users that are called otherwise in the layer than on the disk; none where all are called the same.
    pub uids: Vec<Renumbered>,
    /// The same of groups.
    pub gids: Vec<Renumbered>,
}

/// Owners who follow each other, on the disk and in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renumbered {
    /// The first one's number on the disk.
    pub disk: u32,
    /// In the layer.
    pub archive: u32,
    /// How many there are.
    pub count: u32,
}

impl Renumbered {
    /// Whoever has no number in the layer is its root there.
    fn number(table: &[Self], id: u32) -> u32 {
        let found = |row: &Self| {
            let at = id.checked_sub(row.disk).filter(|at| *at < row.count)?;
            Some(row.archive + at)
        };
        if table.is_empty() { id } else { table.iter().find_map(found).unwrap_or_default() }
    }
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
    let base = options.base.as_deref().map(Base::open).transpose()?;
    let mut walk = Walk { options, base, writer: Writer::new(out), links: HashMap::new(), above: Vec::new() };
    let hides = walk.hide(&root, b"", false)?;
    walk.directory(&root, b"", hides).context(|| format!("what was written to `{}`", upper.display()))?;
    walk.writer.finish().map(drop)
}

type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

struct Walk<'a, W: Write> {
    options: &'a ChangesOptions,
    base: Option<Base>,
    writer: Writer<W>,
    /// Directories that lead here and are as they were: written when something in them has to be.
    above: Vec<(Vec<u8>, Stat, Attributes)>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Walk<'_, W> {
    /// Everything in a directory, sorted by name. `hides`: nothing of what lies below is seen in it.
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], hides: bool) -> Result<()> {
        for name in names(directory)? {
            let inner = join(path, name.as_bytes());
            self.name(directory, &name, &inner, hides)
                .context(|| format!("`{}`", String::from_utf8_lossy(&inner)))?;
        }
        Ok(())
    }

    fn name(&mut self, directory: &OwnedFd, name: &CStr, path: &[u8], hides: bool) -> Result<()> {
        let stat = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io::Error::from)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.subdirectory(directory, name, path, &stat, hides),
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

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        hides: bool,
    ) -> Result<()> {
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
        let is_same = match &self.base {
            Some(base) if !hides => base.has_same(path, stat, &attributes, None)?,
            _ => false,
        };
        match is_same {
            true => self.above.push((path.to_vec(), *stat, attributes)),
            false => self.entry(path, NewKind::Directory, stat, &attributes, &mut io::empty())?,
        }
        let hides = self.hide(&directory, path, hides)?;
        self.directory(&directory, path, hides)?;
        if self.above.last().is_some_and(|(above, ..)| above == path) {
            self.above.pop();
        }
        Ok(())
    }

    /// Takes away what an opaque directory hides; answers whether it hides anything.
    fn hide(&mut self, directory: &OwnedFd, path: &[u8], hides: bool) -> Result<bool> {
        if !hides && attribute(directory.as_fd(), overlay::opaque())?.as_deref() != Some(b"y") {
            return Ok(false);
        }
        let Some(base) = &self.base else {
            // All of it, at once; directories in it say nothing more.
            if !hides {
                self.whiteout(&join(path, b".wh..wh..opq"))?;
            }
            return Ok(true);
        };
        let here = names(directory)?;
        for name in base.names(path)?.into_iter().filter(|name| !here.contains(name)) {
            self.whiteout(&join(path, &[b".wh.", name.to_bytes()].concat()))?;
        }
        Ok(true)
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
        if self.is_untouched(directory, name, path, stat, kind)? {
            return Ok(());
        }
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

    /// Whether it is what lies below: overlayfs copies a file up for an owner or a mode that it has already.
    fn is_untouched(
        &self,
        directory: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> Result<bool> {
        let (Some(base), FileType::RegularFile) = (&self.base, kind) else { return Ok(false) };
        if !base.may_have_same(path, stat)? {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOATIME;
        let file = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(io::Error::from)?;
        let attributes = capability(file.as_fd())?;
        base.has_same(path, stat, &attributes, Some(File::from(file)))
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: NewKind<'_>,
        stat: &Stat,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
        content: &mut dyn io::Read,
    ) -> Result<()> {
        for (path, stat, xattrs) in std::mem::take(&mut self.above) {
            self.write(&path, NewKind::Directory, &stat, &xattrs, &mut io::empty())?;
        }
        self.write(path, kind, stat, xattrs, content)
    }

    fn write(
        &mut self,
        path: &[u8],
        kind: NewKind<'_>,
        stat: &Stat,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
        content: &mut dyn io::Read,
    ) -> Result<()> {
        let mode = if matches!(kind, NewKind::Symlink(_)) { 0o777 } else { stat.st_mode & 0o7777 };
        let mtime = stat.st_mtime.min(self.options.latest.unwrap_or(i64::MAX));
        let uid = Renumbered::number(&self.options.uids, stat.st_uid);
        let gid = Renumbered::number(&self.options.gids, stat.st_gid);
        let entry = NewEntry { path, kind, mode, uid, gid, mtime, xattrs };
        self.writer.entry(&entry, content)
    }

    fn is_stub(&self, path: &[u8]) -> bool {
        self.options.stubs.iter().any(|stub| stub == path)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let none = BTreeMap::new();
        for (path, stat, xattrs) in std::mem::take(&mut self.above) {
            self.write(&path, NewKind::Directory, &stat, &xattrs, &mut io::empty())?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Makes files (`a/b=text`) and directories (`a/`), all of one moment.
    fn tree(root: &Path, words: &str) {
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some((name, text)) => {
                    fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
                    fs::write(root.join(name), text).unwrap();
                }
                None => fs::create_dir_all(root.join(word)).unwrap(),
            }
        }
        still(root);
    }

    fn still(path: &Path) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| still(&entry.unwrap().path()));
        }
        File::open(path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn a_layer_says_what_is_new() {
        for (base, upper, opaque, with, without) in [
            // Copied up for nothing.
            ("d/f=1 d/g=2", "d/f=1 d/g=3", "", "d d/g", "d d/f d/g"),
            ("d/e/f=1", "d/e/f=1", "", "", "d d/e d/e/f"),
            ("f=1", "f=12", "", "f", "f"),
            // Removed and made anew.
            ("d/a=1 d/b=2 d/e/x=3", "d/b=9", "d", "d d/.wh.a d/.wh.e d/b", "d d/.wh..wh..opq d/b"),
            ("d/e/x=1", "d/e/y=2", "d", "d d/e d/e/.wh.x d/e/y", "d d/.wh..wh..opq d/e d/e/y"),
            ("d=1", "d/x=2", "d", "d d/x", "d d/.wh..wh..opq d/x"),
            ("", "d/x=2", "d", "d d/x", "d d/.wh..wh..opq d/x"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (below, above) = (directory.path().join("below"), directory.path().join("above"));
            fs::create_dir_all(&below).unwrap();
            fs::create_dir_all(&above).unwrap();
            tree(&below, base);
            tree(&above, upper);
            if !opaque.is_empty() {
                let path = above.join(opaque);
                rustix::fs::setxattr(&path, overlay::opaque(), b"y", rustix::fs::XattrFlags::empty())
                    .unwrap();
            }
            for (base, expected) in [(Some(below), with), (None, without)] {
                let mut tar = Vec::new();
                write_changes(&above, &ChangesOptions { base, ..ChangesOptions::default() }, &mut tar)
                    .unwrap();
                assert_eq!(listed(&tar), expected, "{upper}");
            }
        }
    }

    fn listed(tar: &[u8]) -> String {
        struct Names(Vec<String>);
        impl crate::tar::Visitor for Names {
            fn entry(&mut self, entry: &crate::tar::Entry<'_>) -> Result<()> {
                self.0.push(String::from_utf8_lossy(entry.path).trim_end_matches('/').to_owned());
                Ok(())
            }
            fn data(&mut self, _: &[u8]) -> Result<()> {
                Ok(())
            }
        }
        let mut names = Names(Vec::new());
        let mut scanner = crate::tar::Scanner::new(crate::tar::Limits::default());
        scanner.push(tar, &mut names).unwrap();
        scanner.finish().unwrap();
        names.0.join(" ")
    }
}
