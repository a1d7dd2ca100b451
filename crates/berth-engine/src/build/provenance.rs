//! `--provenance`: how an image came to be, as SLSA 1 has it.
//!
//! Invariant: no secret is in it: neither the values of secrets nor, in its short form, those of arguments.

use super::attest::{Predicate, ProvenanceDetail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_build::{BuildRequest, Material};
use berth_oci::Platform;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What the statement is called.
pub(super) const KIND: &str = "https://slsa.dev/provenance/v1";
/// What a build of this kind means: see `crates/berth-build`.
const BUILD_TYPE: &str = "urn:berth:dockerfile:1";

/// When it went on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// What is said of a build.
pub(super) fn provenance<'a>(
    request: &BuildRequest,
    materials: impl Iterator<Item = &'a Material>,
    detail: ProvenanceDetail,
    period: Period,
) -> Predicate {
    let mut asked = Map::new();
    asked.insert("frontend".to_owned(), "dockerfile.v0".into());
    if let Some(target) = &request.target {
        asked.insert("target".to_owned(), target.as_str().into());
    }
    let mut metadata = json!({
        "startedOn": period.started.to_string(),
        "finishedOn": period.finished.to_string(),
        "invocationId": period.started.as_nanosecond().to_string(),
    });
    if detail == ProvenanceDetail::Max {
        let args: Map<String, Value> = request
            .args
            .iter()
            .map(|(name, value)| (format!("build-arg:{name}"), value.as_str().into()))
            .collect();
        asked.insert("args".to_owned(), args.into());
        let secrets: Vec<Value> =
            request.secrets.keys().map(|id| json!({ "id": id, "optional": true })).collect();
        asked.insert("secrets".to_owned(), secrets.into());
        metadata["berth_source"] = json!({
            "filename": request.dockerfile_name,
            "language": "Dockerfile",
            "data": STANDARD.encode(&request.dockerfile),
        });
    }
    let dependencies: Vec<Value> = materials.map(dependency).collect();
    let value = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": { "path": request.dockerfile_name },
                "request": asked,
            },
            "internalParameters": { "builderPlatform": Platform::host().to_string() },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": { "id": "", "version": { "berth": env!("CARGO_PKG_VERSION") } },
            "metadata": metadata,
        },
    });
    Predicate { kind: KIND, value }
}

fn dependency(material: &Material) -> Value {
    match material {
        Material::Image { name, platform, digest } => {
            let (name, tag) =
                name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((name, "latest"));
            let platform = platform.replace('/', "%2F");
            json!({
                "uri": format!("pkg:docker/{name}@{tag}?platform={platform}"),
                "digest": { digest.algorithm().as_str(): digest.hex() },
            })
        }
        Material::Web { url, digest } => {
            json!({ "uri": url, "digest": { digest.algorithm().as_str(): digest.hex() } })
        }
        Material::Git { url, commit } => {
            let algorithm = if commit.len() == 40 { "sha1" } else { "sha256" };
            json!({ "uri": format!("git+{url}"), "digest": { algorithm: commit } })
        }
    }
}
