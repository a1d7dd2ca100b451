//! `execve` and what has to be right about descriptors just before it.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::ptr;

/// Becomes `program`; returns only the error that kept it from doing so.
pub fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: three NUL-terminated things: the path, and two arrays of C strings ending in a null pointer, all alive.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// The array that execve wants: a pointer each, then null.
pub(crate) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Marks every descriptor from `first` on close-on-exec, whoever opened it.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: changes a flag of descriptors and closes none, so no owner is surprised.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    crate::check(result).map(drop)
}

/// Lets `count` descriptors from `first` on survive execve, whoever opened them; those that are not open stay so.
pub fn keep_on_exec(first: u32, count: u32) -> io::Result<()> {
    for number in first..first + count {
        // SAFETY: changes a flag of a descriptor and closes none.
        let result = unsafe { libc::fcntl(number.cast_signed(), libc::F_SETFD, 0) };
        match crate::check(result.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EBADF) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
