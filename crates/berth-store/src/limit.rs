//! How much of the disk what a container writes may take: a project of the file system's, one for each container.
//!
//! Invariant: a project's number follows from the container's id, so nobody has to remember it.

use crate::layout::is_identifier;
use crate::store::Store;
use berth_oci::{AtPath, Error, Result};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

impl Store {
    /// Limits what a container writes to so many bytes; to be called when its directories are there, and empty.
    ///
    /// # Errors
    /// `Unsupported`: the file system does not count by projects.
    pub fn limit_rootfs(&self, container: &str, bytes: u64) -> Result<()> {
        let directory = self.container_dir(container);
        let project = project(container)?;
        for name in ["upper", "work"] {
            let path = directory.join(name);
            let opened = File::open(&path).at(&path)?;
            berth_sys::quota::give(opened.as_fd(), project).map_err(|error| self.cannot_limit(error))?;
        }
        self.set_limit(project, bytes)
    }

    /// Forgets the limit of a container that has gone.
    ///
    /// # Errors
    /// The file system refuses; one that does not count any more has nothing to forget.
    pub fn forget_limit(&self, container: &str) -> Result<()> {
        match self.set_limit(project(container)?, 0) {
            Err(error) if error.kind() == berth_oci::Kind::Unsupported => Ok(()),
            set => set,
        }
    }

    fn set_limit(&self, project: u32, bytes: u64) -> Result<()> {
        let path = self.inner.location.containers();
        let at = File::open(&path).at(&path)?;
        berth_sys::quota::limit(at.as_fd(), project, bytes).map_err(|error| self.cannot_limit(error))
    }

    fn cannot_limit(&self, error: io::Error) -> Error {
        const NOT_COUNTED: [Errno; 7] = [
            Errno::SRCH,
            Errno::NOSYS,
            Errno::NOTSUP,
            Errno::NOTTY,
            Errno::INVAL,
            Errno::NODEV,
            Errno::NOTBLK,
        ];
        let path = self.inner.location.containers();
        match Errno::from_io_error(&error) {
            Some(errno) if NOT_COUNTED.contains(&errno) => Error::unsupported(format!(
                "the size of a container cannot be limited: the file system of `{}` does not count by projects",
                path.display()
            ))
            .hint("XFS does when it is mounted with prjquota, ext4 when it also has the features project and quota"),
            _ => Error::from(error),
        }
    }
}

/// The upper half of the numbers: people who have projects of their own count from 1.
fn project(container: &str) -> Result<u32> {
    let number = container.get(..8).filter(|_| is_identifier(container));
    let number = number.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let number = number.ok_or_else(|| Error::invalid(format!("`{container}` is not a container id")))?;
    // The last number means nobody.
    Ok((number | 1 << 31).min(u32::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_of_containers() {
        assert_eq!(project("00000007aa").unwrap(), 0x8000_0007);
        assert_eq!(project("ffffffffaa").unwrap(), u32::MAX - 1);
        assert!(project("xyz").is_err() && project("../../..").is_err() && project("abc").is_err());
    }
}
