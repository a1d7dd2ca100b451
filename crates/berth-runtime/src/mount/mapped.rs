//! Overlays for a container whose users are not the host's: layers shown with its own users as their owners.
//!
//! The layers and what the container writes keep, on the disk, the numbers that the container knows: nothing is ever
//! copied or given away, and the same layers serve every container. Invariant: nothing of this is seen by the host: it
//! happens in a mount namespace that ends with it.

use super::act::{attach, clone_at, clone_tree, make};
use super::in_root;
use super::overlay::{Above, overlay};
use super::sources::cannot_map;
use crate::user_namespace::Mappings;
use berth_oci::{AtPath, Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The overlay, mounted nowhere. `place` is a directory that is made for it; it stays empty.
pub(super) fn mapped_overlay(
    lowers: &[PathBuf],
    above: Option<Above<'_>>,
    mappings: &Mappings,
    place: &Path,
) -> Result<OwnedFd> {
    let namespace = mappings.namespace()?;
    let (uid, gid) = mappings.root().ok_or_else(|| {
        Error::invalid("the mappings of the user namespace have no root")
            .hint("map containerID 0 in both uidMappings and gidMappings")
    })?;
    fs::create_dir_all(place).at(place)?;
    let made = || -> Result<OwnedFd> {
        let shown = Shown::under(place, namespace.as_fd())?;
        let lowers = lowers.iter().map(|lower| shown.add(lower)).collect::<Result<Vec<_>>>()?;
        let above = above.map(|above| shown.add_both(above)).transpose()?;
        // Files are made as whoever mounts an overlay: as the container's root, who has a number on the disk. Ours has
        // none in that mapping.
        berth_sys::process::as_user_of_files(uid, gid).context(|| "cannot act as the container's root")?;
        overlay(&lowers, above.as_ref().map(|(upper, work)| Above { upper, work }))
    };
    let mount = berth_sys::namespace::with_own_mounts(|| Ok(made()));
    mount.context(|| "cannot make a mount namespace")?.context(|| "cannot mount the container's layers")
}

/// A copy of the mount at a path inside of one that is nowhere; `place` as above. Kernels before 6.15 copy only what is
/// in a mount namespace.
pub(super) fn part_of(mount: &OwnedFd, part: &Path, place: &Path) -> Result<OwnedFd> {
    fs::create_dir_all(place).at(place)?;
    let copied = || -> Result<OwnedFd> {
        detach_from_host()?;
        attach(mount, &location(place)?).at(place)?;
        let part = in_root::locate(mount, part)
            .context(|| format!("cannot access path `{}` in it", part.display()))?;
        clone_at(&part, false)
    };
    berth_sys::namespace::with_own_mounts(|| Ok(copied())).context(|| "cannot make a mount namespace")?
}

fn detach_from_host() -> Result<()> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(io::Error::from)
        .context(|| "cannot detach the mounts from the host's")
}

/// The directory of both, and their names in it.
fn common<'a>(upper: &'a Path, work: &'a Path) -> Result<(&'a Path, (&'a Path, &'a Path))> {
    let parts = |path: &'a Path| Some((path.parent()?, Path::new(path.file_name()?)));
    match (parts(upper), parts(work)) {
        (Some((parent, upper)), Some((other, work))) if parent == other => Ok((parent, (upper, work))),
        _ => Err(Error::internal(format!(
            "`{}` and `{}` are not in the same directory",
            upper.display(),
            work.display()
        ))),
    }
}

/// Directories that are shown with other owners, each with a place of its own.
struct Shown<'a> {
    place: &'a Path,
    namespace: BorrowedFd<'a>,
}

impl<'a> Shown<'a> {
    /// In the calling thread's own mount namespace.
    fn under(place: &'a Path, namespace: BorrowedFd<'a>) -> Result<Self> {
        detach_from_host()?;
        let memory = make("tmpfs", Some("layers"), &[("mode".into(), Some("755".into()))])?;
        attach(&memory, &location(place)?).at(place)?;
        Ok(Self { place, namespace })
    }

    /// Both on one mount, as overlayfs wants them.
    fn add_both(&self, above: Above<'_>) -> Result<(PathBuf, PathBuf)> {
        let (directory, (upper, work)) = common(above.upper, above.work)?;
        let shown = self.add(directory)?;
        Ok((shown.join(upper), shown.join(work)))
    }

    /// Where it is seen.
    fn add(&self, directory: &Path) -> Result<PathBuf> {
        let tree = clone_tree(directory, false).at(directory)?;
        berth_sys::mount::map_owners(&tree, self.namespace, false)
            .map_err(|error| cannot_map(&error, directory))?;
        let number = fs::read_dir(self.place).at(self.place)?.count();
        let target = self.place.join(number.to_string());
        fs::create_dir(&target).at(&target)?;
        attach(&tree, &location(&target)?).at(&target)?;
        Ok(target)
    }
}

fn location(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from).at(path)
}
