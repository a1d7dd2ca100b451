//! Installing a seccomp filter that is already a BPF program.

use crate::check;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One classic BPF instruction, as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

/// Puts this process under `filter` for good. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// Answers the descriptor of stopped calls when `flags` ask for one (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
pub fn install(filter: &[Instruction], flags: u64) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(filter.len()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "a seccomp filter has at most 65535 instructions")
    })?;
    let program =
        libc::sock_fprog { len: length, filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `Instruction` has sock_filter's layout and the kernel copies and checks `len` of them; a filter can
    // make later system calls fail, which safe code has to expect of any system call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let fd = check(result)?;
    // SAFETY: with this flag the kernel answers a fresh descriptor, which nobody else owns.
    Ok((flags & NEW_LISTENER != 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const NEW_LISTENER: u64 = 1 << 3;
