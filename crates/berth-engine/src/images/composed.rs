//! An image some of whose parts are made on the way: manifests and documents in memory, layers packed anew.
//!
//! Invariant: whatever is not among them is what the source below has under that digest.

use berth_oci::{Descriptor, Digest, Error, Manifest, Result, Source};
use berth_store::{Packed, Packing, Store};
use std::collections::HashMap;
use std::io::{Cursor, Read};

/// A source that shows another manifest than the one below it.
pub(crate) struct Composed<S> {
    /// What it shows.
    pub(crate) root: Manifest,
    /// What was made for it.
    pub(crate) parts: Parts,
    /// Where everything else comes from.
    pub(crate) inner: S,
}

/// What was made.
#[derive(Default)]
pub(crate) struct Parts {
    manifests: HashMap<Digest, Manifest>,
    documents: HashMap<Digest, Vec<u8>>,
    packed: HashMap<Digest, Packed>,
}

impl Parts {
    /// A manifest that an index points to.
    pub(crate) fn manifest(&mut self, manifest: Manifest) {
        self.manifests.insert(manifest.digest().clone(), manifest);
    }

    /// A config, or a statement about an image.
    pub(crate) fn document(&mut self, kind: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(kind, &bytes);
        self.documents.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// A layer of the store, packed.
    pub(crate) fn pack(&mut self, store: &Store, diff_id: &Digest, packing: Packing) -> Result<Descriptor> {
        let made = store.pack(diff_id, packing)?;
        let descriptor = made.descriptor().clone();
        self.packed.insert(descriptor.digest.clone(), made);
        Ok(descriptor)
    }
}

impl<S: Source> Source for Composed<S> {
    fn root(&self) -> Result<Manifest> {
        Ok(self.root.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        match self.parts.manifests.get(&descriptor.digest) {
            Some(manifest) => Ok(manifest.clone()),
            None => self.inner.manifest(descriptor),
        }
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        if let Some(bytes) = self.parts.documents.get(&descriptor.digest) {
            let mut bytes = Cursor::new(&bytes[..]);
            bytes.set_position(offset);
            return Ok(Box::new(bytes));
        }
        match self.parts.packed.get(&descriptor.digest) {
            Some(layer) => Ok(layer.open(offset)?),
            None => self.inner.blob(descriptor, offset),
        }
    }

    fn distrust(&self, descriptor: &Descriptor, why: &Error) -> Result<bool> {
        self.inner.distrust(descriptor, why)
    }
}
