//! Descriptors that came with the program: handed over by number across `execve`.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Takes ownership of the descriptor that whoever started this program left at `number`; from now on it closes on
/// exec. An error when there is none, or when something in this program has opened or taken it.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: only asked about its flags; a number that is not open answers EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::other(format!("descriptor {number} was not inherited")));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: without close-on-exec it came through execve (std opens everything with that flag), so no object of this
    // program owns it; with the flag set now, a second take is refused.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_we_opened_ourselves_cannot_be_taken() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(take(file.as_raw_fd()).is_err());
        assert!(take(1_000_000).is_err());
    }
}
