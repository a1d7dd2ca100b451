//! What the image has at a volume's place goes into a volume that is still empty.
//!
//! Invariant: a volume that has anything in it is left as it is.

use super::{Engine, Volume};
use crate::tree;
use berth_oci::{AtPath, Error, Result};
use berth_runtime::in_root;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

impl Engine {
    /// Copies what is at `place` of a container's root, with owners, modes, attributes and links.
    ///
    /// # Errors
    /// It is not a directory, or cannot be copied.
    pub(crate) fn fill_volume(&self, volume: &Volume, root: &OwnedFd, place: &Path) -> Result<()> {
        let _held = self.store()?.use_volume(&volume.name)?;
        let data = &volume.mountpoint;
        if fs::read_dir(data).at(data)?.next().is_some() {
            return Ok(());
        }
        let source = match in_root::locate(root, place) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).at(place),
        };
        let kind = fstat(&source).map_err(io::Error::from).at(place)?.st_mode;
        if FileType::from_raw_mode(kind) != FileType::Directory {
            return Err(Error::invalid(format!("source {} is not directory", place.display()))
                .hint("the image has a file there: put the volume on a directory, or say nocopy"));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::open(data, flags, Mode::empty()).map_err(io::Error::from).at(data)?;
        tree::copy(source.as_fd(), target.as_fd())
    }
}
