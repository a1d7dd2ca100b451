//! The kernel's words that rustix does not speak, one small file a topic.
//!
//! Here: thin safe functions over system calls. Not here: any decision, any default, logging, OCI words.
//! `unsafe` lives in this crate and nowhere else, each block with the reason why it is sound.

pub mod bpf;
pub mod exec;
pub mod file;
pub mod inherited;
pub mod interrupt;
pub mod keyring;
pub mod loopback;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod quota;
pub mod schedule;
pub mod seccomp;
pub mod signal;
pub mod signalfd;
pub mod spawn;
pub mod users;

use std::io;

/// The result of a raw system call: -1 means "look at errno".
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
