//! Where an image may be had from, and where it is pushed to: the plan, as a value.
//!
//! Four kinds of configuration speak of mirrors; each has its file here, reads for one name and answers what it
//! [`Says`]. Not here: connections. Invariant: mirrors are for pulling only; pushing, deleting and searching know
//! one endpoint.

mod daemon_json;
mod endpoint;
mod hosts_toml;
mod own;
mod registries_conf;
mod trust;

pub(crate) use endpoint::Endpoint;
use endpoint::Location;

use crate::settings::{MirrorFiles, Settings};
use berth_oci::{AtPath, Error, Reference, Result};
use std::fs;
use std::io;
use std::path::Path;

/// What one configuration says about one name.
#[derive(Debug, Default)]
struct Says {
    mirrors: Vec<Endpoint>,
    /// The registry itself, where the configuration knows better.
    registry: Option<Registry>,
    /// Hosts that need not be trustworthy.
    insecure: Vec<String>,
    /// Nothing may be pulled from there.
    is_blocked: bool,
}

/// The registry itself, under another address.
#[derive(Debug)]
struct Registry {
    endpoint: Endpoint,
    /// Pulls only (registries.conf's `location`), or everything (containerd's `server`).
    for_push: bool,
}

/// The servers to pull `name` from, in the order they are tried.
///
/// # Errors
/// A configuration is malformed, or forbids the registry.
pub(crate) fn plan(
    name: &Reference,
    settings: &Settings,
    has_certificates: impl Fn(&str) -> bool,
) -> Result<Vec<Endpoint>> {
    let mut said = read_all(name, &settings.mirrors)?;
    refuse_blocked(name, &said)?;
    let mut endpoints: Vec<Endpoint> = said.iter_mut().flat_map(|s| std::mem::take(&mut s.mirrors)).collect();
    endpoints.push(registry_of(name, &said, false));
    let insecure = insecure(settings, &said);
    let mut plan: Vec<Endpoint> = Vec::new();
    for endpoint in endpoints {
        let has_certificates = has_certificates(&endpoint.authority);
        let endpoint = trust::with_trust(endpoint, &insecure, has_certificates);
        if !plan.iter().any(|known| known.is_same_place(&endpoint)) {
            plan.push(endpoint);
        }
    }
    Ok(plan)
}

/// The registry of a name, without any mirror: where everything but a pull goes.
///
/// # Errors
/// As [`plan`].
pub(crate) fn primary(
    name: &Reference,
    settings: &Settings,
    has_certificates: impl Fn(&str) -> bool,
) -> Result<Endpoint> {
    let said = read_all(name, &settings.mirrors)?;
    refuse_blocked(name, &said)?;
    let endpoint = registry_of(name, &said, true);
    let has_certificates = has_certificates(&endpoint.authority);
    Ok(trust::with_trust(endpoint, &insecure(settings, &said), has_certificates))
}

/// Ours first; then in the order of how exact they are about mirrors.
fn read_all(name: &Reference, files: &MirrorFiles) -> Result<Vec<Says>> {
    let mut said = Vec::new();
    if let Some(path) = &files.own {
        said.push(own::read(path, name)?);
    }
    for directory in &files.hosts_directories {
        said.push(hosts_toml::read(directory, name)?);
    }
    said.push(registries_conf::read(&files.registries_conf, name)?);
    if let Some(path) = &files.daemon_json {
        said.push(daemon_json::read(path, name)?);
    }
    Ok(said)
}

fn refuse_blocked(name: &Reference, said: &[Says]) -> Result<()> {
    match said.iter().any(|s| s.is_blocked) {
        true => Err(Error::denied(format!("{} is blocked by the configuration", name.familiar_name()))
            .hint("a [[registry]] table of registries.conf says `blocked = true`")),
        false => Ok(()),
    }
}

fn registry_of(name: &Reference, said: &[Says], for_push: bool) -> Endpoint {
    let known = said.iter().filter_map(|s| s.registry.as_ref()).find(|r| r.for_push || !for_push);
    match known {
        Some(registry) => registry.endpoint.clone(),
        None => Endpoint::registry(name.registry(), name.repository()),
    }
}

fn insecure(settings: &Settings, said: &[Says]) -> Vec<String> {
    settings.insecure.iter().chain(said.iter().flat_map(|s| &s.insecure)).cloned().collect()
}

/// A configuration's text; `None` where there is no such file.
fn text_of(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e).at(path),
    }
}

fn malformed(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("`{}` is malformed: {why}", path.display()))
}

#[cfg(test)]
mod tests;
