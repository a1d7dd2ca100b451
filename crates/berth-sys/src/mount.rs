//! `mount_setattr`, the one call of the new mount interface that rustix lacks.

use crate::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

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
    change(mount.as_fd(), attributes, None)
}

/// Shows the files of a detached mount with the owners that the user namespace maps theirs to.
pub fn map_owners(mount: impl AsFd, user_namespace: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_IDMAP, recursive, ..Attributes::default() };
    change(mount.as_fd(), attributes, Some(user_namespace))
}

fn change(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let recursive = if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    let path: &CStr = c"";
    // SAFETY: an open descriptor, an empty C string and a struct of the size given; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}
