//! An OCI layout on disk, from images in memory: what other tools read.

use super::Image;
use berth_oci::{Descriptor, Digest, ImageIndex, Manifest, ManifestBody, Platform, media_type};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Writes a multi-platform image as an OCI layout under the name `image`; answers the digest of its index.
pub(crate) fn write_layout(directory: &Path, images: &[(&str, &Image)]) -> Digest {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("the test's own directory");
    let write =
        |digest: &Digest, bytes: &[u8]| fs::write(blobs.join(digest.hex()), bytes).expect("it is there");
    let mut manifests = Vec::new();
    for (platform, image) in images {
        for (digest, bytes) in &image.blobs {
            write(&digest.parse().expect("it was a digest"), bytes);
        }
        write(image.manifest.digest(), image.manifest.raw());
        let platform: Platform = platform.parse().expect("the tests name platforms");
        manifests.push(Descriptor { platform: Some(platform), ..image.manifest.descriptor() });
    }
    let root = index(Some(media_type::OCI_INDEX), manifests);
    write(root.digest(), root.raw());
    let mut named = root.descriptor();
    named.annotations =
        BTreeMap::from([("org.opencontainers.image.ref.name".to_owned(), "image".to_owned())]);
    fs::write(directory.join("index.json"), index(None, vec![named]).raw()).expect("it is there");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("it is there");
    root.digest().clone()
}

fn index(media_type: Option<&str>, manifests: Vec<Descriptor>) -> Manifest {
    Manifest::from_body(ManifestBody::Index(ImageIndex {
        schema_version: 2,
        media_type: media_type.map(str::to_owned),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: BTreeMap::new(),
    }))
}
