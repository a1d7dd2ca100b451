//! The cache manifest: BuildKit's layout, so that registries and tools that keep such things keep ours.
//!
//! An image manifest whose config lists layers and records. A record's `digest` is our own key and `berth` our own
//! words about the step: BuildKit passes over both, as we pass over records without such words, so that neither tool
//! takes the other's results for its own. Invariant: nothing that is read here is trusted beyond its digests.

use berth_build::KnownStep;
use berth_oci::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The media type of the config.
pub(super) const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// No list of steps is larger, in bytes.
pub(super) const CONFIG_LIMIT: u64 = 32 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CacheConfig {
    #[serde(default)]
    pub(super) layers: Vec<CacheLayer>,
    #[serde(default)]
    pub(super) records: Vec<CacheRecord>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct CacheLayer {
    /// The compressed layer; empty inside of an image, whose manifest says it.
    #[serde(default)]
    pub(super) blob: String,
    #[serde(default)]
    pub(super) parent: i64,
    #[serde(default)]
    pub(super) annotations: LayerNotes,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct LayerNotes {
    #[serde(rename = "mediaType", default)]
    pub(super) media_type: String,
    #[serde(rename = "diffID", default)]
    pub(super) diff_id: String,
    #[serde(default)]
    pub(super) size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CacheRecord {
    #[serde(default)]
    pub(super) digest: String,
    /// Layers by their places in the list.
    #[serde(default)]
    pub(super) chains: Vec<Chain>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) berth: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Chain {
    #[serde(default)]
    pub(super) layers: Vec<usize>,
}

impl CacheConfig {
    /// What is written about steps; the layers' blobs are filled in by whoever knows them.
    pub(super) fn of<'a>(steps: impl Iterator<Item = &'a KnownStep>) -> Self {
        let mut config = Self::default();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for step in steps {
            let mut chain = Chain::default();
            for layer in &step.layers {
                let place = *places.entry(layer.diff_id.clone()).or_insert_with(|| {
                    let notes = LayerNotes { diff_id: layer.diff_id.to_string(), ..LayerNotes::default() };
                    config.layers.push(CacheLayer {
                        annotations: notes,
                        parent: -1,
                        ..CacheLayer::default()
                    });
                    config.layers.len() - 1
                });
                chain.layers.push(place);
            }
            config.records.push(CacheRecord {
                digest: step.key.to_string(),
                chains: vec![chain],
                berth: Some(step.document.clone()),
            });
        }
        config
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::corrupt("the list of steps is malformed").caused_by(error))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text has a JSON form")
    }

    /// The steps that are ours, with the diff IDs of their layers.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Digest, &str, Vec<Digest>)> {
        self.records.iter().filter_map(|record| {
            let document = record.berth.as_deref()?;
            let chain = record.chains.first()?;
            let diff_id = |place: &usize| self.layers.get(*place)?.annotations.diff_id.parse().ok();
            let layers = chain.layers.iter().map(diff_id).collect::<Option<Vec<Digest>>>()?;
            Some((record.digest.parse().ok()?, document, layers))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_build::Layer;
    use berth_oci::Descriptor;

    #[test]
    fn steps_come_back_as_they_were_and_others_do_not_count() {
        let layer = |name: &str| Layer {
            descriptor: Descriptor::of("x", name.as_bytes()),
            diff_id: Digest::of(name.as_bytes()),
        };
        let step = |name: &str, layers: &[&str]| KnownStep {
            key: Digest::of(name.as_bytes()),
            document: format!("about {name}"),
            layers: layers.iter().map(|name| layer(name)).collect(),
        };
        let steps = [step("one", &["a", "b"]), step("two", &["b"]), step("three", &[])];
        let config = CacheConfig::parse(&CacheConfig::of(steps.iter()).bytes()).unwrap();
        assert_eq!(config.layers.len(), 2);
        let read: Vec<_> = config.steps().map(|(key, text, ids)| (key, text.to_owned(), ids)).collect();
        let expected: Vec<_> = steps
            .iter()
            .map(|step| {
                let ids = step.layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>();
                (step.key.clone(), step.document.clone(), ids)
            })
            .collect();
        assert_eq!(read, expected);
        for text in [
            r#"{"records":[{"digest":"random:x","results":[{"layer":0}],"inputs":[[{"selector":"","link":0}]]}]}"#,
            r#"{"records":[{"digest":"sha256:12","chains":[{"layers":[]}],"berth":"x"}]}"#,
            r#"{"layers":[{"blob":""}],"records":[{"chains":[{"layers":[7]}],"berth":"x"}]}"#,
            "{}",
        ] {
            assert_eq!(CacheConfig::parse(text.as_bytes()).unwrap().steps().count(), 0, "{text}");
        }
        assert!(CacheConfig::parse(b"[").is_err());
    }
}
