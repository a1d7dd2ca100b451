//! The store as the place where an image comes from: push, save, copy.
//!
//! Invariant: every blob is answered with the exact bytes of its digest or not at all; nothing is compressed again
//! behind anybody's back.

use crate::database::parsed;
use crate::store::Store;
use berth_oci::{AtPath, Descriptor, Digest, Error, Manifest, Reference, Result, Source};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Fetches compressed layers that the store did not keep from where they came from.
pub trait OriginFallback: Sync {
    /// The bytes of a blob from `offset` on, from any of the repositories, not verified.
    ///
    /// # Errors
    /// None of them has it, or none can be reached.
    fn blob(
        &self,
        descriptor: &Descriptor,
        repositories: &[Reference],
        offset: u64,
    ) -> Result<Box<dyn Read + Send + '_>>;
}

/// See [`Store::source`].
pub struct StoreSource<'a> {
    store: Store,
    target: Digest,
    fallback: Option<&'a dyn OriginFallback>,
}

impl Store {
    /// An image of the store, by its target. `fallback` fetches compressed layers that were not kept.
    #[must_use]
    pub fn source<'a>(&self, target: &Digest, fallback: Option<&'a dyn OriginFallback>) -> StoreSource<'a> {
        StoreSource { store: self.clone(), target: target.clone(), fallback }
    }

    /// The repositories that are known to have a blob, the one seen last first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn origins(&self, blob: &Digest) -> Result<Vec<Reference>> {
        self.inner.database.read(|connection| {
            let mut statement =
                connection.prepare("SELECT repository FROM place WHERE digest = ? ORDER BY seen DESC")?;
            let repositories = statement.query_map([blob.as_str()], |row| parsed(row, 0))?;
            Ok(repositories.collect::<rusqlite::Result<Vec<_>>>()?)
        })
    }
}

impl Source for StoreSource<'_> {
    fn root(&self) -> Result<Manifest> {
        self.store.manifest(&self.target)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        self.store.manifest(&descriptor.digest)
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(file) = self.store.inner.open_blob(&descriptor.digest)? {
            return from(file, offset);
        }
        // An uncompressed layer's blob is the layer itself.
        if let Some(file) = self.store.open_tar(&descriptor.digest)? {
            return from(file, offset);
        }
        let repositories = self.store.origins(&descriptor.digest)?;
        match self.fallback.filter(|_| !repositories.is_empty()) {
            Some(fallback) => fallback.blob(descriptor, &repositories, offset),
            None => Err(not_kept(descriptor, &repositories)),
        }
    }
}

impl Store {
    /// The uncompressed bytes of a layer, if it lies here as a tar.
    pub(crate) fn open_tar(&self, diff_id: &Digest) -> Result<Option<File>> {
        let path = self.inner.location.layer(diff_id).join("tar");
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at(path),
        }
    }
}

fn from(mut file: File, offset: u64) -> Result<Box<dyn Read + Send>> {
    file.seek(SeekFrom::Start(offset))?;
    Ok(Box::new(file))
}

fn not_kept(descriptor: &Descriptor, repositories: &[Reference]) -> Error {
    let error = Error::not_found(format!("the compressed bytes of layer {} are not here", descriptor.digest));
    match repositories.first() {
        Some(repository) => error.hint(format!(
            "berth keeps layers unpacked and fetches their compressed form again from {} when it is needed; \
             `keep-blobs = \"always\"` in the configuration keeps both",
            repository.familiar()
        )),
        None => {
            error.hint("pull or load the image again with `keep-blobs = \"always\"` in the configuration")
        }
    }
}
