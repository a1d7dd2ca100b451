//! Leaving namespaces, for good or for a moment.

use crate::netns::on_own_thread;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::path::Path;

/// Makes the current cgroups the root of a new cgroup namespace for this process.
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: a cgroup namespace changes only how paths of cgroups are shown; memory and descriptors stay.
    let result = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };
    crate::check(result.into()).map(drop)
}

/// Makes a time namespace for children of this process; it can be entered once its offsets are written.
pub fn unshare_time() -> io::Result<()> {
    // SAFETY: only what children will read from their clocks changes; memory and descriptors stay.
    let result = unsafe { libc::unshare(crate::process::NEWTIME as libc::c_int) };
    crate::check(result.into()).map(drop)
}

/// Gives this process, which has one thread, a mount namespace of its own.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: mounts become this process's own, and with them working directory and umask, which nobody shares; memory
    // and descriptors stay.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Runs `work` on a thread with a mount namespace and a working directory of its own, which end with it.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_own_thread(|| {
        // SAFETY: mounts and the working directory become this thread's own; the descriptor table, which other
        // threads rely on being common, stays so.
        unsafe { unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }?;
        work()
    })
}

/// Runs `work` on a thread whose working directory is `directory`; everybody else's stays where it is.
pub fn in_own_directory<T: Send>(
    directory: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_own_thread(|| {
        // SAFETY: only root, working directory and umask become this thread's own; the descriptor table, which other
        // threads rely on being common, stays so.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        rustix::process::chdir(directory)?;
        work()
    })
}
