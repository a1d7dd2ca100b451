//! Ctrl-C as a flag that long work looks at.
//!
//! Invariant: the handler does nothing but store a flag; a second signal ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem, ptr};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn remember(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the first SIGINT or SIGTERM sets a flag instead of ending the process; the second one ends it.
///
/// # Errors
/// The kernel refused the handler.
pub fn catch() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all zeroes is a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = remember as *const () as usize;
        // Without SA_RESTART a blocked read comes back; with SA_RESETHAND an impatient user is obeyed.
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler stores to an atomic and nothing else, which is async-signal-safe.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether a signal came since [`catch`].
#[must_use]
pub fn happened() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_signal_sets_the_flag() {
        super::catch().unwrap();
        assert!(!super::happened());
        // SAFETY: raise has no memory preconditions; the handler is installed.
        unsafe { libc::raise(libc::SIGTERM) };
        assert!(super::happened());
    }
}
