//! The Container Device Interface: JSON and YAML files of this machine that say what a device's name means.
//!
//! Here: which files count, and from names to edits. `document.rs` is one file, `edits.rs` what it changes in a runtime
//! specification. Not here: devices named by their path. Invariant: a device that two files of one directory both
//! describe is an error for whoever asks for it, and for nobody else.

mod document;
mod edits;

pub(crate) use edits::apply;

use crate::spec::{CdiName, ContainerSpec, GpuRequest};
use berth_oci::{AtPath, Error, Result};
use document::{Document, Edits};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Vendors of GPUs, the one docker prefers first.
const GPU_KINDS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];

/// Every readable file, the directories in their order: a later one outdoes those before it.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    documents: Vec<Found>,
    /// Files that are not what they should be, and why.
    problems: Vec<String>,
}

#[derive(Debug)]
struct Found {
    path: PathBuf,
    /// The place of its directory among the directories.
    rank: usize,
    document: Document,
}

/// What the devices of a container change.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<Edits>);

impl Registry {
    /// Reads what is in `directories`; files that are broken count only when nothing else has what is asked for.
    pub(crate) fn read(directories: &[PathBuf]) -> Result<Self> {
        let mut registry = Self::default();
        for (rank, directory) in directories.iter().enumerate() {
            for path in files(directory)? {
                match Document::read(&path) {
                    Ok(document) => registry.documents.push(Found { path, rank, document }),
                    Err(error) => registry.problems.push(format!("`{}`: {error}", path.display())),
                }
            }
        }
        Ok(registry)
    }

    /// The edits of these devices: each document's own once, before those of its devices.
    pub(crate) fn changes(&self, names: &[CdiName]) -> Result<Changes> {
        let mut changes = Changes::default();
        let mut used: Vec<&Path> = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            let Some(found) = self.find(name)? else {
                missing.push(name.to_string());
                continue;
            };
            if !used.contains(&found.path.as_path()) {
                used.push(&found.path);
                changes.0.push(found.document.edits().clone());
            }
            changes.0.extend(found.document.device(&name.name).cloned());
        }
        match missing.is_empty() {
            true => Ok(changes),
            false => Err(self.unresolvable(&missing)),
        }
    }

    fn find(&self, name: &CdiName) -> Result<Option<&Found>> {
        let has = |found: &&Found| {
            found.document.kind() == name.kind && found.document.device(&name.name).is_some()
        };
        let rank = self.documents.iter().filter(has).map(|found| found.rank).max();
        let mut fitting = self.documents.iter().filter(has).filter(|found| Some(found.rank) == rank);
        match (fitting.next(), fitting.next()) {
            (Some(one), Some(other)) => Err(Error::conflict(format!(
                "conflicting device \"{name}\" (specs \"{}\", \"{}\")",
                one.path.display(),
                other.path.display()
            ))),
            (found, _) => Ok(found),
        }
    }

    fn unresolvable(&self, names: &[String]) -> Error {
        let error = Error::invalid(format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            names.join(", ")
        ));
        let known: Vec<String> = self.names();
        match (self.problems.is_empty(), known.is_empty()) {
            (false, _) => error.hint(format!("these files cannot be used: {}", self.problems.join("; "))),
            (true, true) => error.hint("no CDI specification in /etc/cdi or /run/cdi describes any device"),
            (true, false) => error.hint(format!("this machine has {}", known.join(", "))),
        }
    }

    /// Every device there is, qualified.
    fn names(&self) -> Vec<String> {
        let names = |found: &Found| {
            let kind = found.document.kind().to_owned();
            found.document.devices().map(move |name| format!("{kind}={name}")).collect::<Vec<_>>()
        };
        let mut names: Vec<String> = self.documents.iter().flat_map(names).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The devices that docker's `--gpus` means here.
    fn gpus(&self, request: &GpuRequest) -> Result<Vec<CdiName>> {
        let wanted = |kind: &&str| {
            self.documents.iter().any(|found| found.document.kind() == *kind)
                && (request.driver.is_empty() || kind.starts_with(&request.driver))
        };
        let kind = GPU_KINDS.into_iter().find(wanted).ok_or_else(|| {
            let capabilities: Vec<&str> =
                ["gpu"].into_iter().chain(request.capabilities.iter().map(String::as_str)).collect();
            Error::invalid(format!(
                "could not select device driver \"{}\" with capabilities: [[{}]]",
                request.driver,
                capabilities.join(" ")
            ))
            .hint("`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` describes this machine's GPUs")
        })?;
        if request.count != 0 && !request.devices.is_empty() {
            return Err(Error::invalid("cannot set both Count and DeviceIDs on device request"));
        }
        let names: Vec<String> = match request.count {
            0 => request.devices.clone(),
            count if count < 0 => vec!["all".to_owned()],
            count => (0..count).map(|number| number.to_string()).collect(),
        };
        let qualified = |name: String| match name.contains('=') {
            true => name.parse(),
            false => format!("{kind}={name}").parse(),
        };
        names.into_iter().map(qualified).collect()
    }
}

/// What the words of a container come to.
///
/// # Errors
/// A device is unknown.
pub(crate) fn changes(spec: &ContainerSpec, directories: &[PathBuf]) -> Result<Changes> {
    if spec.cdi_devices.is_empty() && spec.gpus.is_empty() {
        return Ok(Changes::default());
    }
    let registry = Registry::read(directories)?;
    let mut names = Vec::new();
    for request in &spec.gpus {
        names.extend(registry.gpus(request)?);
    }
    names.extend(spec.cdi_devices.iter().cloned());
    registry.changes(&names)
}

/// The specifications of a directory, in the order of their names.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at(directory)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.at(directory)?.path();
        let is_one =
            path.extension().is_some_and(|e| ["json", "yaml", "yml"].iter().any(|known| e == *known));
        if is_one {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests;
