//! Paths of the kernel's file systems that a container must not see, or not change.

use super::act::{attach, clone_at, clone_tree, make, missing_for};
use super::in_root::{self, Missing};
use berth_oci::{Context, Error, Result};
use berth_sys::mount::{Attributes, set_attributes};
use rustix::fs::{fstat, makedev};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

const READ_ONLY: Attributes =
    Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, recursive: true };

/// Covers files with `/dev/null` and directories with one empty read-only tmpfs; what is not there needs no cover.
pub(crate) fn hide(root: BorrowedFd<'_>, paths: &[String]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = present(root, path)? else { continue };
        let cover = match (missing_for(&target)?, &empty) {
            (Missing::File, _) => null()?,
            (Missing::Directory, Some(empty)) => clone_at(empty, false)?,
            (Missing::Directory, None) => empty_directory()?,
        };
        let is_first = empty.is_none() && missing_for(&cover)? == Missing::Directory;
        attach(&cover, &target).context(|| format!("cannot hide `{path}`"))?;
        if is_first {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// The host's, because the container's may be anything; and only if it is what it should be.
fn null() -> Result<OwnedFd> {
    let null = clone_tree(Path::new("/dev/null"), false).context(|| "cannot open `/dev/null`")?;
    let stat = fstat(&null).map_err(io::Error::from)?;
    if stat.st_rdev != makedev(1, 3) {
        return Err(Error::internal("`/dev/null` of this machine is not the null device"));
    }
    Ok(null)
}

fn empty_directory() -> Result<OwnedFd> {
    let options = [("size".into(), Some("0".into())), ("nr_inodes".into(), Some("1".into()))];
    let mount = make("tmpfs", Some("tmpfs"), &options)?;
    set_attributes(&mount, READ_ONLY).context(|| "cannot make an empty directory read-only")?;
    Ok(mount)
}

/// Puts a read-only copy of each path over it.
pub(crate) fn make_read_only(root: BorrowedFd<'_>, paths: &[String]) -> Result<()> {
    for path in paths {
        let Some(target) = present(root, path)? else { continue };
        let doing = || format!("cannot make `{path}` read-only");
        let copy = clone_at(&target, true).context(doing)?;
        set_attributes(&copy, READ_ONLY).context(doing)?;
        attach(&copy, &target).context(doing)?;
    }
    Ok(())
}

/// Through links that the container's programs would follow, too, but to the kernel's file systems never: there a cover
/// must lie on what it is meant for, and not on what an image has put into its place.
fn present(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>> {
    let path = &Path::new("/").join(path);
    let of_kernel = ["/proc", "/sys"].iter().find_map(|top| Some((top, path.strip_prefix(top).ok()?)));
    let located = match of_kernel {
        Some((top, below)) => in_root::locate_exactly(root, Path::new(top))
            .and_then(|top| in_root::locate(top, &Path::new("/").join(below))),
        None => in_root::locate(root, path),
    };
    match located {
        Ok(target) => Ok(Some(target)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(error).context(|| format!("cannot cover `{}`", path.display())),
    }
}
