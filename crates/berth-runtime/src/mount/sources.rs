//! What is mounted from the host and has to be opened before the container's user namespace is entered: there nobody
//! may look into directories that are closed to the world, nor change the owners that files are shown with.

use super::act::{clone_tree, open_source};
use super::mapped::{mapped_overlay, part_of};
use super::overlay::{Above, overlay};
use super::plan::{Kind, MountPlan};
use crate::bundle::RootfsMount;
use crate::user_namespace::Mappings;
use berth_oci::{AtPath, Context, Error, Result};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Detached mounts, one for each planned one that needs it.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) root: Option<OwnedFd>,
    pub(crate) mounts: Vec<Option<OwnedFd>>,
}

/// The user namespace of a container that is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Namespace<'a> {
    pub(crate) mappings: &'a Mappings,
    /// The files of the root and of images lie on the disk with its users' numbers outside.
    pub(crate) is_given: bool,
}

impl Sources {
    /// Opens all of them for a container in a user namespace with these mappings, or in none of its own. `target` is
    /// where the root will be mounted.
    pub(crate) fn open(
        rootfs: &RootfsMount,
        plans: &[MountPlan],
        namespace: Option<Namespace<'_>>,
        target: &Path,
    ) -> Result<Self> {
        let root = match (namespace, rootfs) {
            (Some(namespace), RootfsMount::Overlay { lowers, upper, work }) => {
                Some(layers(lowers, Some(Above { upper, work }), namespace, target)?)
            }
            (Some(_), RootfsMount::Directory { path }) => Some(clone_tree(path, true).at(path)?),
            _ => None,
        };
        let mounts = plans.iter().map(|plan| source(plan, namespace, target)).collect::<Result<_>>()?;
        Ok(Self { root, mounts })
    }
}

fn layers(
    lowers: &[PathBuf],
    above: Option<Above<'_>>,
    namespace: Namespace<'_>,
    place: &Path,
) -> Result<OwnedFd> {
    match namespace.is_given {
        true => overlay(lowers, above).context(|| "cannot mount the container's layers"),
        false => mapped_overlay(lowers, above, namespace.mappings, place),
    }
}

fn source(plan: &MountPlan, namespace: Option<Namespace<'_>>, target: &Path) -> Result<Option<OwnedFd>> {
    if let Kind::Layers { lowers, part } = &plan.kind {
        let whole = match namespace {
            Some(namespace) => layers(lowers, None, namespace, target)?,
            None => overlay(lowers, None).context(|| "cannot mount the layers of an image")?,
        };
        let what = || format!("cannot mount on `{}`", plan.target.display());
        return Ok(Some(match part {
            Some(part) => part_of(&whole, part, target).context(what)?,
            None => whole,
        }));
    }
    let Kind::Bind { source, .. } = &plan.kind else { return Ok(None) };
    if namespace.is_none() && plan.owners.is_none() {
        return Ok(None);
    }
    let tree = open_source(plan)?;
    if let Some(owners) = &plan.owners {
        let mappings = owners.mappings.as_ref().or(namespace.map(|n| n.mappings)).ok_or_else(|| {
            Error::invalid(format!(
                "the mount on `{}` is to have the owners of a user namespace, but there is none",
                plan.target.display()
            ))
            .hint("give it uidMappings and gidMappings")
        })?;
        let holder = mappings.namespace()?;
        berth_sys::mount::map_owners(&tree, holder.as_fd(), owners.recursive)
            .map_err(|error| cannot_map(&error, source))?;
    }
    Ok(Some(tree))
}

/// Which of the kernel's reasons it was.
pub(super) fn cannot_map(error: &io::Error, source: &Path) -> Error {
    let source = source.display();
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            Error::unsupported(format!("only the machine's root can show `{source}` with other owners"))
                .hint("leave out `idmap`; containers of an ordinary user see that user's files as root's")
        }
        Some(libc::EINVAL) => Error::unsupported(format!(
            "`{source}` lies on a file system that cannot be shown with other owners"
        ))
        .hint("ext4, XFS, Btrfs and tmpfs can; the file systems of networks and overlays cannot"),
        _ => Error::internal(format!("cannot show `{source}` with other owners: {error}")),
    }
}
