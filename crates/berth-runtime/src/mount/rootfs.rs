//! The root itself: an overlay or a directory, and entering it.

use super::act::{attach, clone_tree, missing_for};
use super::in_root;
use super::overlay::{Above, overlay};
use crate::bundle::RootfsMount;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::mount::{Attributes, set_attributes};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, mount_move, unmount};
use rustix::process::{fchdir, pivot_root};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The directory that a root is mounted on.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    path: &'a Path,
    place: OwnedFd,
}

impl<'a> Target<'a> {
    /// Makes and opens it; to be called in the mount namespace of the container, and before its user namespace closes
    /// the host's directories to us.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        make_target(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from).at(path)?;
        Ok(Self { path, place })
    }
}

/// Mounts the root on `target` in this mount namespace, which nothing outside sees; `opened` is the root, when somebody
/// else has made it.
pub(crate) fn mount_rootfs(
    rootfs: &RootfsMount,
    opened: Option<OwnedFd>,
    target: &Target<'_>,
    propagation: Option<&str>,
) -> Result<OwnedFd> {
    let mount = match (opened, rootfs) {
        (Some(mount), _) => mount,
        (None, RootfsMount::Overlay { lowers, upper, work }) => {
            overlay(lowers, Some(Above { upper, work })).context(|| "cannot mount the container's layers")?
        }
        (None, RootfsMount::Directory { path }) => clone_tree(path, true).at(path)?,
    };
    // From the host to us, so that a host's unmount is not kept busy by our copy; never from us to the host, unless
    // the bundle wants just that. What cannot be bound would be no source for binds either: that comes at the end.
    let flags = match propagation {
        None | Some("unbindable" | "runbindable") => {
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC
        }
        Some(word) => flags_of(word)?,
    };
    mount_change("/", flags)
        .map_err(io::Error::from)
        .context(|| "cannot detach the mounts from the host's")?;
    let private = Attributes { propagation: libc::MS_PRIVATE, recursive: true, ..Attributes::default() };
    set_attributes(&mount, private).context(|| "cannot make the container's root private")?;
    if propagation.is_some() {
        surround_privately(target.path)?;
    }
    attach(&mount, &target.place).at(target.path)?;
    in_root::locate(&mount, Path::new("/")).context(|| "cannot open the container's root")
}

/// The root as a mount that is nowhere: whoever has the descriptor can walk it, and it goes with that.
///
/// # Errors
/// The layers cannot be mounted.
pub fn open_root(rootfs: &RootfsMount) -> Result<OwnedFd> {
    match rootfs {
        RootfsMount::Overlay { lowers, upper, work } => {
            overlay(lowers, Some(Above { upper, work })).context(|| "cannot mount the container's layers")
        }
        RootfsMount::Directory { path } => clone_tree(path, true).at(path),
    }
}

/// What is mounted in a shared mount is mounted on the host too: the mount around `target` becomes private.
fn surround_privately(target: &Path) -> Result<()> {
    for dir in target.ancestors() {
        match mount_change(dir, MountPropagationFlags::PRIVATE) {
            // Not where a mount begins: further up.
            Err(rustix::io::Errno::INVAL) => {}
            result => return result.map_err(io::Error::from).at(dir),
        }
    }
    Ok(())
}

fn make_target(target: &Path) -> Result<()> {
    match fs::create_dir_all(target) {
        // It is there, in a place where we may make nothing.
        Err(_) if target.is_dir() => Ok(()),
        result => result.at(target),
    }
}

fn flags_of(word: &str) -> Result<MountPropagationFlags> {
    let (recursive, kind) = match word.strip_prefix('r') {
        Some(rest) => (MountPropagationFlags::REC, rest),
        None => (MountPropagationFlags::empty(), word),
    };
    let kind = match kind {
        "private" => MountPropagationFlags::PRIVATE,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "shared" => MountPropagationFlags::SHARED,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => {
            return Err(Error::invalid(format!(
                "`linux.rootfsPropagation` is `{word}`, which is no propagation"
            )));
        }
    };
    Ok(kind | recursive)
}

/// What the bundle wants of the root it is in by now.
pub(crate) fn propagate(propagation: Option<&str>) -> Result<()> {
    let Some(word) = propagation else { return Ok(()) };
    mount_change("/", flags_of(word)?)
        .map_err(io::Error::from)
        .context(|| format!("cannot make the container's root {word}"))
}

/// How a process comes into its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The new root takes the old one's place, which is gone.
    Pivot,
    /// It covers the old one: where that cannot be exchanged (a ramdisk).
    Move,
    /// The process only looks away: others in the mount namespace need what is there.
    LookAway,
}

/// Makes `root` the root of this process and forgets everything else.
pub(crate) fn enter(root: &OwnedFd, entry: Entry) -> Result<()> {
    let doing = || "cannot enter the container's root";
    fchdir(root).map_err(io::Error::from).context(doing)?;
    match entry {
        Entry::Pivot => {
            // Root and old root on the same place: no directory for the old one is needed inside the image.
            pivot_root(".", ".").map_err(io::Error::from).context(doing)?;
            // Before it goes, so that its going reaches no other namespace.
            let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            mount_change(".", flags).map_err(io::Error::from).context(doing)?;
            unmount(".", UnmountFlags::DETACH).map_err(io::Error::from).context(doing)?;
        }
        Entry::Move => {
            mount_move(".", "/").map_err(io::Error::from).context(doing)?;
            rustix::process::chroot(".").map_err(io::Error::from).context(doing)?;
        }
        Entry::LookAway => rustix::process::chroot(".").map_err(io::Error::from).context(doing)?,
    }
    rustix::process::chdir("/").map_err(io::Error::from).context(doing)
}

/// The root itself, not what is mounted below it.
pub(crate) fn root_read_only(root: &OwnedFd) -> Result<()> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(root, attributes).context(|| "cannot make the container's root read-only")
}

/// Calls `work` with a root that has these binds (source, target) in it, as a container's processes would see it, in a
/// mount namespace of its own that ends with it. `place` is a directory that is made for it.
///
/// # Errors
/// `work`'s own; the root cannot be mounted.
pub fn in_assembled_root<T: Send>(
    rootfs: &RootfsMount,
    binds: &[(PathBuf, PathBuf)],
    place: &Path,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<T> + Send,
) -> Result<T> {
    let assembled = || {
        let root = mount_rootfs(rootfs, None, &Target::open(place)?, None)?;
        for (source, target) in binds {
            let tree = clone_tree(source, true).at(source)?;
            let missing = missing_for(&tree)?;
            attach(&tree, &in_root::locate_or_make(&root, target, missing)?).at(target)?;
        }
        work(root.as_fd())
    };
    // The outer error is the kernel's about the namespace, the inner one is ours.
    berth_sys::namespace::with_own_mounts(|| Ok(assembled())).context(|| "cannot make a mount namespace")?
}
