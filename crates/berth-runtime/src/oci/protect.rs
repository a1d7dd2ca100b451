//! Keeping a container away from this program's own file.
//!
//! A process on its way into a container is a copy of this program, and what a container says is its program may turn
//! out to be `/proc/self/exe` (CVE-2019-5736). Then the container holds our file, and would write to it as soon as
//! nobody runs it. So whoever enters a container runs from a read-only mount that nobody else sees.

use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::mount::{Attributes, set_attributes};
use rustix::fs::{CWD, MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, memfd_create, statvfs};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
    let copy = match open_tree(CWD, program, flags) {
        // We came from another mount namespace, and so did it.
        Err(Errno::INVAL) => match same_here(program)? {
            Some(path) => open_tree(CWD, &path, flags).map_err(io::Error::from).at(path)?,
            None => return in_memory(program),
        },
        copy => copy.map_err(io::Error::from).at(program)?,
    };
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(&copy, read_only).at(program)?;
    Ok(copy)
}

/// Where the file behind a link of `/proc` is seen in our mount namespace.
fn same_here(program: &Path) -> Result<Option<PathBuf>> {
    let path = fs::read_link(program).at(program)?;
    let theirs = fs::metadata(program).at(program)?;
    let is_same = |found: fs::Metadata| (found.dev(), found.ino()) == (theirs.dev(), theirs.ino());
    Ok(fs::metadata(&path).is_ok_and(is_same).then_some(path))
}

/// A copy that nobody can change any more: the file has been replaced since we were started, or is not seen here.
fn in_memory(program: &Path) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = File::from(memfd_create("berth", flags).map_err(io::Error::from).at(program)?);
    io::copy(&mut File::open(program).at(program)?, &mut &memory).at(program)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memory, seals).map_err(io::Error::from).at(program)?;
    Ok(memory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_memory_is_whole_and_stays_as_it_is() {
        let program = Path::new("/bin/true");
        let copy = File::from(in_memory(program).unwrap());
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(fs::read(&path).unwrap(), fs::read(program).unwrap());
        assert!(File::options().write(true).open(&path).and_then(|file| file.set_len(0)).is_err());
        assert!(Command::new(&path).status().unwrap().success());
    }

    #[test]
    fn a_program_is_found_where_it_is_seen() {
        let seen = same_here(Path::new(OURSELVES)).unwrap().unwrap();
        assert_eq!(seen, std::env::current_exe().unwrap());
    }
}
