//! What refers to a manifest (distribution-spec "Listing Referrers"), and the tag that stands in for registries
//! that cannot say.
//!
//! Invariant: an index that stands in is read, completed and written back; nothing that was in it is lost.

use crate::http::{Failure, Method, Request, Url};
use crate::registry::Registry;
use crate::source::{accepting, read_manifest, refuse_web_page};
use berth_oci::{
    Descriptor, Digest, ImageIndex, Kind, MANIFEST_LIMIT, Manifest, ManifestBody, Result, TagOrDigest,
    media_type,
};

/// A registry that sends us in circles is left after so many pages.
const PAGES: usize = 1000;

/// `sha256-<hex>`, the tag of the index that stands in.
fn tag_of(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex()).chars().take(128).collect()
}

/// The descriptors of what refers to `digest`; of one artifact type, if that is given.
pub(crate) fn list(
    registry: &Registry,
    digest: &Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Failure> {
    let mut found = match by_api(registry, digest, artifact_type)? {
        Some(found) => found,
        None => by_tag(registry, digest)?.map(|index| index.manifests).unwrap_or_default(),
    };
    // A registry may leave the filter to us.
    found.retain(|d| artifact_type.is_none_or(|wanted| d.artifact_type.as_deref() == Some(wanted)));
    Ok(found)
}

fn by_api(
    registry: &Registry,
    digest: &Digest,
    artifact_type: Option<&str>,
) -> Result<Option<Vec<Descriptor>>, Failure> {
    let filtered = |url: Url| match artifact_type {
        Some(wanted) => url.query("artifactType", wanted),
        None => url,
    };
    let ask = |url: Url| Request::new(Method::Get, url).header("Accept", media_type::OCI_INDEX);
    let mut response = registry.ask(&format!("referrers/{digest}"), |url| ask(filtered(url)))?;
    if matches!(response.status, 400 | 404 | 405) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for _ in 0..PAGES {
        response = registry.expect(response)?;
        refuse_web_page(&response)?;
        let next = crate::browse::next_page(&response)?;
        let bytes = response.bytes(MANIFEST_LIMIT)?;
        let page = Manifest::parse(bytes, Some(media_type::OCI_INDEX))?;
        found.extend_from_slice(page.children());
        match next {
            Some(url) => response = registry.send(&mut ask(url))?,
            None => break,
        }
    }
    Ok(Some(found))
}

fn by_tag(registry: &Registry, digest: &Digest) -> Result<Option<ImageIndex>, Failure> {
    let tag = tag_of(digest);
    let response =
        registry.ask(&format!("manifests/{tag}"), |url| accepting(Request::new(Method::Get, url)))?;
    let mut response = match registry.expect(response) {
        Err(failure) if failure.error.kind() == Kind::NotFound => return Ok(None),
        answer => answer?,
    };
    refuse_web_page(&response)?;
    let bytes = response.bytes(MANIFEST_LIMIT)?;
    let manifest = read_manifest(bytes, &response, &TagOrDigest::Tag(&tag))?;
    Ok(manifest.index().cloned())
}

/// Adds `manifest` to the index that stands in for the referrers of `subject`.
pub(crate) fn add_by_tag(
    registry: &Registry,
    subject: &Descriptor,
    manifest: &Manifest,
) -> Result<(), Failure> {
    let mut index = by_tag(registry, &subject.digest)?.unwrap_or_else(empty);
    let entry = entry_of(manifest);
    if index.manifests.iter().any(|known| known.digest == entry.digest) {
        return Ok(());
    }
    index.manifests.push(entry);
    let index = Manifest::from_body(ManifestBody::Index(index));
    let path = format!("manifests/{}", tag_of(&subject.digest));
    let response =
        registry.ask(&path, |url| Request::new(Method::Put, url).payload(index.media_type(), index.raw()))?;
    registry.expect(response).map(drop)
}

fn empty() -> ImageIndex {
    ImageIndex {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests: Vec::new(),
        subject: None,
        annotations: Default::default(),
    }
}

/// The descriptor as the referrers API would show it: with artifact type and annotations.
fn entry_of(manifest: &Manifest) -> Descriptor {
    let (artifact_type, annotations) = match manifest.body() {
        ManifestBody::Image(image) => {
            let own = image.artifact_type.clone().or_else(|| Some(image.config.media_type.clone()));
            (own, image.annotations.clone())
        }
        ManifestBody::Index(index) => (index.artifact_type.clone(), index.annotations.clone()),
    };
    Descriptor { artifact_type, annotations, ..manifest.descriptor() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_tag_is_the_specs() {
        let digest = Digest::of(b"");
        assert_eq!(tag_of(&digest), format!("sha256-{}", digest.hex()));
        let long: Digest = format!("sha512:{}", "a".repeat(128)).parse().unwrap();
        assert_eq!(tag_of(&long).len(), 128);
    }
}
