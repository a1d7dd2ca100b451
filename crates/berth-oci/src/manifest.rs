//! Manifests and indexes (image-spec `manifest.md`, `image-index.md`) with the exact bytes they came in.
//!
//! Invariant: a [`Manifest`]'s digest is that of its bytes, whatever the parsed view says.

use crate::{Descriptor, Digest, Error, Hasher, Result, media_type};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The largest manifest we read, in bytes (distribution-spec "Pushing Manifests": registries should take 4 MiB).
pub const MANIFEST_LIMIT: usize = 4 << 20;
/// More layers than this is an attack or a mistake; overlayfs takes 500 lower directories.
const LAYER_LIMIT: usize = 500;
/// More children than this is an attack or a mistake.
const CHILD_LIMIT: usize = 10_000;

/// A manifest or an index: raw bytes and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    raw: Vec<u8>,
    digest: Digest,
    media_type: String,
    body: ManifestBody,
}

/// What the bytes of a [`Manifest`] say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a handful live at a time, and most of them are the large one")]
pub enum ManifestBody {
    /// One image, for one platform (or an artifact).
    Image(ImageManifest),
    /// One image for each of several platforms.
    Index(ImageIndex),
}

/// A config and its layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is, if it is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the base first.
    pub layers: Vec<Descriptor>,
    /// The manifest this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, usually one a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is, if it is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The children.
    pub manifests: Vec<Descriptor>,
    /// The manifest this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The fields that tell the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads a manifest or an index. `media_type` is what the sender called it, if it said.
    ///
    /// # Errors
    /// Too large, not JSON, Docker's schema 1, both kinds at once (CVE-2021-41190), or a field is missing.
    pub fn parse(raw: Vec<u8>, media_type: Option<&str>) -> Result<Self> {
        if raw.len() > MANIFEST_LIMIT {
            return Err(Error::invalid(format!("the manifest is larger than {MANIFEST_LIMIT} bytes")));
        }
        let probe: Probe = serde_json::from_slice(&raw).map_err(|e| not_a_manifest(&raw, &e))?;
        let kind = Kind::of(&probe, media_type)?;
        let (body, default) = match kind {
            Kind::Image => (ManifestBody::Image(read(&raw)?), media_type::OCI_MANIFEST),
            Kind::Index => (ManifestBody::Index(read(&raw)?), media_type::OCI_INDEX),
        };
        check_limits(&body)?;
        let media_type =
            probe.media_type.as_deref().or(media_type.filter(|m| known(m))).unwrap_or(default).to_owned();
        Ok(Self { digest: Digest::of(&raw), raw, media_type, body })
    }

    /// Reads a manifest whose digest is known and must match.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when the bytes have another digest.
    pub fn parse_verified(raw: Vec<u8>, media_type: Option<&str>, expected: &Digest) -> Result<Self> {
        let mut hasher = Hasher::new(expected.algorithm());
        hasher.update(&raw);
        let found = hasher.finish();
        if found != *expected {
            return Err(Error::corrupt(format!(
                "manifest {expected} has other bytes: their digest is {found}"
            )));
        }
        Ok(Self { digest: found, ..Self::parse(raw, media_type)? })
    }

    /// Writes a manifest that we made ourselves.
    #[must_use]
    pub fn from_body(body: ManifestBody) -> Self {
        let (raw, media_type) = match &body {
            ManifestBody::Image(image) => {
                (write(image), image.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST))
            }
            ManifestBody::Index(index) => {
                (write(index), index.media_type.as_deref().unwrap_or(media_type::OCI_INDEX))
            }
        };
        Self { digest: Digest::of(&raw), media_type: media_type.to_owned(), raw, body }
    }

    /// The exact bytes.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The media type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &ManifestBody {
        &self.body
    }

    /// The image, if it is one.
    #[must_use]
    pub fn image(&self) -> Option<&ImageManifest> {
        match &self.body {
            ManifestBody::Image(image) => Some(image),
            ManifestBody::Index(_) => None,
        }
    }

    /// The index, if it is one.
    #[must_use]
    pub fn index(&self) -> Option<&ImageIndex> {
        match &self.body {
            ManifestBody::Image(_) => None,
            ManifestBody::Index(index) => Some(index),
        }
    }

    /// A descriptor that points to it.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.raw.len() as u64)
    }

    /// The manifests it points to; none for an image.
    #[must_use]
    pub fn children(&self) -> &[Descriptor] {
        self.index().map_or(&[], |index| &index.manifests)
    }

    /// The blobs it points to, the config first; none for an index.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.image().into_iter().flat_map(|image| std::iter::once(&image.config).chain(&image.layers))
    }
}

enum Kind {
    Image,
    Index,
}

impl Kind {
    fn of(probe: &Probe, sent_as: Option<&str>) -> Result<Self> {
        let schema1 = [media_type::DOCKER_SCHEMA1, media_type::DOCKER_SCHEMA1_SIGNED];
        let named = probe.media_type.as_deref().or(sent_as).unwrap_or("");
        if probe.fs_layers.is_some() || probe.schema_version == Some(1) || schema1.contains(&named) {
            return Err(Error::unsupported(
                "the image is in docker's schema 1 format, which is no longer read",
            )
            .hint("push it again with a current docker, podman or berth"));
        }
        if probe.schema_version != Some(2) {
            return Err(Error::invalid("not an image manifest: `schemaVersion` is not 2"));
        }
        if probe.manifests.is_some() && (probe.layers.is_some() || probe.config.is_some()) {
            return Err(Error::invalid("the manifest is ambiguous: it has both `manifests` and `layers`"));
        }
        let says_index = media_type::is_index(named);
        let says_image = media_type::is_manifest(named);
        match probe.manifests.is_some() {
            true if !says_image => Ok(Self::Index),
            false if !says_index => Ok(Self::Image),
            _ => Err(Error::invalid(format!("the manifest calls itself {named} and is not one"))),
        }
    }
}

fn known(media_type: &str) -> bool {
    media_type::is_index(media_type) || media_type::is_manifest(media_type)
}

fn not_a_manifest(raw: &[u8], error: &serde_json::Error) -> Error {
    let html = raw.trim_ascii_start().first() == Some(&b'<');
    let message = if html { "got a web page where a manifest should be" } else { "the manifest is not JSON" };
    Error::invalid(format!("{message}: {error}"))
}

fn read<T: serde::de::DeserializeOwned>(raw: &[u8]) -> Result<T> {
    serde_json::from_slice(raw).map_err(|e| Error::invalid(format!("the manifest is malformed: {e}")))
}

fn write<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("a manifest has string keys only")
}

fn check_limits(body: &ManifestBody) -> Result<()> {
    let (count, limit, what) = match body {
        ManifestBody::Image(image) => (image.layers.len(), LAYER_LIMIT, "layers"),
        ManifestBody::Index(index) => (index.manifests.len(), CHILD_LIMIT, "manifests"),
    };
    match count <= limit {
        true => Ok(()),
        false => Err(Error::invalid(format!("the manifest has {count} {what}; {limit} is the limit"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, sent_as: Option<&str>) -> String {
        match Manifest::parse(text.as_bytes().to_vec(), sent_as) {
            Ok(m) => {
                format!("{} {} blobs {} children", m.media_type(), m.blobs().count(), m.children().len())
            }
            Err(e) => format!("{:?}: {e}", e.kind()),
        }
    }

    #[test]
    fn manifests_are_told_apart_by_what_they_are() {
        let d = format!(r#"{{"mediaType":"x","size":1,"digest":"{}"}}"#, Digest::of(b""));
        let image = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#);
        let both = format!(r#"{{"schemaVersion":2,"manifests":[{d}],"layers":[{d}],"config":{d}}}"#);
        assert_eq!(parse(&image, None), format!("{} 2 blobs 0 children", media_type::OCI_MANIFEST));
        assert_eq!(
            parse(&image, Some(media_type::DOCKER_MANIFEST)),
            format!("{} 2 blobs 0 children", media_type::DOCKER_MANIFEST)
        );
        assert_eq!(
            parse(&index, Some("application/json")),
            format!("{} 0 blobs 1 children", media_type::OCI_INDEX)
        );
        assert!(parse(&both, None).contains("ambiguous"));
        assert!(parse(&image, Some(media_type::OCI_INDEX)).contains("is not one"));
        assert!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#, None).starts_with("Unsupported"));
        assert!(parse("<html>", None).contains("got a web page"));
        assert!(parse("{}", None).contains("schemaVersion"));
        assert!(parse(r#"{"schemaVersion":2}"#, None).contains("malformed"));
        assert!(parse(r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1,"mediaType":""},"layers":[]}"#, None).contains("malformed"));
    }

    #[test]
    fn bytes_survive_unchanged() {
        let raw = br#"{ "schemaVersion":2, "unknown":7, "manifests":[] }"#.to_vec();
        let manifest = Manifest::parse(raw.clone(), None).unwrap();
        assert_eq!(manifest.raw(), raw);
        assert_eq!(manifest.digest(), &Digest::of(&raw));
        assert!(Manifest::parse_verified(raw, None, &Digest::of(b"other")).is_err());
    }
}
