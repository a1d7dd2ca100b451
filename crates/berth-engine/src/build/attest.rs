//! Attestations: what is said of an image beside it, as in-toto statements.
//!
//! Here: statements and their place in an index, as BuildKit lays them out, so that registries and tools carry them
//! along. What is said is in `provenance.rs` and `sbom.rs`. Invariant: a statement names the digest of the manifest
//! that it is about.

use berth_oci::{Descriptor, Digest, Manifest, Platform};
use serde_json::{Value, json};

/// The media type of a statement.
pub(super) const STATEMENT: &str = "application/vnd.in-toto+json";
/// The annotation that says what a statement is about.
pub(super) const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Which attestations are made; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How the image came to be.
    pub provenance: Option<ProvenanceDetail>,
    /// Which packages are in it.
    pub sbom: bool,
}

/// How much is said of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvenanceDetail {
    /// What it was made of, and when.
    Min,
    /// Arguments and the Dockerfile's text, too.
    Max,
}

/// Something that is said, without of what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Predicate {
    pub(super) kind: &'static str,
    pub(super) value: Value,
}

impl Predicate {
    /// The whole statement, with what it is about.
    pub(super) fn statement(&self, subject: &Value) -> (String, Vec<u8>) {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": self.kind,
            "subject": [subject],
            "predicate": self.value,
        });
        (self.kind.to_owned(), serde_json::to_vec(&statement).expect("a value has a JSON form"))
    }
}

/// An image as the subject of statements: a package URL of docker's kind, and the manifest.
pub(super) fn subject(name: Option<&str>, platform: &Platform, manifest: &Digest) -> Value {
    let platform = platform.to_string().replace('/', "%2F");
    let name = match name
        .map(|name| name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((name, "")))
    {
        Some((name, "")) => format!("pkg:docker/{name}?platform={platform}"),
        Some((name, tag)) => format!("pkg:docker/{name}@{tag}?platform={platform}"),
        None => "_".to_owned(),
    };
    json!({ "name": name, "digest": { manifest.algorithm().as_str(): manifest.hex() } })
}

/// The config of an attestation.
pub(super) fn config(statements: &[Descriptor]) -> Vec<u8> {
    let diff_ids: Vec<&str> = statements.iter().map(|statement| statement.digest.as_str()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    serde_json::to_vec(&config).expect("a value has a JSON form")
}

/// An attestation's entry in the index.
pub(super) fn entry(attestation: &Manifest, about: &Digest) -> Descriptor {
    let mut entry = attestation.descriptor();
    entry.platform = Some(Platform::new("unknown", "unknown", None));
    for (key, value) in [("digest", about.as_str()), ("type", "attestation-manifest")] {
        entry.annotations.insert(format!("vnd.docker.reference.{key}"), value.to_owned());
    }
    entry
}
