//! Docker's `daemon.json`: `registry-mirrors`, which are for Docker Hub alone, and `insecure-registries`.

use super::{Endpoint, Location, Says, malformed, text_of};
use berth_oci::{Context, Error, Reference, Result};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
}

pub(super) fn read(path: &Path, name: &Reference) -> Result<Says> {
    let Some(text) = text_of(path)? else { return Ok(Says::default()) };
    if text.trim().is_empty() {
        return Ok(Says::default());
    }
    let file: File = serde_json::from_str(&text).map_err(|e| malformed(path, e))?;
    let mut mirrors = Vec::new();
    if name.registry() == "docker.io" {
        for text in &file.registry_mirrors {
            mirrors.push(mirror(text, name).context(|| format!("in `{}`", path.display()))?);
        }
    }
    Ok(Says { mirrors, insecure: file.insecure_registries, ..Says::default() })
}

fn mirror(text: &str, name: &Reference) -> Result<Endpoint> {
    let location = Location::parse(text.trim())?;
    match location.path.is_empty() {
        true => Ok(Endpoint::below(&location, name.repository())),
        false => {
            Err(Error::invalid(format!("the mirror `{text}` has a path, which docker's mirrors cannot have"))
                .hint("a `[[mirror]]` of berth's own configuration can"))
        }
    }
}
