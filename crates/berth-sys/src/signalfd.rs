//! Signals read from a descriptor, one after the other, instead of interrupting whatever runs.

use crate::signal;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals of this process that wait to be read. Those blocked before, by whoever started us, are among them.
#[derive(Debug)]
pub struct SignalFd(std::fs::File);

impl SignalFd {
    /// Blocks `numbers` in this thread, and in every thread it starts from now on, and collects them.
    pub fn take(numbers: &[i32]) -> io::Result<Self> {
        let mut set = signal::empty();
        for number in numbers {
            // SAFETY: an initialised set; a number that is none only answers EINVAL.
            if unsafe { libc::sigaddset(&raw mut set, *number) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: two initialised sets, the second of which is not wanted.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        // SAFETY: a new descriptor over an initialised set.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        match fd {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the kernel has just made it, so nobody else owns it.
            fd => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }.into())),
        }
    }

    /// The number of the next signal, if one waits.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
        match (&self.0).read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        // SAFETY: as many bytes as the structure has; every pattern of bits is a value of its integers.
        let info = unsafe {
            info.as_mut_ptr().cast::<[u8; size_of::<libc::signalfd_siginfo>()]>().write(bytes);
            info.assume_init()
        };
        Ok(i32::try_from(info.ssi_signo).ok())
    }
}

/// Readable when a signal waits.
impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_waits_to_be_read() {
        let signals = SignalFd::take(&[libc::SIGUSR2]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // SAFETY: raising a signal that is blocked in this thread, to this thread.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(signals.next().unwrap(), Some(libc::SIGUSR2));
        assert_eq!(signals.next().unwrap(), None);
        assert!(SignalFd::take(&[999]).is_err());
    }
}
