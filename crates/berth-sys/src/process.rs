//! `clone3`: a new process in new namespaces, in its cgroup from the first instruction, with a pidfd.

use crate::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// Which side of the clone we are.
#[derive(Debug)]
pub enum Cloned {
    /// The caller; the child is known by number and, without races, by descriptor.
    Parent {
        /// The child's number in our PID namespace.
        pid: i32,
        /// The child, never another process that got its number later.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Clones this process into new namespaces (`flags` of `CLONE_NEW*`), optionally into a v2 cgroup.
///
/// Refused in a process with several threads: the copy would hold locks of threads that do not exist in it.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    clone(arguments(flags, cgroup))
}

/// The same, but the new process is a child of our parent: a sibling, which our end does not concern.
pub fn clone3_sibling(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut args = arguments(flags, cgroup);
    args.flags |= libc::CLONE_PARENT as u64;
    // It ends with the signal that we would have ended with.
    args.exit_signal = 0;
    clone(args)
}

/// The calling thread makes files, and asks for them, as this user and group, and keeps every power it may have.
pub fn as_user_of_files(uid: u32, gid: u32) -> io::Result<()> {
    let all = rustix::thread::capabilities(None)?;
    // SAFETY: both calls change only numbers of the calling thread; they have no way to tell that they failed.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
    // Leaving root has taken the powers over files away; what is permitted can be had again.
    let sets = rustix::thread::CapabilitySets { effective: all.permitted, ..all };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn clone(mut args: libc::clone_args) -> io::Result<Cloned> {
    if !is_single_threaded()? {
        return Err(io::Error::other("a process with several threads cannot be cloned safely"));
    }
    let mut pidfd: libc::c_int = -1;
    args.pidfd = (&raw mut pidfd) as u64;
    // SAFETY: no CLONE_VM, so the child runs on a copy of this memory; the process has one thread (checked above),
    // so that copy is consistent and ordinary code, allocation included, may run in it. `args` and `pidfd` live on.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match check(result)? {
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel stored a fresh descriptor, which nobody else owns.
        pid => Ok(Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

fn arguments(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> libc::clone_args {
    let into_cgroup = if cgroup.is_some() { INTO_CGROUP } else { 0 };
    // Only flags that make namespaces pass: sharing memory or descriptors with the child would be unsound.
    let flags = (flags & NAMESPACES) | libc::CLONE_PIDFD as u64 | into_cgroup;
    libc::clone_args {
        flags,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    }
}

/// `CLONE_INTO_CGROUP`: libc has it as a number that is too narrow.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// `CLONE_NEWTIME`, which libc does not know for every target.
pub const NEWTIME: u64 = 0x80;

const NAMESPACES: u64 = NEWTIME
    | (libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWCGROUP) as u64;

/// Which side of [`fork`] we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The caller.
    Parent {
        /// The child's number in our PID namespace.
        pid: i32,
    },
    /// The new process.
    Child,
}

/// Makes a copy of this process with the oldest call there is, which every seccomp filter lets through. The caller has
/// seen to it that there is one thread: [`clone3`]'s child is such a process.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: where there were several threads, the child may only do what is safe in a signal handler; our callers
    // have one, and the C library's own locks are taken care of by its `fork`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent { pid }),
    }
}

/// Closes every descriptor but the one in `kept`, does what is left to do, and ends with its answer.
pub fn alone_with<T: AsFd>(kept: T, run: impl FnOnce(T) -> i32) -> ! {
    let number = kept.as_fd().as_raw_fd().cast_unsigned();
    let ranges = [(0, number.checked_sub(1)), (number + 1, Some(u32::MAX))];
    for (first, last) in ranges.into_iter().filter_map(|(first, last)| Some((first, last?))) {
        // SAFETY: their owners are further up the stack, to which nobody returns: this function ends the process.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
    exit_now(run(kept))
}

/// A thread that was just joined may be counted for a moment longer: it gets a few chances to leave.
fn is_single_threaded() -> io::Result<bool> {
    for _ in 0..1000 {
        if threads()? == 1 {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}

/// How many threads this process has: a directory's link count is two plus one per sub-directory.
fn threads() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Ends this process at once, without running what was registered to run at exit: the end of a cloned child.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_is_refused() {
        // The test harness itself has a main thread and ours.
        let other = std::thread::spawn(std::thread::park);
        let error = clone3(0, None).unwrap_err();
        other.thread().unpark();
        other.join().expect("a parked thread does not panic");
        assert!(error.to_string().contains("several threads"), "{error}");
    }
}
