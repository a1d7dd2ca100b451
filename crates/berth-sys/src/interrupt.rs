//! Ctrl-C as a flag that long work looks at.
//!
//! Invariant: the handlers do nothing but store a flag, set an alarm and end the process; a second signal ends it
//! at once, and so does the alarm when the work is stuck where no flag is looked at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem, ptr};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long the work has to notice, in seconds. A transfer looks with every byte; only a silent peer holds it.
const GRACE: libc::c_uint = 2;
/// What a shell sees of a process that SIGINT ended.
const EXIT_CODE: libc::c_int = 130;

extern "C" fn remember(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    // SAFETY: alarm is async-signal-safe and takes a number.
    unsafe { libc::alarm(GRACE) };
}

extern "C" fn give_up(_signal: libc::c_int) {
    // SAFETY: _exit is async-signal-safe; whoever catches signals here keeps their work on disk crash-safe.
    unsafe { libc::_exit(EXIT_CODE) };
}

/// From now on the first SIGINT or SIGTERM sets a flag, and ends the process only if the work has not ended two
/// seconds later; the second one ends it at once.
///
/// # Errors
/// The kernel refused the handler.
pub fn catch() -> io::Result<()> {
    let handlers: [(libc::c_int, extern "C" fn(libc::c_int)); 3] =
        [(libc::SIGALRM, give_up), (libc::SIGINT, remember), (libc::SIGTERM, remember)];
    for (signal, handler) in handlers {
        // SAFETY: all zeroes is a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as usize;
        // Without SA_RESTART a blocked read comes back; with SA_RESETHAND an impatient user is obeyed.
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: both handlers are async-signal-safe, and functions live as long as the process.
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
        // SAFETY: no memory is involved; the tests of this process are to outlive the alarm.
        unsafe { libc::alarm(0) };
    }
}
