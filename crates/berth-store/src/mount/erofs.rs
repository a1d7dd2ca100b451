//! One EROFS mount, through the new mount interface: `mount(8)` would want a loop device.

use crate::layer::{INDEX, TAR};
use berth_oci::{AtPath, Context, Error, Result};
use rustix::fs::{Advice, CWD};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// `EROFS_SUPER_MAGIC_V1`.
const MAGIC: u64 = 0xe0f5_e1e2;
/// Longer values are refused by `fsconfig`.
const VALUE_LIMIT: usize = 255;
/// The kernel reads ahead this much at a request, at least.
const READ_AHEAD: u64 = 128 << 10;
/// Metadata beyond this is left for when it is needed.
const READ_AHEAD_LIMIT: u64 = 32 << 20;

/// Mounts the layer that lies in `directory`, for now nowhere.
pub(crate) fn detached(directory: &Path) -> Result<OwnedFd> {
    let (index_path, tar_path) = (directory.join(INDEX), directory.join(TAR));
    let index = File::open(&index_path).at(&index_path)?;
    let tar = File::open(&tar_path).at(&tar_path)?;
    // Read now, at the file's own leisure: the first metadata of a cold index would be read block by block.
    read_ahead(&index);
    let create = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", short(&index_path, &index))?;
        fsconfig_set_string(&context, "device", short(&tar_path, &tar))?;
        fsconfig_set_flag(&context, "ro")?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    create()
        .map_err(io::Error::from)
        .context(|| format!("cannot mount the layer in `{}`", directory.display()))
}

/// Gives a mount its place.
pub(super) fn attach(mount: &OwnedFd, target: &Path) -> Result<()> {
    move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(io::Error::from)
        .context(|| format!("cannot mount a layer on `{}`", target.display()))
}

/// Whether a layer is mounted there.
pub(super) fn is_mounted(target: &Path) -> bool {
    rustix::fs::statfs(target).is_ok_and(|found| found.f_type as u64 == MAGIC)
}

/// Unmounts a layer; `false`: somebody stands in it.
pub(super) fn detach(target: &Path) -> Result<bool> {
    match unmount(target, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::BUSY) => Ok(false),
        // Not mounted.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(true),
        Err(e) => {
            Err(Error::from(io::Error::from(e))).context(|| format!("cannot unmount `{}`", target.display()))
        }
    }
}

/// The path as people like to read it in `/proc/mounts`, if the kernel takes it.
fn short(path: &Path, file: &File) -> String {
    match path.to_str() {
        Some(text) if text.len() <= VALUE_LIMIT => text.to_owned(),
        _ => format!("/proc/self/fd/{}", file.as_raw_fd()),
    }
}

fn read_ahead(index: &File) {
    let length = index.metadata().map_or(0, |metadata| metadata.len()).min(READ_AHEAD_LIMIT);
    for offset in (0..length).step_by(READ_AHEAD as usize) {
        // Only a wish.
        let _ = rustix::fs::fadvise(index, offset, NonZeroU64::new(READ_AHEAD), Advice::WillNeed);
    }
}
