//! Files below `/proc` of processes that may end at any moment, whose files go with them (proc(5)); a zombie still has its
//! directory, but no namespaces and no root.
//!
//! Invariant: that a process has ended is a conflict, never "no such file", which would say that a program is missing.

use berth_oci::{AtPath, Error, Result};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Names the file, and says so where its process has ended.
pub trait OfProcess<T> {
    /// "cannot access `path`: …", or "`path`: its process is not running any more", which is a conflict.
    ///
    /// # Errors
    /// Those that came.
    fn of_process(self, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> OfProcess<T> for std::result::Result<T, E> {
    fn of_process(self, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(Into::into).or_else(|error: io::Error| match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::SRCH) => {
                let path = path.as_ref().display();
                Err(Error::conflict(format!("`{path}`: its process is not running any more")))
            }
            _ => Err(error).at(path),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::Kind;
    use std::fs;
    use std::process::Command;

    #[test]
    fn a_zombie_is_not_running() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let (namespace, tidy) =
            (format!("/proc/{}/ns/net", child.id()), format!("/proc/{}/comm", child.id()));
        assert!(fs::File::open(&namespace).of_process(&namespace).is_ok());
        child.kill().unwrap();
        rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap();
        let of_zombie = fs::File::open(&namespace).of_process(&namespace).unwrap_err();
        child.wait().unwrap();
        let of_nobody = fs::read(&tidy).of_process(&tidy).unwrap_err();
        assert_eq!((of_zombie.kind(), of_nobody.kind()), (Kind::Conflict, Kind::Conflict));
        assert!(of_zombie.to_string().ends_with("is not running any more"), "{of_zombie}");
    }

    #[test]
    fn what_else_fails_keeps_its_words() {
        let error = fs::read("/proc/self").of_process("/proc/self").unwrap_err();
        assert_eq!(error.to_string(), "cannot access `/proc/self`: is a directory");
    }
}
