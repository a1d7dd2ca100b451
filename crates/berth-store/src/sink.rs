//! The store as the place where an image goes: pull, load, copy, build.
//!
//! Invariant: the image gets its record and its name in one transaction, after all of it is on disk and its layers
//! have proved to be those its config promises.

use crate::assess::{Assessment, Part};
use crate::database::{Durability, moment, number};
use crate::ingest::Arrival;
use crate::lease::{Lease, Protected};
use crate::names;
use crate::store::Store;
use berth_oci::{Blob, Descriptor, Digest, Error, Kind, Manifest, Reference, Result, Sink, media_type};
use rusqlite::{Transaction, params};

/// Whether the compressed bytes of layers stay once the layer is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepBlobs {
    /// Only where there is no registry to fetch them from again.
    #[default]
    Auto,
    /// They stay.
    Always,
    /// They do not.
    Never,
}

/// How an image is taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// Whether compressed layers stay.
    pub keep_blobs: KeepBlobs,
    /// The repository it comes from, if it is a registry's.
    pub origin: Option<Reference>,
}

impl IngestOptions {
    fn arrival(&self) -> Arrival {
        let keep = match self.keep_blobs {
            KeepBlobs::Always => true,
            KeepBlobs::Never => false,
            KeepBlobs::Auto => self.origin.is_none(),
        };
        Arrival { keep, resume: self.origin.is_some() }
    }
}

/// See [`Store::sink`].
#[derive(Debug)]
pub struct StoreSink<'a> {
    store: &'a Store,
    name: Option<Reference>,
    options: IngestOptions,
    lease: &'a Lease,
}

impl Store {
    /// Where one image goes; it gets `name`, or dangles. The lease keeps its parts until then and afterwards.
    ///
    /// # Panics
    /// When the lease is another store's.
    pub fn sink<'a>(
        &'a self,
        name: Option<&Reference>,
        options: IngestOptions,
        lease: &'a Lease,
    ) -> StoreSink<'a> {
        assert!(lease.is_of(self), "a lease keeps things of the store that gave it");
        let name = name.map(names::canonical);
        let options = IngestOptions { origin: options.origin.map(|o| o.name_only()), ..options };
        StoreSink { store: self, name, options, lease }
    }
}

impl Sink for StoreSink<'_> {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        match media_type::layer_compression(&descriptor.media_type) {
            Some(_) => {
                let keep = self.options.keep_blobs == KeepBlobs::Always;
                self.store.has_layer(descriptor, keep, self.lease)
            }
            None => self.lease.protect(&[Protected::Blob(&descriptor.digest)]),
        }
    }

    fn put_blob(&self, blob: &Blob<'_>) -> Result<()> {
        match media_type::layer_compression(&blob.descriptor().media_type) {
            Some(_) => self.store.ingest_layer(blob, self.options.arrival(), self.lease),
            None => self.store.ingest_blob(blob, self.lease),
        }
    }

    fn put_manifest(&self, manifest: &Manifest, is_root: bool) -> Result<()> {
        if let Err(error) = self.store.verify_image(manifest) {
            if error.kind() == Kind::Corrupt {
                self.lease.abandon()?;
            }
            return Err(error);
        }
        self.store.inner.keep_document(manifest.digest(), manifest.raw(), self.lease)?;
        if !is_root {
            return Ok(());
        }
        let assessment = self.store.assess(manifest)?;
        if let Some(damaged) = incomplete(&assessment, manifest) {
            return Err(damaged);
        }
        self.store.inner.database.write(Durability::Machine, |transaction| {
            put_image(transaction, manifest, &assessment, self.options.origin.as_ref())?;
            if let Some(repository) = &self.options.origin {
                put_places(transaction, manifest.digest(), repository)?;
            }
            if let Some(name) = &self.name {
                names::put(transaction, name, manifest.digest())?;
            }
            Ok(())
        })
    }
}

/// A root that is an image must be complete; an index may have children that are elsewhere.
fn incomplete(assessment: &Assessment, manifest: &Manifest) -> Option<Error> {
    let complete = manifest.image().is_none() || assessment.summary.manifests.iter().all(|m| m.available);
    (!complete)
        .then(|| Error::not_found(format!("a blob of manifest {} is not in the store", manifest.digest())))
}

/// Writes an image's record and what it consists of.
pub(crate) fn put_image(
    transaction: &Transaction<'_>,
    root: &Manifest,
    assessment: &Assessment,
    origin: Option<&Reference>,
) -> rusqlite::Result<()> {
    let summary = serde_json::to_string(&assessment.summary).expect("a summary has string keys only");
    transaction.execute(
        "INSERT INTO image (target, media_type, manifest_size, created, size, added, tagged, origin)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
         ON CONFLICT (target) DO UPDATE SET size = ?5, created = ?4, origin = coalesce(?7, origin)",
        params![
            root.digest().as_str(),
            root.media_type(),
            number(root.raw().len() as u64),
            assessment.created.map(moment),
            number(assessment.size),
            moment(jiff::Timestamp::now()),
            origin.map(ToString::to_string),
        ],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO summary (target, document) VALUES (?, ?)",
        params![root.digest().as_str(), summary],
    )?;
    transaction.execute("DELETE FROM content WHERE target = ?", [root.digest().as_str()])?;
    let mut part = transaction.prepare("INSERT INTO content (target, kind, digest) VALUES (?, ?, ?)")?;
    for (kind, digest) in &assessment.content {
        part.execute(params![root.digest().as_str(), *kind as i64, digest.as_str()])?;
    }
    Ok(())
}

/// The repository has every compressed layer of the image.
fn put_places(
    transaction: &Transaction<'_>,
    target: &Digest,
    repository: &Reference,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT OR REPLACE INTO place (digest, repository, seen)
         SELECT origin.digest, ?2, ?3 FROM content JOIN origin ON origin.digest = content.digest
         WHERE content.target = ?1 AND content.kind = ?4",
        params![target.as_str(), repository.to_string(), moment(jiff::Timestamp::now()), Part::Blob as i64],
    )?;
    Ok(())
}
