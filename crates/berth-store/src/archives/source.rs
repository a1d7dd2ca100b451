//! One image of an archive as a source for a copy.

use super::index::blob_name;
use super::open::Archive;
use berth_oci::{Descriptor, Error, MANIFEST_LIMIT, Manifest, Result, Source};
use std::io::Read;

/// See [`Archive::source`].
pub struct ArchiveSource<'a> {
    pub(super) archive: &'a Archive,
    pub(super) target: Descriptor,
}

impl Source for ArchiveSource<'_> {
    fn root(&self) -> Result<Manifest> {
        self.manifest(&self.target)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        if let Some(manifest) = self.archive.made.manifests.get(&descriptor.digest) {
            return Ok(manifest.clone());
        }
        let raw = self.archive.files.read(&blob_name(&descriptor.digest), MANIFEST_LIMIT as u64)?;
        let raw = raw.ok_or_else(|| missing(descriptor, "manifest"))?;
        Manifest::parse_verified(raw, Some(&descriptor.media_type), &descriptor.digest)
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let own = blob_name(&descriptor.digest);
        let name = self.archive.made.blobs.get(&descriptor.digest).unwrap_or(&own);
        self.archive.files.open(name, offset)?.ok_or_else(|| missing(descriptor, "blob"))
    }
}

fn missing(descriptor: &Descriptor, what: &str) -> Error {
    Error::not_found(format!("the archive has no {what} {}", descriptor.digest))
        .hint("the archive is incomplete; one with a single platform is read with `--platform`")
}
