//! `mount_setattr`, the one call of the new mount interface that rustix lacks.

use crate::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What to change on a mount; the bits are `MOUNT_ATTR_*` and `MS_*` propagation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
    /// The mounts below it, too.
    pub recursive: bool,
}

/// Changes the attributes of the mount that `mount` (an `O_PATH` or tree descriptor) is at.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let recursive = if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    let path: &CStr = c"";
    // SAFETY: an open descriptor, an empty C string and a struct of the size given; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}
