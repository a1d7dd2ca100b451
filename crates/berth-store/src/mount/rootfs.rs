//! What a container's root is made of.

use super::shared::{LayerPlace, Mounts};
use crate::disk;
use berth_oci::{AtPath, Result};
use rustix::fs::{CWD, Gid, RenameFlags, Uid, renameat_with};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directories of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// The image's layers, uppermost first, read-only.
    pub lowers: Vec<PathBuf>,
    /// What the container writes.
    pub upper: PathBuf,
    /// overlayfs' own, on the disk of `upper`.
    pub work: PathBuf,
    /// The layers of other images that it sees, as `lowers`; below each is an empty directory, for a kernel makes no
    /// overlay of one.
    pub others: Vec<Vec<PathBuf>>,
}

impl Mounts {
    /// Everything for the overlay of the container `user`, whose files lie in `directory`. Layers come lowest
    /// first; an image without layers has an empty directory for one.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), or the directories cannot be made.
    pub fn rootfs(
        &self,
        user: &str,
        layers: &[LayerPlace<'_>],
        others: &[Vec<LayerPlace<'_>>],
        directory: &Path,
    ) -> Result<Rootfs> {
        let [upper, work, empty] = ["upper", "work", "empty"].map(|name| directory.join(name));
        disk::make_directory(&work)?;
        let stacks: Vec<_> = std::iter::once(layers).chain(others.iter().map(Vec::as_slice)).collect();
        let mut others = self.acquire_all(user, &stacks)?;
        let mut lowers = others.remove(0);
        if lowers.is_empty() || !others.is_empty() {
            disk::make_directory(&empty)?;
        }
        others.iter_mut().for_each(|other| other.push(empty.clone()));
        if lowers.is_empty() {
            lowers.push(empty);
        }
        if !upper.is_dir() {
            make_upper(&upper, &lowers[0], layers.is_empty())?;
        }
        Ok(Rootfs { lowers, upper, work, others })
    }
}

/// The root's owner and mode are those of the uppermost directory of the overlay, which is this one. Two who start the
/// container at once both come here: the first one's stays, for it may be mounted already.
fn make_upper(upper: &Path, lower: &Path, is_without_layers: bool) -> Result<()> {
    let like = lower.metadata().at(lower)?;
    let mode = if is_without_layers { 0o755 } else { like.mode() & 0o7777 };
    let fresh = upper.with_extension(std::process::id().to_string());
    disk::make_directory(&fresh)?;
    let (uid, gid) = (Uid::from_raw(like.uid()), Gid::from_raw(like.gid()));
    rustix::fs::chown(&fresh, Some(uid), Some(gid)).map_err(io::Error::from).at(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).at(&fresh)?;
    match renameat_with(CWD, &fresh, CWD, upper, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_dir(&fresh).at(&fresh),
        renamed => renamed.at(upper),
    }
}
