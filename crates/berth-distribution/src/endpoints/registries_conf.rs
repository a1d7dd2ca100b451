//! `containers-registries.conf(5)`, version 2: `[[registry]]` with prefixes, mirrors, blocks, and drop-ins.
//!
//! Short names and aliases are not read: a name without a registry means Docker Hub, as it does to docker.

use super::{Endpoint, Location, Registry, Says, malformed, text_of};
use berth_oci::{AtPath, Context, Reference, Result};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Table>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// The beginning of names: `host`, `host/path`, or `*.host`.
pub(super) struct Prefix<'a>(&'a str);

impl<'a> Prefix<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// What is left of the repository behind the prefix, if the name begins with it.
    pub(super) fn rest_of(&self, name: &Reference) -> Option<String> {
        if let Some(suffix) = self.0.strip_prefix('*').filter(|s| s.starts_with('.')) {
            let host = name.registry().split(':').next().unwrap_or_default();
            let matches = name.registry().ends_with(suffix) || host.ends_with(suffix);
            return matches.then(|| name.repository().to_owned());
        }
        let whole = name.to_string();
        let rest = whole.strip_prefix(self.0)?;
        let is_boundary = rest.is_empty() || rest.starts_with(['/', ':', '@']);
        // A prefix that ends inside `host:port` is another host.
        let is_beyond_host = self.0.len() >= name.registry().len();
        (is_boundary && is_beyond_host).then(|| self.repository_behind(name))
    }

    fn repository_behind(&self, name: &Reference) -> String {
        let path = name.name();
        path.strip_prefix(self.0).unwrap_or("").trim_start_matches('/').to_owned()
    }

    /// The longer it is, the more it says; a wild card says least.
    fn weight(&self) -> (bool, usize) {
        (!self.0.starts_with('*'), self.0.len())
    }
}

impl Table {
    fn prefix(&self) -> &str {
        if self.prefix.is_empty() { &self.location } else { &self.prefix }
    }
}

pub(super) fn read(paths: &[PathBuf], name: &Reference) -> Result<Says> {
    let mut tables: Vec<(PathBuf, Table)> = Vec::new();
    for path in expanded(paths)? {
        let Some(text) = text_of(&path)? else { continue };
        let file: File = toml::from_str(&text).map_err(|e| malformed(&path, e))?;
        for table in file.registry {
            // A later file replaces what an earlier one says about the same prefix.
            tables.retain(|(from, known)| known.prefix() != table.prefix() || *from == path);
            tables.push((path.clone(), table));
        }
    }
    let best = tables
        .iter()
        .filter_map(|(path, table)| Some((path, table, Prefix::new(table.prefix()).rest_of(name)?)))
        .max_by_key(|(_, table, _)| Prefix::new(table.prefix()).weight());
    match best {
        Some((path, table, rest)) => says(table, &rest, name).context(|| format!("in `{}`", path.display())),
        None => Ok(Says::default()),
    }
}

/// Files as they are, directories as their `*.conf` by name.
fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(drop_ins(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).at(directory)? {
        let path = entry.at(directory)?.path();
        if path.extension().is_some_and(|e| e == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn says(table: &Table, rest: &str, name: &Reference) -> Result<Says> {
    let mut mirrors = Vec::new();
    for mirror in &table.mirror {
        let endpoint = Endpoint::below(&Location::parse(&mirror.location)?, rest);
        let (tags, digests) = pulls(mirror, table.mirror_by_digest_only)?;
        let endpoint = Endpoint { tags, digests, ..endpoint };
        mirrors.push(if mirror.insecure { endpoint.insecure() } else { endpoint });
    }
    let location = match table.location.is_empty() {
        // A wild card, or a prefix that only carries mirrors.
        true => Endpoint::registry(name.registry(), name.repository()),
        false => Endpoint::below(&Location::parse(&table.location)?, rest),
    };
    let endpoint = if table.insecure { location.insecure() } else { location };
    let insecure = if table.insecure { vec![name.registry().to_owned()] } else { Vec::new() };
    let registry = Some(Registry { endpoint, for_push: false });
    Ok(Says { mirrors, registry, insecure, is_blocked: table.blocked })
}

/// Whether a mirror is asked for tags, and for digests.
fn pulls(mirror: &Mirror, by_digest_only: bool) -> Result<(bool, bool)> {
    match (mirror.pull_from_mirror.as_deref(), by_digest_only) {
        (None, true) | (Some("digest-only"), false) => Ok((false, true)),
        (None | Some("" | "all"), false) => Ok((true, true)),
        (Some("tag-only"), false) => Ok((true, false)),
        (Some(_), true) => Err(berth_oci::Error::invalid(
            "`pull-from-mirror` cannot be set together with `mirror-by-digest-only`",
        )),
        (Some(other), false) => Err(berth_oci::Error::invalid(format!(
            "`pull-from-mirror` is `{other}`; it is `all`, `digest-only` or `tag-only`"
        ))),
    }
}
