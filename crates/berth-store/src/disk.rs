//! Durable steps on files: make, sync, publish, sweep. Each is one fault point.
//!
//! Invariant: [`publish`] is the only way a file gets a name that others look for, and what it publishes has been
//! synced by its caller.

use crate::fault;
use berth_oci::{AtPath, Error, Result};
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a directory that only its owner may enter, and its parents; not synced.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).at(path)
}

/// A new file that only its owner may read.
pub(crate) fn create(path: &Path) -> Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path).at(path)
}

/// A new file with these bytes, synced.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<Metadata> {
    fault::step("write");
    let mut file = create(path)?;
    file.write_all(bytes).at(path)?;
    sync_file(&file, path)?;
    file.metadata().at(path)
}

/// The bytes of `file` reach the disk.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<()> {
    fault::step("sync");
    file.sync_data().at(path)
}

/// The names in a directory reach the disk.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    fault::step("sync-directory");
    File::open(path).and_then(|directory| directory.sync_all()).at(path)
}

/// Gives what lies at `from` its final name, durably.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().expect("everything we publish lies below the root");
    if !parent.is_dir() {
        make_directory(parent)?;
        sync_directory(parent.parent().expect("a fan-out directory has a parent"))?;
    }
    fault::step("publish");
    fs::rename(from, to).at(to)?;
    sync_directory(parent)
}

/// Bytes that a file takes on its disk.
pub(crate) fn disk_bytes(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

/// Moves something away from where others look for it; `None`: it was not there.
pub(crate) fn discard(path: &Path, trash: &Path) -> Result<Option<PathBuf>> {
    fault::step("discard");
    let target = trash.join(random_name()?);
    match fs::rename(path, &target) {
        Ok(()) => Ok(Some(target)),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_directory(trash)?;
            fs::rename(path, &target).at(path).map(|()| Some(target))
        }
        Err(e) => Err(e).at(path),
    }
}

/// Removes a file or a whole tree that nobody looks for any more.
pub(crate) fn remove(path: &Path) -> Result<()> {
    fault::step("remove");
    let answer = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match answer {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at(path),
        _ => Ok(()),
    }
}

/// Sixteen random hexadecimal digits.
pub(crate) fn random_name() -> Result<String> {
    let mut bytes = [0_u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::internal("the kernel gives no random bytes").caused_by(io::Error::from(e)))?;
    }
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// The entries of a directory; none where it does not exist.
pub(crate) fn entries(path: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        answer => answer.and_then(Iterator::collect).at(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::Kind;

    #[test]
    fn what_is_published_is_whole_and_what_is_discarded_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("t"), root.path().join("a/b/c"));
        write_synced(&from, b"bytes").unwrap();
        assert_eq!(write_synced(&from, b"again").unwrap_err().kind(), Kind::Internal);
        publish(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"bytes");
        let trash = root.path().join("trash");
        let trashed = discard(&to, &trash).unwrap().unwrap();
        assert!(!to.exists() && trashed.exists());
        assert_eq!(discard(&to, &trash).unwrap(), None);
        remove(&trashed).unwrap();
        remove(&trashed).unwrap();
        assert_eq!(entries(&trash).unwrap().len(), 0);
        assert_eq!(entries(&root.path().join("nowhere")).unwrap().len(), 0);
    }
}
