//! Files that nobody sees until they get a name. Without one (`O_TMPFILE`) the kernel frees them, however we end.

use crate::disk;
use berth_oci::{AtPath, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A file without a name, or, on file systems that know no such thing, one that is removed when it is dropped.
pub(super) struct Temporary {
    file: File,
    named: Option<PathBuf>,
}

impl Temporary {
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { file: file.into(), named: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                let path = directory.join(disk::random_name()?);
                Ok(Self { file: disk::create(&path)?, named: Some(path) })
            }
            Err(e) => Err(io::Error::from(e)).at(directory),
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it a name.
    pub(super) fn link(mut self, path: &Path) -> Result<()> {
        match self.named.take() {
            Some(named) => fs::rename(named, path).at(path),
            None => {
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)
                    .map_err(io::Error::from)
                    .at(path)
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.named.take() {
            // What stays behind lies in a directory that is swept anyway.
            let _ = fs::remove_file(path);
        }
    }
}
