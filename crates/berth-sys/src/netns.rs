//! Network namespaces: make one, name one, do something inside one.
//!
//! Here: [`create`], [`current`] and [`within`]. Not here: what is done inside. Invariant: the calling thread
//! never changes its namespace; a short-lived thread does, so a failure cannot leave the caller elsewhere.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, gettid, move_into_link_name_space, unshare_unsafe};

/// The network namespace of the calling thread.
pub fn current() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// A fresh, empty network namespace; it lives as long as the descriptor or a process in it.
pub fn create() -> io::Result<OwnedFd> {
    on_own_thread(|| {
        unshare()?;
        current()
    })
}

/// Moves the calling thread into a fresh network namespace, for good.
pub fn unshare() -> io::Result<()> {
    // SAFETY: only the network namespace is unshared; the descriptor table, which other threads rely on
    // being common, is not.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// Runs `work` inside `namespace`. Sockets it opens stay in that namespace for their whole life, and
/// `/proc/sys/net` is the namespace's own.
pub fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_own_thread(|| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    })
}

/// When this returns, the thread is gone from the process in the kernel's eyes too, as it is not yet when `join`
/// does: whoever clones the process next must find one thread.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let told = || (gettid().as_raw_nonzero(), work());
    let joined =
        thread::scope(|scope| Ok::<_, io::Error>(thread::Builder::new().spawn_scoped(scope, told)?.join()))?;
    let (number, result) = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let task = format!("/proc/self/task/{number}");
    while Path::new(&task).exists() {
        thread::yield_now();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;

    #[test]
    fn a_fresh_namespace_is_another_and_the_caller_stays() {
        let before = fstat(current().unwrap()).unwrap().st_ino;
        let fresh = create().unwrap();
        let inside = within(fresh.as_fd(), || Ok(fstat(current()?)?.st_ino)).unwrap();
        assert_eq!(inside, fstat(&fresh).unwrap().st_ino);
        assert_ne!(inside, before);
        assert_eq!(fstat(current().unwrap()).unwrap().st_ino, before);
    }

    #[test]
    fn the_thread_inside_is_gone_at_once() {
        let fresh = create().unwrap();
        for _ in 0..200 {
            let inside = within(fresh.as_fd(), || Ok(gettid().as_raw_nonzero())).unwrap();
            assert!(!Path::new(&format!("/proc/self/task/{inside}")).exists());
        }
    }
}
