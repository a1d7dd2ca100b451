//! Project quotas: how much the files of a directory may take of the disk, whoever they belong to.
//!
//! Source: quotactl(2), and `linux/fs.h` for a directory's project.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent: u32,
    extents: u32,
    project: u32,
    copy_extent: u32,
    padding: [u8; 8],
}

/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`.
const GET: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const SET: libc::Ioctl = 0x401c_5820;
/// What is made in there is the project's, too.
const INHERITED: u32 = 0x200;

/// Makes what will be in a directory a project's.
pub fn give(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes a `struct fsxattr`, which is what we have, and reads one in the second call.
    crate::check(unsafe { libc::ioctl(directory.as_raw_fd(), GET, &raw mut attributes) }.into())?;
    attributes.project = project;
    attributes.flags |= INHERITED;
    // SAFETY: see above.
    crate::check(unsafe { libc::ioctl(directory.as_raw_fd(), SET, &raw const attributes) }.into()).map(drop)
}

/// Limits what a project's files take of the file system that `at` lies on; 0 lifts the limit.
pub fn limit(at: BorrowedFd<'_>, project: u32, bytes: u64) -> io::Result<()> {
    const SET_QUOTA: u32 = 0x80_0008;
    const OF_PROJECTS: u32 = 2;
    const BLOCK_LIMITS: u32 = 1;
    /// The unit of limits.
    const BLOCK: u64 = 1024;
    let blocks = bytes.div_ceil(BLOCK);
    // SAFETY: a `struct dqblk` is numbers, for which zeros are values.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    (quota.dqb_bhardlimit, quota.dqb_bsoftlimit, quota.dqb_valid) = (blocks, blocks, BLOCK_LIMITS);
    let command = (SET_QUOTA << 8) | OF_PROJECTS;
    // SAFETY: the kernel reads a `struct dqblk`, which lives until the call is over.
    let result =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, at.as_raw_fd(), command, project, &raw const quota) };
    crate::check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_system_without_projects_says_so() {
        let proc = File::open("/proc/self").unwrap();
        assert!(give(proc.as_fd(), 7).is_err() && limit(proc.as_fd(), 7, 1 << 20).is_err());
    }
}
