//! A layer that has arrived and is verified, but has no name yet.

use super::extract::Extracted;
use super::temporary::Temporary;
use crate::{disk, fault};
use berth_oci::media_type::Compression;
use berth_oci::{AtPath, Descriptor, Digest, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name of the uncompressed layer in its directory.
pub const TAR: &str = "tar";
/// The name of its EROFS index.
pub const INDEX: &str = "index.erofs";

/// How a layer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The tar and an index that mounts it.
    Erofs,
    /// The extracted files. The tar is not kept: keep the compressed layer, or it cannot be given away again.
    Directory,
}

/// A verified layer; dropping it leaves nothing behind.
pub struct IngestedLayer {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// What came in: with the media type that was promised, or else the one that fits.
    pub compressed: Descriptor,
    /// How that was really compressed.
    pub compression: Compression,
    /// Bytes of the tar.
    pub tar_size: u64,
    /// Bytes that the index takes on the disk; for a directory, those of its files.
    pub index_size: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// How it is kept.
    pub form: Form,
    pub(super) content: Content,
    pub(super) temporary: PathBuf,
}

/// What waits for a name.
pub(super) enum Content {
    Erofs { tar: Temporary, index: Temporary },
    Directory(Extracted),
}

impl IngestedLayer {
    /// Gives the layer its final name, durably; `false`: somebody else was faster, and theirs is as good.
    ///
    /// # Errors
    /// The directory cannot be made or renamed.
    pub fn commit(self, destination: &Path) -> Result<bool> {
        let ready = match self.content {
            Content::Directory(extracted) => extracted.into_path(),
            Content::Erofs { tar, index } => {
                let ready = self.temporary.join(disk::random_name()?);
                disk::make_directory(&ready)?;
                fault::step("layer:link");
                tar.link(&ready.join(TAR))?;
                index.link(&ready.join(INDEX))?;
                disk::sync_directory(&ready)?;
                ready
            }
        };
        match disk::publish(&ready, destination) {
            Ok(()) => Ok(true),
            Err(_) if destination.is_dir() && is_complete(destination, self.form) => {
                disk::remove(&ready).map(|()| false)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_complete(directory: &Path, form: Form) -> bool {
    match form {
        Form::Erofs => directory.join(TAR).is_file() && directory.join(INDEX).is_file(),
        Form::Directory => true,
    }
}

/// The bytes that a file takes on the disk.
pub(super) fn allocated(file: &fs::File, path: &Path) -> Result<u64> {
    let metadata: io::Result<fs::Metadata> = file.metadata();
    metadata.at(path).map(|metadata| disk::disk_bytes(&metadata))
}
