//! Signal dispositions and masks of a process that is about to become another program.

use std::io;
use std::mem::MaybeUninit;

/// Default dispositions and an empty mask: what a fresh program expects to find.
///
/// Rust ignores SIGPIPE and an ignored signal stays ignored across execve; a container's `yes | head` would hang.
pub fn reset() -> io::Result<()> {
    reset_dispositions();
    set_mask(&empty())
}

pub(crate) fn reset_dispositions() {
    for number in 1..=64 {
        // SAFETY: SIG_DFL needs no handler to stay alive; numbers that cannot be changed only answer EINVAL.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

pub(crate) fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    unsafe { set.assume_init() }
}

pub(crate) fn full() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    unsafe { set.assume_init() }
}

pub(crate) fn set_mask(set: &libc::sigset_t) -> io::Result<()> {
    swap_mask(set).map(drop)
}

/// Sets this thread's mask and answers the one it had.
pub(crate) fn swap_mask(set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut old = empty();
    // SAFETY: two initialised sets.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, &raw mut old) } {
        0 => Ok(old),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lets a broken pipe end the process, as it ends every other program of a shell pipeline.
pub fn restore_default_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition and no handler of ours is replaced.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// The signal with this number, real-time ones included.
#[must_use]
pub fn numbered(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: any number the kernel knows may be sent; the two or three that libc keeps for itself mean something to
    // a process that uses this libc, and a container's program is not told to by us but by its user.
    (1..=64).contains(&number).then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}
