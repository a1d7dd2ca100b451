//! Our own configuration's words about mirrors.
//!
//! ```toml
//! insecure-registries = ["10.0.0.0/8", "registry.lan:5000"]
//!
//! [[mirror]]
//! for = "docker.io"            # a registry, one of its paths (`quay.io/team`), `*.example.com`, or `*`
//! location = "mirror.lan:5000/hub"
//! tags = false                 # default true: it may say what a tag means
//! insecure = true              # default false
//! ```
//! Mirrors of one registry are tried in the order they are written, then the registry itself. Other tables of the
//! file are not ours to judge.

use super::registries_conf::Prefix;
use super::{Endpoint, Location, Says, malformed, text_of};
use berth_oci::{Context, Reference, Result};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    insecure_registries: Vec<String>,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Mirror {
    r#for: String,
    location: String,
    #[serde(default = "yes")]
    tags: bool,
    #[serde(default)]
    insecure: bool,
}

fn yes() -> bool {
    true
}

pub(super) fn read(path: &Path, name: &Reference) -> Result<Says> {
    let Some(text) = text_of(path)? else { return Ok(Says::default()) };
    let file: File = toml::from_str(&text).map_err(|e| malformed(path, e))?;
    let mut mirrors = Vec::new();
    for mirror in &file.mirror {
        let location = Location::parse(&mirror.location).context(|| format!("in `{}`", path.display()))?;
        let rest = match mirror.r#for.as_str() {
            "*" => Some(name.repository().to_owned()),
            prefix => Prefix::new(prefix).rest_of(name),
        };
        let Some(rest) = rest else { continue };
        let endpoint = Endpoint { tags: mirror.tags, ..Endpoint::below(&location, &rest) };
        mirrors.push(if mirror.insecure { endpoint.insecure() } else { endpoint });
    }
    Ok(Says { mirrors, insecure: file.insecure_registries, ..Says::default() })
}
