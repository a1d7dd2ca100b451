//! Kept blobs: manifests, configs, compressed layers that stay. Real bytes under their real digest.
//!
//! Invariant: a file below `oci/blobs` is complete and had that digest when it was published; a row says it is
//! there. A file without a row is garbage that whoever brings the same bytes again adopts.

use crate::database::{Answer, Durability, count, moment, number};
use crate::disk;
use crate::lease::{Lease, Protected};
use crate::locks::StoreLock;
use crate::store::{Inner, Store};
use berth_oci::{
    AtPath, Context, Descriptor, Digest, Error, Hasher, ImageConfig, Kind, MANIFEST_LIMIT, Manifest, Result,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

/// Configs and other documents that are read whole are smaller than this.
pub(crate) const DOCUMENT_LIMIT: u64 = 8 << 20;

impl Store {
    /// A manifest or index that is kept here.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where its bytes have changed on disk.
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let raw = self.inner.document(digest, MANIFEST_LIMIT as u64)?;
        Manifest::parse_verified(raw, None, digest).map_err(|e| damaged(e, digest))
    }

    /// The configuration of an image: its bytes and what they say.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest), and `Invalid` where the manifest is an index or its config not an image's.
    pub fn config(&self, manifest: &Manifest) -> Result<(Vec<u8>, ImageConfig)> {
        let image = manifest.image().ok_or_else(|| {
            Error::invalid(format!("{} is an index, which has no config of its own", manifest.digest()))
        })?;
        let raw = self.blob_bytes(&image.config)?;
        let config = ImageConfig::parse(&raw)?;
        Ok((raw, config))
    }

    /// The bytes of a small blob (a config, an attestation) that is kept here.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where its bytes have changed on disk; `Invalid` where it is too large to read whole.
    pub fn blob_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let raw = self.inner.document(&descriptor.digest, DOCUMENT_LIMIT)?;
        let found = hash(&raw, &descriptor.digest);
        match found == descriptor.digest {
            true => Ok(raw),
            false => Err(damaged(
                Error::corrupt(format!(
                    "blob {} has other bytes: their digest is {found}",
                    descriptor.digest
                )),
                &descriptor.digest,
            )),
        }
    }
}

fn hash(bytes: &[u8], like: &Digest) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.finish()
}

fn damaged(error: Error, digest: &Digest) -> Error {
    match error.kind() {
        Kind::Corrupt => Err::<(), _>(error)
            .context(|| format!("the store's copy of {digest} is damaged"))
            .expect_err("it was an error before")
            .hint(
                "`berth system check --repair` finds and removes damaged content; then pull the image again",
            ),
        _ => error,
    }
}

impl Inner {
    /// The bytes of a document, whatever they are; the caller verifies them.
    pub(crate) fn document(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.location.blob(digest);
        let file = self.open_blob(digest)?.ok_or_else(|| {
            Error::not_found(format!("content {digest} is not in the store"))
                .hint("`berth pull` fetches it again")
        })?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).at(&path)?;
        match bytes.len() as u64 > limit {
            true => Err(Error::invalid(format!("{digest} is larger than {limit} bytes, too large to read"))),
            false => Ok(bytes),
        }
    }

    /// The file of a kept blob, if there is one.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.location.blob(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at(path),
        }
    }

    /// Keeps a small document, whose digest the caller has verified, under the lease.
    pub(crate) fn keep_document(&self, digest: &Digest, bytes: &[u8], lease: &Lease) -> Result<()> {
        if lease.protect(&[Protected::Blob(digest)])? {
            return Ok(());
        }
        let temporary = lease.temporary()?;
        let metadata = disk::write_synced(&temporary, bytes)?;
        self.keep_file(digest, &temporary, &metadata, lease)
    }

    /// Keeps a file that is complete, verified and synced: gives it its name, then its row.
    pub(crate) fn keep_file(
        &self,
        digest: &Digest,
        file: &Path,
        metadata: &Metadata,
        lease: &Lease,
    ) -> Result<()> {
        let _adding = StoreLock::shared(&self.location.locks())?;
        disk::publish(file, &self.location.blob(digest))?;
        self.database.write(Durability::Process, |transaction| {
            lease.hold(transaction, &[Protected::Blob(digest)])?;
            Ok(add_row(transaction, digest, metadata)?)
        })
    }
}

/// The row that says a blob's file is there.
pub(crate) fn add_row(connection: &Connection, digest: &Digest, metadata: &Metadata) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO blob (digest, size, disk, added) VALUES (?, ?, ?, ?)",
        params![
            digest.as_str(),
            number(metadata.len()),
            number(disk::disk_bytes(metadata)),
            moment(jiff::Timestamp::now())
        ],
    )?;
    Ok(())
}

/// The size of a kept blob, `None` where it is not kept.
pub(crate) fn size(connection: &Connection, digest: &Digest) -> Answer<Option<u64>> {
    let mut statement = connection.prepare("SELECT size FROM blob WHERE digest = ?")?;
    Ok(statement.query_row([digest.as_str()], |row| count(row, 0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[test]
    fn a_kept_document_comes_back_and_a_changed_one_does_not() {
        let (_directory, store) = temporary();
        let lease = store.lease().unwrap();
        let descriptor = Descriptor::of("text/plain", b"bytes");
        assert_eq!(store.blob_bytes(&descriptor).unwrap_err().kind(), Kind::NotFound);
        for _ in 0..2 {
            store.inner.keep_document(&descriptor.digest, b"bytes", &lease).unwrap();
            assert_eq!(store.blob_bytes(&descriptor).unwrap(), b"bytes");
        }
        std::fs::write(store.inner.location.blob(&descriptor.digest), b"evil!").unwrap();
        let error = store.blob_bytes(&descriptor).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.hint_text().unwrap().contains("system check"), "{error:?}");
    }
}
