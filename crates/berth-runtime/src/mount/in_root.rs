//! Paths of a container, resolved by the kernel as if the container's root were `/`: no link leads out.

use berth_oci::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat, symlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// What to make when it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Opens a path inside `root` as a mere location (`O_PATH`).
///
/// # Errors
/// It is not there, or may not be entered.
pub fn locate(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    resolved(root, path, OFlags::PATH, INSIDE)
}

/// The same, where no component may be a link: for the kernel's own file systems, which must be where they say.
///
/// # Errors
/// As [`locate`], and where a component is a link.
pub fn locate_exactly(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    resolved(root, path, OFlags::PATH, INSIDE | ResolveFlags::NO_SYMLINKS)
}

/// Opens a path inside `root` for use.
///
/// # Errors
/// As [`locate`], and what the flags forbid.
pub fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    resolved(root, path, flags, INSIDE)
}

/// When anything is renamed or mounted on the machine while `..` is looked up, the kernel cannot be sure that it stayed
/// inside, and says so. Who renames without end has only so many tries to keep us from it.
fn resolved(root: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    for _ in 1..MOST_TRIES {
        match openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            answer => return Ok(answer?),
        }
    }
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
}

const MOST_TRIES: usize = 1000;

/// [`locate`], making what is missing on the way, as root and with docker's modes. A link that leads to nothing leads to
/// what is made: images have `/etc/resolv.conf` lead to a file of a service that does not run in containers.
///
/// # Errors
/// It cannot be made or opened.
pub fn locate_or_make(root: impl AsFd, path: &Path, missing: Missing) -> Result<OwnedFd> {
    let root = root.as_fd();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match locate(root, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result.context(|| cannot_open(&path)),
        }
        match link_at(root, &path) {
            Some(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            None => return make(root, &path, missing),
        }
    }
    Err(Error::invalid(format!("`{}` in the container's root is behind too many links", path.display())))
}

/// The same, but a link that is there already is not followed: the place is the link itself.
///
/// # Errors
/// It cannot be made or opened.
pub fn locate_itself_or_make(root: impl AsFd, path: &Path, missing: Missing) -> Result<OwnedFd> {
    let (parent, name) = split(path)?;
    let parent = make_directories(&root, &parent)?;
    make_at(&parent, &name, missing).context(|| cannot_make(path))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, &name, flags, Mode::empty())
        .map_err(io::Error::from)
        .context(|| cannot_open(path))
}

/// Makes a link with this text, unless it is there already; the directories above it, too.
///
/// # Errors
/// Something else is in its place.
pub fn make_link(root: impl AsFd, path: &Path, text: &CStr) -> Result<()> {
    let (parent, name) = split(path)?;
    let parent = make_directories(root, &parent)?;
    match symlinkat(text, &parent, &name) {
        Err(Errno::EXIST) if readlinkat(&parent, &name, Vec::new()).is_ok_and(|there| *there == *text) => {
            Ok(())
        }
        made => made.map_err(io::Error::from).context(|| cannot_make(path)),
    }
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where a link leads whose own place is there.
fn link_at(root: BorrowedFd<'_>, path: &Path) -> Option<PathBuf> {
    let link = open(root, path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    let target = readlinkat(&link, c"", Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

fn make(root: BorrowedFd<'_>, path: &Path, missing: Missing) -> Result<OwnedFd> {
    let (parent, name) = split(path)?;
    let parent = make_directories(root, &parent)?;
    make_at(&parent, &name, missing).context(|| cannot_make(path))?;
    locate(root, path).context(|| cannot_open(path))
}

/// Where nothing of that name is yet.
fn make_at(parent: &OwnedFd, name: &OsStr, missing: Missing) -> io::Result<()> {
    let made = match missing {
        Missing::Directory => mkdirat(parent, name, Mode::from(0o755)),
        // EXCL never follows a link: one that has come into the place meanwhile is an error, not a way out.
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from(0o755)).map(drop)
        }
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory and those above it; answers the last one.
///
/// # Errors
/// One cannot be made.
pub fn make_directories(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let root = root.as_fd();
    let mut current = locate(root, Path::new("/")).context(|| cannot_open(path))?;
    let mut so_far = PathBuf::from("/");
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => {
                so_far.push("..");
                current = locate(root, &so_far).context(|| cannot_open(path))?;
                continue;
            }
            _ => continue,
        };
        match mkdirat(&current, name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io::Error::from(error)).context(|| cannot_make(path)),
        }
        so_far.push(name);
        // From the root each time: a link on the way is followed inside the root, wherever it leads.
        current = locate(root, &so_far).context(|| cannot_open(path))?;
    }
    Ok(current)
}

/// Parent and last name, which is not `..`.
fn split(path: &Path) -> Result<(PathBuf, OsString)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.into(), name.into())),
        _ => Err(Error::invalid(format!("`{}` is not a path in a container", path.display()))),
    }
}

fn cannot_open(path: &Path) -> String {
    format!("cannot open `{}` in the container's root", path.display())
}

fn cannot_make(path: &Path) -> String {
    format!("cannot make `{}` in the container's root", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    fn check(prepare: impl Fn(&Path, &Path), path: &str, expected: Result<&str, ()>) {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        prepare(&root, &outside);
        let made = locate_or_make(File::open(&root).unwrap(), Path::new(path), Missing::Directory);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{path} reached the outside");
        match expected {
            Ok(there) => {
                made.unwrap();
                assert!(root.join(there).is_dir(), "{path}");
            }
            Err(()) => assert!(made.is_err(), "{path}"),
        }
    }

    #[test]
    fn no_link_leads_out() {
        check(|_, _| (), "/a/b/c", Ok("a/b/c"));
        check(|root, outside| symlink(outside, root.join("abs")).unwrap(), "/abs/x", Err(()));
        check(|root, _| symlink("../outside", root.join("up")).unwrap(), "/up/x", Err(()));
        check(|root, _| symlink("/", root.join("slash")).unwrap(), "/slash/x", Ok("x"));
        check(|root, _| symlink("../../../../../../..", root.join("top")).unwrap(), "/top/x", Ok("x"));
        check(
            |root, outside| symlink(outside.join("x"), root.join("dangling")).unwrap(),
            "/dangling",
            Ok(""),
        );
        check(|root, _| symlink("../../run/x", root.join("dangling")).unwrap(), "/dangling", Ok("run/x"));
        check(|root, _| symlink("b/../c", root.join("a")).unwrap(), "/a", Ok("c"));
        check(|root, _| symlink("a", root.join("a")).unwrap(), "/a", Err(()));
        check(|root, _| fs::create_dir(root.join("d")).unwrap(), "/d/../e", Ok("e"));
        check(|root, _| symlink("/proc/self/root", root.join("magic")).unwrap(), "/magic/x", Err(()));
    }

    /// Whoever renames anything on the machine makes the kernel unsure of where `..` leads.
    #[test]
    fn renames_elsewhere_are_no_reason_to_fail() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/a/b")).unwrap();
        let root = File::open(dir.path().join("root")).unwrap();
        let ends = std::sync::atomic::AtomicBool::new(false);
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        File::create(&one).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one)).unwrap();
                }
            });
            let path = Path::new("/a/b/../../a/../a/b/..");
            let failed: Vec<_> = (0..20_000).filter_map(|_| locate(&root, path).err()).collect();
            ends.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(failed.is_empty(), "{} of 20000: {}", failed.len(), failed[0]);
        });
    }

    #[test]
    fn a_link_is_a_place_and_a_thing_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        symlink("nowhere", dir.path().join("link")).unwrap();
        let place = locate_itself_or_make(&root, Path::new("/link"), Missing::File).unwrap();
        assert_eq!(&*readlinkat(&place, c"", Vec::new()).unwrap(), c"nowhere");
        assert!(locate_itself_or_make(&root, Path::new("/d/f"), Missing::File).is_ok());
        assert!(dir.path().join("d/f").is_file() && !dir.path().join("nowhere").exists());
        symlink("/d", dir.path().join("way")).unwrap();
        for (path, text, works) in [
            ("/way/deep/link", c"/a", true),
            ("/d/deep/link", c"/a", true),
            ("/d/deep/link", c"/b", false),
            ("/d/f", c"/a", false),
            ("/", c"/a", false),
        ] {
            assert_eq!(make_link(&root, Path::new(path), text).is_ok(), works, "{path}");
        }
        assert_eq!(fs::read_link(dir.path().join("d/deep/link")).unwrap(), Path::new("/a"));
    }

    #[test]
    fn the_kernels_file_systems_are_not_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        symlink("elsewhere", dir.path().join("proc")).unwrap();
        let root = File::open(dir.path()).unwrap();
        assert!(locate(&root, Path::new("/proc")).is_ok());
        assert!(locate_exactly(&root, Path::new("/proc")).is_err());
    }
}
