//! An OCI layout's `index.json` (image-spec `image-layout.md`), wherever its files lie.
//!
//! Invariant: a blob's file name is made from its digest; nothing that a document says becomes a path.

use super::naming;
use super::open::ArchivedImage;
use berth_oci::{Descriptor, Digest, Error, ImageIndex, MANIFEST_LIMIT, Result};
use std::io::Read;

/// The files of an archive or a layout directory, by name.
pub(super) trait Files: Send + Sync {
    /// A whole small file, `None` where there is none.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;
    /// A file's bytes from an offset on, `None` where there is none.
    fn open(&self, name: &str, skip: u64) -> Result<Option<Box<dyn Read + Send>>>;
    /// A file's size, `None` where there is none.
    fn size(&self, name: &str) -> Result<Option<u64>>;
}

/// Where a layout keeps a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// The images that index.json lists, one for each root, with all of its names; `None` where there is no index.json.
pub(super) fn images(files: &dyn Files) -> Result<Option<Vec<ArchivedImage>>> {
    let Some(raw) = files.read("index.json", MANIFEST_LIMIT as u64)? else { return Ok(None) };
    let index: ImageIndex = serde_json::from_slice(&raw)
        .map_err(|e| Error::invalid("`index.json` is not an OCI image index").caused_by(e))?;
    let mut images: Vec<ArchivedImage> = Vec::new();
    for descriptor in index.manifests {
        let (name, tag) =
            (naming::of(&descriptor), descriptor.annotation(naming::REF_NAME).map(str::to_owned));
        let known = images.iter().position(|image| image.target.digest == descriptor.digest);
        let at = known.unwrap_or_else(|| {
            images.push(ArchivedImage { names: Vec::new(), tags: Vec::new(), target: plain(descriptor) });
            images.len() - 1
        });
        let image = &mut images[at];
        image.names.extend(name.filter(|name| !image.names.contains(name)));
        image.tags.extend(tag.filter(|tag| !image.tags.contains(tag)));
    }
    Ok(Some(images))
}

fn plain(descriptor: Descriptor) -> Descriptor {
    Descriptor { annotations: Default::default(), ..descriptor }
}
