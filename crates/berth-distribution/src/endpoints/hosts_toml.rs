//! containerd's `certs.d/<host>/hosts.toml` (its `docs/hosts.md`), read at each pull.
//!
//! Relative file names in it are relative to its directory. A mirror's `push` capability is not used: we push to
//! the registry itself.

use super::{Endpoint, Location, Registry, Says, malformed, text_of};
use crate::http::{Scheme, split_port};
use berth_oci::{Context, Error, Reference, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    of_server: Host,
}

#[derive(Default, Deserialize)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

pub(super) fn read(directory: &Path, name: &Reference) -> Result<Says> {
    for directory in directories(directory, name.registry()) {
        let path = directory.join("hosts.toml");
        if let Some(text) = text_of(&path)? {
            let file: File = toml::from_str(&text).map_err(|e| malformed(&path, e))?;
            return says(&file, &directory, name).context(|| format!("in `{}`", path.display()));
        }
    }
    Ok(Says::default())
}

/// `host_port_` is for file systems that take no colon; `_default` is for whoever has nothing of his own.
fn directories(root: &Path, registry: &str) -> Vec<PathBuf> {
    let mut names = vec![registry.to_owned()];
    if let Some((host, Some(port))) = split_port(registry) {
        names.push(format!("{host}_{port}_"));
    }
    names.push("_default".to_owned());
    names.into_iter().map(|name| root.join(name)).collect()
}

fn says(file: &File, directory: &Path, name: &Reference) -> Result<Says> {
    let mut mirrors = Vec::new();
    for (address, table) in &file.host {
        let host: Host = table.clone().try_into().map_err(|e: toml::de::Error| {
            Error::invalid(format!("[host.\"{address}\"] is malformed: {}", e.message()))
        })?;
        let endpoint = endpoint(address, &host, directory, name)?;
        if endpoint.tags || endpoint.digests {
            mirrors.push(endpoint);
        }
    }
    let registry = match &file.server {
        Some(address) => Some(endpoint(address, &file.of_server, directory, name)?),
        None => None,
    };
    let registry = registry.map(|endpoint| Registry { endpoint, for_push: true });
    Ok(Says { mirrors, registry, ..Says::default() })
}

fn endpoint(address: &str, host: &Host, directory: &Path, name: &Reference) -> Result<Endpoint> {
    let location = Location::parse(address)?;
    let mut endpoint = Endpoint::registry(&location.authority, name.repository());
    let may = |what: &str| host.capabilities.as_ref().is_none_or(|c| c.iter().any(|one| one == what));
    endpoint.tags = may("resolve");
    endpoint.digests = may("pull");
    endpoint.base = base(&location.path, host.override_path);
    endpoint.namespace = Some(name.registry().to_owned()).filter(|_| !is_itself(&endpoint.authority, name));
    endpoint.tls.skip_verify = host.skip_verify;
    endpoint.tls.authorities = host.ca.iter().flat_map(OneOrMore::all).map(|f| directory.join(f)).collect();
    endpoint.tls.identities = identities(host.client.as_ref(), directory)?;
    endpoint.dial_timeout = host.dial_timeout.as_deref().map(duration).transpose()?;
    for (key, values) in &host.header {
        endpoint.headers.extend(values.all().iter().map(|value| (key.clone(), value.clone())));
    }
    endpoint.schemes = match (location.scheme, host.skip_verify) {
        (Some(Scheme::Http), _) => vec![Scheme::Http],
        (_, true) => vec![Scheme::Https, Scheme::Http],
        (_, false) => vec![Scheme::Https],
    };
    Ok(endpoint)
}

fn is_itself(authority: &str, name: &Reference) -> bool {
    Endpoint::registry(name.registry(), "").authority == authority
}

fn base(path: &str, is_whole: bool) -> String {
    match (path, is_whole) {
        ("", true) => "/".to_owned(),
        ("", false) => "/v2/".to_owned(),
        (path, true) => format!("/{path}/"),
        (path, false) if path == "v2" || path.ends_with("/v2") => format!("/{path}/"),
        (path, false) => format!("/{path}/v2/"),
    }
}

/// `"both.pem"`, `["both.pem"]`, or `[["cert.pem", "key.pem"], …]`.
fn identities(value: Option<&toml::Value>, directory: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    use toml::Value as V;
    let file = |text: &str| directory.join(text);
    let both = |text: &str| (file(text), file(text));
    let pair = |value: &V| match value {
        V::String(text) => Some(both(text)),
        V::Array(parts) => match &parts[..] {
            [V::String(only)] => Some(both(only)),
            [V::String(certificate), V::String(key)] => Some((file(certificate), file(key))),
            _ => None,
        },
        _ => None,
    };
    let found = match value {
        None => return Ok(Vec::new()),
        Some(V::Array(entries)) => entries.iter().map(pair).collect::<Option<Vec<_>>>(),
        Some(other) => pair(other).map(|one| vec![one]),
    };
    found.ok_or_else(|| Error::invalid("`client` should be a file name, or a list of [certificate, key]"))
}

/// Go's `3s`, `1m30s`, `250ms`.
fn duration(text: &str) -> Result<Duration> {
    let invalid = || Error::invalid(format!("`{text}` is not a time; it should read like `3s` or `1m30s`"));
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, behind) = rest.split_at(digits);
        let unit = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let number: u32 = number.parse().map_err(|_| invalid())?;
        total += match &behind[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(invalid()),
        } * number;
        rest = &behind[unit..];
    }
    if total.is_zero() { Err(invalid()) } else { Ok(total) }
}
