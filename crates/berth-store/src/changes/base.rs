//! The tree that lies below an overlay's upper directory.
//!
//! Invariant: no link in it is followed: a path leads where the upper directory's own path leads, or nowhere.

use super::{capability, names};
use berth_oci::{AtPath, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// See the module.
pub(super) struct Base(OwnedFd);

impl Base {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Self).map_err(io::Error::from).at(path)
    }

    /// The names in the directory that is there, if one is.
    pub(super) fn names(&self, path: &[u8]) -> Result<Vec<CString>> {
        let directory = self.try_open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        directory.map_or_else(|| Ok(Vec::new()), |directory| names(&directory))
    }

    /// Whether something is there that says the same of itself.
    pub(super) fn may_have_same(&self, path: &[u8], stat: &Stat) -> Result<bool> {
        let Some(there) = self.try_open(path, OFlags::PATH)? else { return Ok(false) };
        let there = rustix::fs::fstat(&there).map_err(io::Error::from)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok((there.st_mode, there.st_uid, there.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
            && (there.st_mtime, there.st_mtime_nsec) == (stat.st_mtime, stat.st_mtime_nsec)
            && (!is_file || there.st_size == stat.st_size))
    }

    /// Whether the same is there: a directory, or a file with that content.
    pub(super) fn has_same(
        &self,
        path: &[u8],
        stat: &Stat,
        attributes: &BTreeMap<Vec<u8>, Vec<u8>>,
        content: Option<File>,
    ) -> Result<bool> {
        if !self.may_have_same(path, stat)? {
            return Ok(false);
        }
        let Some(there) = self.try_open(path, OFlags::RDONLY)? else { return Ok(false) };
        if capability(there.as_fd())? != *attributes {
            return Ok(false);
        }
        match content {
            Some(content) => Ok(are_equal(content, File::from(there))?),
            None => Ok(true),
        }
    }

    fn try_open(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>> {
        let path = if path.is_empty() { b"." } else { path };
        let path = CString::new(path).map_err(io::Error::from)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.0, path.as_c_str(), flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

/// Compares two files whose sizes are the same.
fn are_equal(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
