//! The memory (`/dev/shm`) of a container whose IPC namespace others may join: a tmpfs in its run directory.
//!
//! Invariant: it is mounted and taken off only by whoever has the right to write the container's state, so nobody takes
//! it from a container that runs, and none comes into a directory that is being removed.

use berth_oci::{AtPath, Context, Result};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where that of the container with this run directory is.
#[must_use]
pub fn place(run_dir: &Path) -> PathBuf {
    run_dir.join("shm")
}

/// Fresh memory of that many bytes, in the place of whatever an earlier run has left there.
pub(crate) fn provide(run_dir: &Path, bytes: u64) -> Result<()> {
    remove(run_dir)?;
    let place = place(run_dir);
    fs::create_dir_all(&place).at(&place)?;
    let data = CString::new(format!("mode=1777,size={bytes}")).expect("a number has no zero byte");
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    mount("shm", &place, "tmpfs", flags, Some(data.as_c_str()))
        .map_err(io::Error::from)
        .context(|| format!("cannot mount memory on `{}`", place.display()))
}

/// Takes it off, where there is one; who still uses it keeps it.
pub(crate) fn remove(run_dir: &Path) -> Result<()> {
    let place = place(run_dir);
    match unmount(&place, UnmountFlags::DETACH) {
        // Nothing is mounted, or nothing is there.
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        removed => removed.map_err(io::Error::from).at(&place),
    }
}
