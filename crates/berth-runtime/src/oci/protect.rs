//! Keeping a container away from this program's own file.
//!
//! A process on its way into a container is a copy of this program, and what a container says is its program may turn
//! out to be `/proc/self/exe` (CVE-2019-5736). Then the container holds our file, and would write to it as soon as
//! nobody runs it. So whoever enters a container runs from a read-only mount that nobody else sees.

use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::mount::{Attributes, set_attributes};
use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const OURSELVES: &str = "/proc/self/exe";

/// Returns when this program runs from where it cannot be written; otherwise begins it anew from such a place, with
/// the same `words`. So it is called before anything is done.
pub fn protect_program(words: &[OsString]) -> Result<()> {
    let flags = statvfs(OURSELVES).map_err(io::Error::from).at(OURSELVES)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let copy = read_only_copy(Path::new(OURSELVES))?;
    // It stays open to the end: closing the last descriptor of such a mount takes time, which then is nobody's.
    fcntl_setfd(&copy, FdFlags::empty()).map_err(io::Error::from)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    let (name, rest) = words.split_first().ok_or_else(|| Error::invalid("a program needs a name"))?;
    Err(command.arg0(name).args(rest).exec())
        .context(|| "cannot begin this program anew from a read-only mount")
}

/// A program on a read-only mount of its own, seen by nobody.
pub(crate) fn read_only_copy(program: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, program, flags).map_err(io::Error::from).at(program)?;
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(&copy, read_only).at(program)?;
    Ok(copy)
}
