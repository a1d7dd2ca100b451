//! Layers as one tree to read from: an overlay that is mounted nowhere, so that nobody can leave it behind.

use berth_oci::{AtPath, Context, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A read-only tree; it goes when this is dropped, however the process ends.
#[derive(Debug)]
pub struct View(OwnedFd);

impl View {
    /// Lowers come uppermost first. The kernel wants two at least: `empty` is one more, at the bottom.
    pub(crate) fn new(lowers: &[PathBuf], empty: &Path) -> Result<Self> {
        let build = || -> io::Result<OwnedFd> {
            let instance = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            for lower in lowers.iter().map(PathBuf::as_path).chain([empty]) {
                fsconfig_set_string(&instance, "lowerdir+", lower).map_err(io::Error::from).at(lower)?;
            }
            fsconfig_set_string(&instance, "source", "overlay")?;
            fsconfig_create(&instance)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NOATIME;
            Ok(fsmount(&instance, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
        };
        build().map(Self).context(|| "cannot put layers together to read them")
    }

    /// A path to it, for this process only.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
