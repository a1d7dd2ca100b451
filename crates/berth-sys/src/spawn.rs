//! Starting a program that belongs to nobody: its parent is gone before it runs, so no caller has to reap it.
//!
//! Two `clone(CLONE_VM | CLONE_VFORK)` in a row: no page table is copied, and it may be called in a process with
//! threads, because until execve the children only make system calls on memory that was prepared before.

use crate::{exec, signal};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const STACK: usize = 64 * 1024;

/// A descriptor handed to the new program, and the number it gets there.
#[derive(Clone, Copy, Debug)]
pub struct Handed<'a> {
    /// Ours.
    pub fd: BorrowedFd<'a>,
    /// Its number there.
    pub number: i32,
}

/// Everything the children need, prepared before the first of them exists.
struct Prepared {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    descriptors: *const (c_int, c_int),
    count: usize,
    inner_stack: *mut c_void,
    error: c_int,
}

/// Starts `program` in a session of its own, with only `handed` open, default signals, and no parent that waits.
pub fn detached(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    handed: &[Handed<'_>],
) -> io::Result<()> {
    let arguments = exec::pointers(arguments);
    let environment = exec::pointers(environment);
    let (owned, descriptors) = out_of_the_way(handed)?;
    let mut outer_stack = vec![0u128; STACK / 16];
    let mut inner_stack = vec![0u128; STACK / 16];
    let mut prepared = Prepared {
        program: program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        descriptors: descriptors.as_ptr(),
        count: descriptors.len(),
        inner_stack: inner_stack.as_mut_ptr_range().end.cast(),
        error: 0,
    };
    let mask = signal::swap_mask(&signal::full())?;
    // SAFETY: CLONE_VFORK suspends us until the child has ended, so stack and `prepared` outlive it; signals are
    // blocked, so none of our handlers runs in the shared memory.
    let pid = unsafe {
        libc::clone(
            outer,
            outer_stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut prepared).cast(),
        )
    };
    let result = if pid == -1 { Err(io::Error::last_os_error()) } else { reap(pid) };
    signal::set_mask(&mask)?;
    drop(owned);
    result?;
    match prepared.error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Ours, and the number it gets there.
type Pairs = Vec<(c_int, c_int)>;

/// Copies with numbers above every target, so that placing one cannot overwrite another.
fn out_of_the_way(handed: &[Handed<'_>]) -> io::Result<(Vec<OwnedFd>, Pairs)> {
    let above = handed.iter().map(|h| h.number).max().unwrap_or(0) + 1;
    let owned =
        handed.iter().map(|h| rustix::io::fcntl_dupfd_cloexec(h.fd, above)).collect::<Result<Vec<_>, _>>()?;
    let pairs = owned.iter().zip(handed).map(|(fd, h)| (fd.as_raw_fd(), h.number)).collect();
    Ok((owned, pairs))
}

fn reap(pid: c_int) -> io::Result<()> {
    loop {
        // SAFETY: waiting for our own child; no status is asked for.
        let result = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        match result {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // Somebody set SIGCHLD to "ignore": then the kernel has reaped it.
            -1 if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => return Ok(()),
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok(()),
        }
    }
}

extern "C" fn outer(argument: *mut c_void) -> c_int {
    // SAFETY: `detached` passes its `Prepared`, which it does not touch until we have ended.
    let prepared = unsafe { &mut *argument.cast::<Prepared>() };
    // SAFETY: as in `detached`, one level down: we are suspended while the inner child uses its stack.
    let pid = unsafe {
        libc::clone(inner, prepared.inner_stack, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, argument)
    };
    if pid == -1 {
        prepared.error = errno();
    }
    0
}

extern "C" fn inner(argument: *mut c_void) -> c_int {
    // SAFETY: see `outer`; it is suspended until we exec or end.
    let prepared = unsafe { &mut *argument.cast::<Prepared>() };
    prepared.error = become_program(prepared);
    127
}

/// Only system calls from here on; answers errno.
fn become_program(prepared: &Prepared) -> c_int {
    // SAFETY: setsid has no preconditions; in a fresh child it cannot fail.
    unsafe { libc::setsid() };
    for index in 0..prepared.count {
        // SAFETY: `descriptors` has `count` elements.
        let (from, to) = unsafe { *prepared.descriptors.add(index) };
        // SAFETY: our own copy of the descriptor table: nobody else's numbers are overwritten.
        if unsafe { libc::dup2(from, to) } == -1 {
            return errno();
        }
    }
    let first_unknown = (0..prepared.count).fold(3, |first, index| {
        // SAFETY: as above.
        let (_, to) = unsafe { *prepared.descriptors.add(index) };
        first.max(to + 1)
    });
    // Descriptors that a careless shell left open for us are not for the new program.
    if exec::close_on_exec_from(first_unknown.cast_unsigned()).is_err() {
        return errno();
    }
    // This table of dispositions is our own (no CLONE_SIGHAND); after it no handler of the parent can run here.
    signal::reset_dispositions();
    if signal::set_mask(&signal::empty()).is_err() {
        return errno();
    }
    // SAFETY: prepared from C strings and null-terminated arrays that are alive in the suspended parent.
    unsafe { libc::execve(prepared.program, prepared.arguments, prepared.environment) };
    errno()
}

fn errno() -> c_int {
    // SAFETY: errno's address is valid in every thread; a vfork child shares its suspended parent's.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_detached_program_gets_its_descriptors_and_another_parent() {
        let (mut reader, writer) = io::pipe().unwrap();
        let script = c"echo hello $PPID >&7; trap '' PIPE";
        let arguments = [c"sh".to_owned(), c"-c".to_owned(), script.to_owned()];
        detached(c"/bin/sh", &arguments, &[], &[Handed { fd: writer.as_fd(), number: 7 }]).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let parent = text.trim().strip_prefix("hello ").unwrap();
        assert_ne!(parent, std::process::id().to_string());
    }

    #[test]
    fn a_missing_program_is_an_error_here() {
        let error = detached(c"/nonexistent", &[], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
