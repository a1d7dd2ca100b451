//! A container's files from outside: `cp`, `export`, `diff`.
//!
//! Invariant: paths of a container are resolved inside its root, whatever its processes put in the way meanwhile.

use super::{Container, UserRange};
use crate::archive::{self, Owner};
use crate::engine::Engine;
use crate::spec::Mount;
use berth_oci::{AtPath, Context, Error, Result};
use berth_runtime::in_root;
use rustix::fs::{FileType, OFlags, fstat};
use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// A symbolic link, which was not followed.
    Link,
    /// Anything else.
    File,
}

impl Engine {
    /// What is at a path of a container; `None` where nothing is. `follow`: a link at the end is followed.
    ///
    /// # Errors
    /// The container's root cannot be opened.
    pub fn path_kind(&self, container: &Container, path: &Path, follow: bool) -> Result<Option<PathKind>> {
        self.with_root(container, |root| {
            let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
            let thing = match in_root::open(root, path, flags) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    return Ok(None);
                }
                thing => thing.context(|| format!("cannot look at `{}`", path.display()))?,
            };
            let stat = fstat(&thing).map_err(io::Error::from)?;
            Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => PathKind::Directory,
                FileType::Symlink => PathKind::Link,
                _ => PathKind::File,
            }))
        })
    }

    /// Writes what is at a path of a container as a tar, called `shown` there; see [`archive::write`].
    ///
    /// # Errors
    /// Nothing is there, or it cannot be read.
    pub fn copy_out(
        &self,
        container: &Container,
        path: &Path,
        follow: bool,
        shown: &[u8],
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        self.with_root(container, |root| {
            let (parent, name) = split(root, path, follow)?;
            let directory = in_root::open(root, &parent, OFlags::PATH | OFlags::DIRECTORY)?;
            archive::write_of(numbers(container), directory.as_fd(), &name, shown, out)
        })
    }

    /// Unpacks a tar into a directory of a container.
    ///
    /// # Errors
    /// There is no such directory, or it is no tar.
    pub fn copy_in(
        &self,
        container: &Container,
        directory: &Path,
        owner: Owner,
        tar: &mut (dyn Read + Send),
    ) -> Result<()> {
        let users = numbers(container);
        self.with_root(container, |root| {
            if let Some(users) = users {
                let (uid, gid) = users.outside(0, 0);
                berth_runtime::become_user_of_files(uid, gid)?;
            }
            let directory = in_root::open(root, directory, OFlags::PATH | OFlags::DIRECTORY)
                .context(|| format!("cannot open `{}` in the container", directory.display()))?;
            archive::unpack_for(users, directory.as_fd(), owner, tar)
        })
    }

    /// The user and group that a container's processes have, for files that are to be theirs.
    ///
    /// # Errors
    /// The container does not know its own user.
    pub fn owner_of(&self, container: &Container) -> Result<Owner> {
        let user = &container.document.process.user;
        if user.is_empty() {
            return Ok(Owner::Archive);
        }
        let root = self.open_root(container)?;
        let identity = berth_runtime::resolve_user(root.as_fd(), user)?;
        Ok(Owner::Fixed(identity.uid, identity.gid))
    }

    /// Writes a container's whole file system, without what is mounted in it, as a tar.
    ///
    /// # Errors
    /// It cannot be read, or the sink is full.
    pub fn export(&self, container: &Container, out: &mut dyn Write) -> Result<()> {
        let root = berth_runtime::open_root(&self.rootfs_of(container)?)?;
        let given = container.document.users.filter(|users| users.is_given);
        archive::write_of(given, root.as_fd(), c".", b"", out)
    }

    /// Calls `work` with the root that the container's processes see, or would see: with its volumes and binds.
    pub(super) fn with_root<T: Send>(
        &self,
        container: &Container,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let binds = self.visible_binds(container)?;
        if container.is_running() || binds.is_empty() {
            let root = self.open_root(container)?;
            // On a thread of its own, which may make files as somebody else.
            return std::thread::scope(|scope| {
                let worked = scope.spawn(|| work(root.as_fd())).join();
                worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
        }
        let rootfs = self.rootfs_of(container)?;
        let place = self.run_dir(&container.id).join("rootfs");
        berth_runtime::in_assembled_root(&rootfs, &binds, &place, work)
    }

    /// What a container that does not run would have mounted in it.
    fn visible_binds(&self, container: &Container) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut binds = Vec::new();
        let directory = self.store()?.container_dir(&container.id);
        for name in ["hosts", "hostname", "resolv.conf"] {
            let file = directory.join(name);
            if file.exists() {
                binds.push((file, Path::new("/etc").join(name)));
            }
        }
        for mount in &container.document.mounts {
            match mount {
                Mount::Bind(bind) if bind.source.exists() => {
                    binds.push((bind.source.clone(), bind.target.clone()));
                }
                Mount::Volume(volume) if volume.subpath.is_none() => {
                    let name = volume.name.as_deref().unwrap_or_default();
                    binds.push((self.store()?.volume_data(name), volume.target.clone()));
                }
                _ => {}
            }
        }
        binds.sort_by_key(|(_, target)| target.components().count());
        Ok(binds)
    }
}

/// The host's users whose files a container's are now. One that does not run shows what lies on the disk: most
/// often its own numbers.
fn numbers(container: &Container) -> Option<UserRange> {
    container.document.users.filter(|users| users.is_given || container.is_running())
}

/// The directory and the name of what a path means, its links followed inside the root.
fn split(root: BorrowedFd<'_>, path: &Path, follow: bool) -> Result<(PathBuf, CString)> {
    let mut path = Path::new("/").join(path);
    for _ in 0..LINKS_LIMIT {
        let Some(name) = path.file_name() else { return Ok((path, c".".to_owned())) };
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        let link = match follow {
            true => in_root::open(root, &path, OFlags::PATH | OFlags::NOFOLLOW)
                .and_then(|thing| Ok(rustix::fs::readlinkat(thing, c"", Vec::new())?))
                .ok(),
            false => None,
        };
        let Some(link) = link else {
            let name = CString::new(name.as_bytes()).map_err(|_| Error::invalid("a path has a zero byte"))?;
            return Ok((parent, name));
        };
        path = parent.join(std::ffi::OsStr::from_bytes(link.as_bytes()));
    }
    Err(Error::invalid(format!("`{}` has too many links", path.display())))
}

/// As many as the kernel follows.
const LINKS_LIMIT: usize = 40;

/// One line of `diff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What happened to it.
    pub kind: DifferenceKind,
    /// Where, absolute.
    pub path: PathBuf,
}

/// What happened to a path since the container was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It has been made.
    Added,
    /// It, or something in it, has been changed.
    Changed,
    /// It has been removed.
    Deleted,
}

impl Engine {
    /// What a container has written, made and removed, by path.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn diff(&self, container: &Container) -> Result<Vec<Difference>> {
        let rootfs = self.layers_of(container)?;
        let stubs = super::commit::stubs(container);
        let walk = Differences { upper: &rootfs.upper, lowers: &rootfs.lowers, stubs: &stubs };
        let mut differences = Vec::new();
        walk.directory(Path::new(""), &mut differences)?;
        Ok(differences)
    }
}

/// The walk through what a container has written.
struct Differences<'a> {
    upper: &'a Path,
    lowers: &'a [PathBuf],
    /// What stands there for the sake of a mount.
    stubs: &'a [Vec<u8>],
}

impl Differences<'_> {
    /// Answers whether anything but stubs is in the directory.
    fn directory(&self, below: &Path, found: &mut Vec<Difference>) -> Result<bool> {
        let directory = self.upper.join(below);
        let entries = fs::read_dir(&directory).at(&directory)?.collect::<io::Result<Vec<_>>>();
        let mut entries = entries.at(&directory)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut has_own = false;
        for entry in entries {
            has_own |= self.entry(&below.join(entry.file_name()), &entry, found)?;
        }
        Ok(has_own)
    }

    fn entry(&self, path: &Path, entry: &fs::DirEntry, found: &mut Vec<Difference>) -> Result<bool> {
        let metadata = entry.metadata().at(entry.path())?;
        let is_whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
        let below = in_image(self.lowers, path);
        let kind = match (is_whiteout, &below) {
            (true, _) => DifferenceKind::Deleted,
            (false, Some(_)) => DifferenceKind::Changed,
            (false, None) => DifferenceKind::Added,
        };
        let at = found.len();
        found.push(Difference { kind, path: Path::new("/").join(path) });
        let has_own = metadata.is_dir() && self.directory(path, found)?;
        let is_stub = self.stubs.iter().any(|stub| stub == path.as_os_str().as_bytes());
        // A directory of the image that only got places for mounts has not been changed by anybody.
        let is_same = |was: &fs::Metadata| {
            metadata.is_dir()
                && was.mode() == metadata.mode()
                && was.uid() == metadata.uid()
                && was.gid() == metadata.gid()
        };
        let is_untouched = match &below {
            Some(was) => is_same(was) && self.has_stub_in(path),
            None => is_stub && (metadata.is_dir() || metadata.len() == 0),
        };
        if !has_own && is_untouched {
            found.truncate(at);
            return Ok(false);
        }
        Ok(true)
    }

    fn has_stub_in(&self, path: &Path) -> bool {
        self.stubs.iter().any(|stub| Path::new(std::ffi::OsStr::from_bytes(stub)).parent() == Some(path))
    }
}

/// What the image has at a path: the uppermost layer that says anything about it decides.
fn in_image(lowers: &[PathBuf], path: &Path) -> Option<fs::Metadata> {
    for lower in lowers {
        match fs::symlink_metadata(lower.join(path)) {
            Ok(metadata) => {
                let is_whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
                return (!is_whiteout).then_some(metadata);
            }
            // A file above it, or a removed directory, hides what is further down.
            Err(_) if is_hidden(lower, path) => return None,
            Err(_) => {}
        }
    }
    None
}

fn is_hidden(lower: &Path, path: &Path) -> bool {
    path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()).any(|parent| {
        let place = lower.join(parent);
        let Ok(metadata) = fs::symlink_metadata(&place) else { return false };
        let mut opaque = [0; 1];
        let is_opaque =
            rustix::fs::getxattr(&place, berth_store::opaque(), &mut opaque[..]) == Ok(1) && opaque == *b"y";
        !metadata.is_dir() || is_opaque || (metadata.rdev() == 0 && metadata.mode() & 0o170_000 == 0o020_000)
    })
}
