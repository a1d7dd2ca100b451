//! The other form of a layer: real files in a directory, for kernels and users that cannot mount EROFS.
//!
//! Here: files are made straight from the stream, relative to descriptors of their directories, so that no name can
//! lead outside. The [`Tree`] decides what an entry means, which makes both forms equal. Directories get their
//! attributes at the end, when nothing is made in them any more. In a user namespace nobody makes devices, nor attributes
//! for the machine's root: those are left out, as every engine does.

use super::attributes::OPAQUE;
use super::owner::{Owner, given};
use super::tree::{Change, NONE, NameId, Node, NodeId, NodeKind, ROOT, Tree};
use crate::disk;
use crate::overlay::is_of_a_user;
use crate::tar::{Device, Entry, EntryKind, Segment, Visitor};
use berth_oci::{AtPath, Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Directories that stay open.
const OPEN_LIMIT: usize = 64;

/// Makes files while entries come.
pub(super) struct Extractor {
    extracted: Extracted,
    root: File,
    owner: Owner,
    tree: Tree,
    open: HashMap<NodeId, OwnedFd>,
    made: Vec<bool>,
    current: Option<Current>,
}

/// A directory that is removed unless it is taken.
pub(super) struct Extracted {
    path: PathBuf,
    bytes: u64,
    taken: bool,
}

/// The file whose content comes now.
struct Current {
    file: File,
    node: NodeId,
    segments: std::vec::IntoIter<Segment>,
    position: u64,
    left_in_segment: u64,
    size: u64,
}

impl Extracted {
    pub(super) fn disk_bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn into_path(mut self) -> PathBuf {
        self.taken = true;
        self.path.clone()
    }
}

impl Drop for Extracted {
    fn drop(&mut self) {
        if !self.taken {
            // What stays behind lies in a directory that is swept anyway.
            let _ = disk::remove(&self.path);
        }
    }
}

impl Extractor {
    pub(super) fn new(temporary: &Path, owner: Owner) -> Result<Self> {
        let path = temporary.join(disk::random_name()?);
        disk::make_directory(&path)?;
        let root = File::open(&path).at(&path)?;
        let extracted = Extracted { path, bytes: 0, taken: false };
        let (open, made) = (HashMap::new(), vec![true]);
        Ok(Self { extracted, root, owner, tree: Tree::new(), open, made, current: None })
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &File {
        &self.root
    }

    /// All entries have come: directories get their attributes, and everything reaches the disk.
    pub(super) fn finish(mut self) -> Result<Extracted> {
        self.end_file()?;
        for whiteout in self.tree.finish()? {
            self.remove(whiteout)?;
        }
        self.open.clear();
        self.finish_directories()?;
        rustix::fs::syncfs(&self.root).map_err(io::Error::from).at(&self.extracted.path)?;
        Ok(self.extracted)
    }

    /// Children have higher numbers than their parents: from the last to the first, nothing is made or changed in a
    /// directory that is finished.
    fn finish_directories(&mut self) -> Result<()> {
        for id in (0..self.tree.len() as NodeId).rev() {
            let node = self.tree.node(id).clone();
            if node.links > 0 && matches!(node.kind, NodeKind::Directory { .. }) {
                let directory = File::from(self.directory(id)?.try_clone_to_owned()?);
                self.describe(&directory, &node).context(|| self.shown(id, None))?;
                self.open.remove(&id);
            }
        }
        Ok(())
    }

    fn make(&mut self, name: NameId) -> Result<()> {
        let id = self.tree.name(name).node;
        let node = self.tree.node(id).clone();
        match node.kind {
            // Made when something comes into it, or at the end.
            NodeKind::Directory { .. } => Ok(()),
            kind if is_left_out(&kind) => Ok(()),
            NodeKind::File { size, .. } | NodeKind::Sparse { size, .. } => {
                self.make_file(name, id, &node, size)
            }
            _ => self.make_special(name, &node),
        }
    }

    fn make_file(&mut self, name: NameId, id: NodeId, node: &Node, size: u64) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode((node.mode & 0o777).into());
        let file = self.create(name, |parent, text| rustix::fs::openat(parent, text, flags, mode))?;
        let segments = match node.kind {
            NodeKind::Sparse { number, .. } => self.tree.sparse(number).segments.to_vec(),
            _ => vec![Segment { offset: 0, length: size }],
        };
        self.extracted.bytes += segments.iter().map(|s| s.length).sum::<u64>();
        let segments = segments.into_iter();
        self.current =
            Some(Current { file: file.into(), node: id, segments, position: 0, left_in_segment: 0, size });
        Ok(())
    }

    fn make_special(&mut self, name: NameId, node: &Node) -> Result<()> {
        let mode = Mode::from_raw_mode((node.mode & 0o777).into());
        let device = |device: Device| rustix::fs::makedev(device.major, device.minor);
        match node.kind {
            NodeKind::Symlink { offset, length } => {
                let target = self.tree.target(offset, length).to_vec();
                self.create(name, |parent, text| rustix::fs::symlinkat(&target[..], parent, text))
            }
            kind => {
                let (file_type, number) = match kind {
                    NodeKind::CharDevice(number) => (FileType::CharacterDevice, device(number)),
                    NodeKind::BlockDevice(number) => (FileType::BlockDevice, device(number)),
                    NodeKind::Fifo => (FileType::Fifo, 0),
                    _ => (FileType::CharacterDevice, 0),
                };
                self.create(name, |parent, text| rustix::fs::mknodat(parent, text, file_type, mode, number))
            }
        }?;
        let directory = self.tree.name(name).directory;
        self.describe_special(name, node).context(|| self.shown(directory, Some(name)))
    }

    /// Runs `make` for a name; what an earlier entry left there gives way.
    fn create<T>(
        &mut self,
        name: NameId,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T> {
        let directory = self.tree.name(name).directory;
        let text = self.tree.name_text(name).to_vec();
        let parent = self.directory(directory)?;
        let answer = match make(parent, &text) {
            Err(Errno::EXIST) => {
                remove_at(parent, &text).and_then(|()| make(parent, &text).map_err(Into::into))
            }
            answer => answer.map_err(io::Error::from),
        };
        answer.context(|| self.shown(directory, Some(name)))
    }

    fn remove(&mut self, name: NameId) -> Result<()> {
        let directory = self.tree.name(name).directory;
        let text = self.tree.name_text(name).to_vec();
        remove_at(self.directory(directory)?, &text).context(|| self.shown(directory, Some(name)))
    }

    fn link(&mut self, name: NameId, target: NameId) -> Result<()> {
        if is_left_out(&self.tree.node(self.tree.name(target).node).kind) {
            return Ok(());
        }
        let from_text = self.tree.name_text(target).to_vec();
        let from = self.directory(self.tree.name(target).directory)?.try_clone_to_owned()?;
        self.create(name, |parent, text| {
            rustix::fs::linkat(&from, &from_text[..], parent, text, AtFlags::empty())
        })
    }

    /// A descriptor of a directory, which is made if need be, and its parents.
    fn directory(&mut self, id: NodeId) -> Result<BorrowedFd<'_>> {
        let mut missing = Vec::new();
        let mut at = id;
        while at != ROOT && !self.open.contains_key(&at) {
            missing.push(at);
            at = self.tree.parent(at);
        }
        if missing.len() + self.open.len() > OPEN_LIMIT {
            let kept = self.open.remove(&at);
            self.open.clear();
            self.open.extend(kept.map(|kept| (at, kept)));
        }
        for &next in missing.iter().rev() {
            let opened = self.open_directory(at, next)?;
            if missing.len() > OPEN_LIMIT && at != ROOT {
                self.open.remove(&at);
            }
            self.open.insert(next, opened);
            at = next;
        }
        Ok(self.open.get(&id).map_or(self.root.as_fd(), AsFd::as_fd))
    }

    /// Opens a directory in an open one, neither through a link nor out of it.
    fn open_directory(&mut self, parent: NodeId, id: NodeId) -> Result<OwnedFd> {
        let NodeKind::Directory { name, .. } = self.tree.node(id).kind else {
            unreachable!("only directories are opened")
        };
        let text = self.tree.name_text(name);
        let parent_fd = self.open.get(&parent).map_or(self.root.as_fd(), AsFd::as_fd);
        self.made.resize(self.tree.len(), false);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let answer = match self.made[id as usize] {
            true => Ok(()),
            false => make_directory_at(parent_fd, text),
        };
        let opened = answer.and_then(|()| {
            rustix::fs::openat2(parent_fd, text, flags, Mode::empty(), resolve).map_err(io::Error::from)
        });
        self.made[id as usize] = true;
        opened.context(|| self.shown(parent, Some(name)))
    }

    /// The content of the file told last is complete.
    fn end_file(&mut self) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let node = self.tree.node(current.node).clone();
        if matches!(node.kind, NodeKind::Sparse { .. }) {
            current.file.set_len(current.size).at(&self.extracted.path)?;
        }
        self.describe(&current.file, &node).at(&self.extracted.path)
    }

    /// Owner, mode, attributes and times of an open file or directory, in the order in which none undoes another.
    fn describe(&self, file: &File, node: &Node) -> io::Result<()> {
        if self.owner.is_foreign(node.uid, node.gid) {
            let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
            given(rustix::fs::fchown(file, Some(uid), Some(gid)), node.uid, node.gid)?;
        }
        let is_directory = matches!(node.kind, NodeKind::Directory { .. });
        let by_itself = node.mode & 0o777 & !self.owner.umask;
        if is_directory || by_itself != node.mode {
            rustix::fs::fchmod(file, Mode::from_raw_mode(node.mode.into()))?;
        }
        for attribute in self.tree.attributes.of(node.xattrs) {
            let name = name_here(attribute.name());
            let set = rustix::fs::fsetxattr(file, name, &attribute.value, XattrFlags::empty());
            unless_unknown(set, name)?;
        }
        rustix::fs::futimens(file, &times(node)).map_err(Into::into)
    }

    /// The same for what cannot be opened.
    fn describe_special(&mut self, name: NameId, node: &Node) -> Result<()> {
        let text = self.tree.name_text(name).to_vec();
        let is_foreign = self.owner.is_foreign(node.uid, node.gid);
        let parent = self.directory(self.tree.name(name).directory)?.try_clone_to_owned()?;
        let describe = || -> io::Result<()> {
            if is_foreign {
                let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
                let owned = rustix::fs::chownat(&parent, &text[..], uid, gid, AtFlags::SYMLINK_NOFOLLOW);
                given(owned, node.uid, node.gid)?;
            }
            if !matches!(node.kind, NodeKind::Symlink { .. }) {
                let mode = Mode::from_raw_mode(node.mode.into());
                rustix::fs::chmodat(&parent, &text[..], mode, AtFlags::empty())?;
            }
            for attribute in self.tree.attributes.of(node.xattrs) {
                let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), &text[..]].concat();
                let set =
                    rustix::fs::lsetxattr(path, attribute.name(), &attribute.value, XattrFlags::empty());
                unless_unknown(set, attribute.name())?;
            }
            Ok(rustix::fs::utimensat(&parent, &text[..], &times(node), AtFlags::SYMLINK_NOFOLLOW)?)
        };
        describe().map_err(Error::from)
    }

    fn shown(&self, directory: NodeId, name: Option<NameId>) -> String {
        let mut path = self.tree.path(directory);
        if let Some(name) = name.filter(|&name| name != NONE) {
            path.push(b'/');
            path.extend_from_slice(self.tree.name_text(name));
        }
        format!("cannot extract `{}`", String::from_utf8_lossy(&path))
    }
}

impl Visitor for Extractor {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.end_file()?;
        match self.tree.add(entry)? {
            Change::Updated => {}
            Change::Linked { name, target } => self.link(name, target)?,
            Change::Made { name } => self.make(name)?,
        }
        // An ignored entry's content belongs to nobody.
        let has_content = matches!(entry.kind, EntryKind::File(_));
        debug_assert!(has_content || self.current.is_none());
        Ok(())
    }

    fn data(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        while !bytes.is_empty() {
            if current.left_in_segment == 0 {
                let Some(next) = current.segments.next() else {
                    return Err(Error::internal("a file has more content than the archive said"));
                };
                (current.position, current.left_in_segment) = (next.offset, next.length);
                continue;
            }
            let count = current.left_in_segment.min(bytes.len() as u64) as usize;
            current.file.write_all_at(&bytes[..count], current.position).at(&self.extracted.path)?;
            current.position += count as u64;
            current.left_in_segment -= count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

fn times(node: &Node) -> Timestamps {
    let time = Timespec { tv_sec: node.mtime.seconds, tv_nsec: node.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// File systems without extended attributes, or without this kind, are no reason to fail: no engine does. Nor are those
/// that only the machine's root may write.
fn unless_unknown(answer: Result<(), Errno>, name: &[u8]) -> Result<(), Errno> {
    let is_for_root = || name.starts_with(b"trusted.") || name.starts_with(b"security.");
    match answer {
        Err(Errno::NOTSUP) => Ok(()),
        Err(Errno::PERM) if is_of_a_user() && is_for_root() => Ok(()),
        answer => answer,
    }
}

/// The tree knows overlayfs' sign by the name that the machine's root gives it.
fn name_here(name: &[u8]) -> &[u8] {
    if name == OPAQUE.0 { crate::overlay::opaque().to_bytes() } else { name }
}

/// A device, where nobody may make one.
fn is_left_out(kind: &NodeKind) -> bool {
    is_of_a_user() && matches!(kind, NodeKind::CharDevice(_) | NodeKind::BlockDevice(_))
}

fn make_directory_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => {
            remove_at(parent, name)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(Into::into)
        }
        answer => answer.map_err(Into::into),
    }
}

/// Removes whatever has this name, a whole tree if it is one.
fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {
            let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
            let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
            std::fs::remove_dir_all(path)
        }
        answer => answer.map_err(Into::into),
    }
}
