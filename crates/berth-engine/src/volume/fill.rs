//! What the image has at a volume's place goes into a volume that is still empty.
//!
//! Invariant: a volume that has anything in it is left as it is.

use super::{Engine, Volume};
use crate::archive::{self, Owner};
use crate::tree;
use berth_oci::{AtPath, Error, Result};
use berth_runtime::in_root;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::fs;
use std::io::{self, Read, Write};
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

impl Engine {
    /// Writes a volume's files as a tar.
    ///
    /// # Errors
    /// They cannot be read, or the sink is full.
    pub fn export_volume(&self, volume: &Volume, out: &mut dyn Write) -> Result<()> {
        drop(self.mount_volume(volume, "")?);
        let data = &volume.mountpoint;
        archive::write(fs::File::open(data).at(data)?.as_fd(), c".", b"", out)
    }

    /// Unpacks a tar into a volume; what else is in there stays.
    ///
    /// # Errors
    /// It is no tar, or the disk is full.
    pub fn import_volume(&self, volume: &Volume, tar: &mut dyn Read) -> Result<()> {
        drop(self.mount_volume(volume, "")?);
        let data = &volume.mountpoint;
        archive::unpack(fs::File::open(data).at(data)?.as_fd(), Owner::Archive, tar)
    }
}
