//! Session keyrings.

use crate::check;
use std::ffi::CString;
use std::io;

/// Leaves the session keyring of whoever started us for a new one of this name.
pub fn join_new_session(name: &str) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let name = CString::new(name)?;
    // SAFETY: a C string that the kernel only reads.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(result).map(drop)
}
