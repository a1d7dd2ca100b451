//! `--annotation`: words about manifests, indexes and their entries.
//!
//! Invariant: each annotation lands on exactly the documents that it names; one that would land nowhere is refused.

use berth_oci::{Error, Platform, Result};
use std::collections::BTreeMap;
use std::str::FromStr;

/// A document that can be annotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Annotated {
    /// An image's manifest.
    Manifest,
    /// The index of several.
    Index,
    /// A manifest's entry in the index.
    ManifestDescriptor,
}

/// `[index,manifest[linux/arm64]:]key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildAnnotation {
    on: Vec<(Annotated, Option<Platform>)>,
    key: String,
    value: String,
}

impl BuildAnnotation {
    /// An annotation of one kind of document.
    #[must_use]
    pub fn new(on: Annotated, platform: Option<Platform>, key: &str, value: &str) -> Self {
        Self { on: vec![(on, platform)], key: key.to_owned(), value: value.to_owned() }
    }
}

impl FromStr for Annotated {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "manifest" => Self::Manifest,
            "index" => Self::Index,
            "manifest-descriptor" => Self::ManifestDescriptor,
            "index-descriptor" => {
                return Err(Error::unsupported(
                    "the entry of an index in a layout has no annotations of its own",
                )
                .hint("there are manifest, index and manifest-descriptor"));
            }
            _ => return Err(Error::invalid(format!("unknown annotation type {text:?}"))),
        })
    }
}

impl FromStr for BuildAnnotation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid annotation {text:?}, expected key=value"));
        let (key, value) = text.split_once('=').ok_or_else(invalid)?;
        let (on, key) = match key.split_once(':') {
            Some((kinds, key)) => (kinds.split(',').map(kind).collect::<Result<Vec<_>>>()?, key),
            None => (vec![(Annotated::Manifest, None)], key),
        };
        match key.is_empty() {
            true => Err(invalid()),
            false => Ok(Self { on, key: key.to_owned(), value: value.to_owned() }),
        }
    }
}

/// `manifest[linux/arm64]`.
fn kind(text: &str) -> Result<(Annotated, Option<Platform>)> {
    let (name, platform) = match text.split_once('[') {
        Some((name, rest)) => {
            let platform = rest
                .strip_suffix(']')
                .ok_or_else(|| Error::invalid(format!("annotation type {text:?}: `]` is missing")))?;
            (name, Some(platform.parse()?))
        }
        None => (text, None),
    };
    let kind = name.parse()?;
    match (kind, &platform) {
        (Annotated::Index, Some(_)) => {
            Err(Error::invalid(format!("annotation type {text:?}: an index is not of one platform")))
        }
        _ => Ok((kind, platform)),
    }
}

/// The words for a document, of a platform if it is of one.
pub(crate) fn words_for(
    annotations: &[BuildAnnotation],
    document: Annotated,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let fits = |(on, of): &(Annotated, Option<Platform>)| {
        *on == document && of.as_ref().is_none_or(|of| platform == Some(of))
    };
    let fitting = annotations.iter().filter(|annotation| annotation.on.iter().any(fits));
    fitting.map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
}

/// Annotations whose document the result does not have.
pub(super) fn check(annotations: &[BuildAnnotation], has_index: bool, platforms: &[Platform]) -> Result<()> {
    for annotation in annotations {
        for (on, platform) in &annotation.on {
            if !has_index && *on != Annotated::Manifest {
                return Err(Error::invalid(format!(
                    "index annotations not supported for single platform export: {}",
                    annotation.key
                ))
                .hint("build for several platforms or with an attestation, or write manifest:"));
            }
            if let Some(platform) = platform.as_ref().filter(|platform| !platforms.contains(platform)) {
                return Err(Error::invalid(format!(
                    "annotation {} is for {platform}, which is not built",
                    annotation.key
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_land_where_they_say() {
        let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|text| text.parse::<Platform>().unwrap());
        let texts =
            ["a=1", "index:b=2", "index,manifest[linux/arm64]:c=3=x", "manifest-descriptor:org.x:y=4"];
        let all: Vec<BuildAnnotation> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let shown = |document, platform: Option<&Platform>| {
            words_for(&all, document, platform)
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(Annotated::Manifest, Some(&amd64)), ["a=1"]);
        assert_eq!(shown(Annotated::Manifest, Some(&arm64)), ["a=1", "c=3=x"]);
        assert_eq!(shown(Annotated::Index, None), ["b=2", "c=3=x"]);
        assert_eq!(shown(Annotated::ManifestDescriptor, Some(&amd64)), ["org.x:y=4"]);
        assert!(check(&all, true, &[amd64.clone(), arm64.clone()]).is_ok());
        assert!(check(&all, false, std::slice::from_ref(&arm64)).is_err());
        assert!(check(&all, true, std::slice::from_ref(&amd64)).is_err());
        for text in
            ["a", "=x", "manifest:=x", "layer:a=1", "index[linux/amd64]:a=1", "manifest[linux/amd64:a=1"]
        {
            assert!(text.parse::<BuildAnnotation>().is_err(), "{text}");
        }
    }
}
