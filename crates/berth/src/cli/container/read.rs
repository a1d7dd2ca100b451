//! The parts of `run`'s flags that need more than one word, or a file, to be read.
//!
//! Not here: which flag is which. Invariant: what cannot be read is said in docker's words.

use super::options::PullPolicy;
use berth_engine::spec::{self, Capability, CdiName, Device, DeviceFlag, EnvVar, Ulimit};
use berth_oci::{Context as _, Error, Platform, Result};
use berth_runtime::net::PortMapping;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) fn parse_pull(text: &str) -> Result<PullPolicy> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" | "" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err(Error::invalid(format!(
            "invalid pull option: '{text}': must be one of \"always\", \"missing\" or \"never\""
        ))),
    }
}

pub(super) fn parse_platform(text: &str) -> Result<Platform> {
    text.parse().map_err(|error: Error| Error::invalid(format!("error parsing specified platform: {error}")))
}

pub(super) fn read_profile(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| {
        let why = Error::from(error);
        let path = path.display();
        Error::invalid(format!("opening seccomp profile ({path}) failed: open {path}: {why}"))
    };
    std::fs::read_to_string(path).map_err(failed)
}

/// Docker's way to say that a file cannot be opened.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let error = Error::from(error);
        Error::new(error.kind(), format!("open {}: {error}", path.display()))
    })
}

/// Files first, so that `-e` wins; a variable without a value takes the caller's.
pub(super) fn read_env(
    given: Vec<EnvVar>,
    files: &[PathBuf],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<EnvVar>> {
    let mut env = Vec::new();
    for path in files {
        let read = spec::parse_env_file(&read_file(path)?, variable);
        env.extend(read.context(|| format!("invalid env file ({})", path.display()))?);
    }
    env.extend(given.into_iter().map(|variable_given| variable_given.or_from(variable)));
    Ok(env)
}

pub(super) fn read_labels(
    given: Vec<(String, String)>,
    files: &[PathBuf],
) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for path in files {
        let read = spec::parse_label_file(&read_file(path)?);
        labels.extend(read.context(|| format!("invalid label file ({})", path.display()))?);
    }
    labels.extend(given);
    Ok(labels)
}

pub(super) fn read_ports(texts: &[String]) -> Result<Vec<PortMapping>> {
    let mut ports = Vec::new();
    for text in texts {
        ports.extend(PortMapping::parse(text)?);
    }
    Ok(ports)
}

pub(super) fn read_exposed(texts: &[String]) -> Result<std::collections::BTreeSet<spec::ExposedPort>> {
    let mut ports = std::collections::BTreeSet::new();
    for text in texts {
        ports.extend(spec::parse_expose(text)?);
    }
    Ok(ports)
}

pub(super) fn read_capabilities(field: &str, texts: &[String]) -> Result<Vec<Capability>> {
    let read = |text: &String| text.parse::<Capability>().context(|| format!("invalid {field}"));
    texts.iter().map(read).collect()
}

/// Device files, and names that CDI knows.
pub(super) fn read_devices(texts: &[String]) -> Result<(Vec<Device>, Vec<CdiName>)> {
    let (mut files, mut names) = (Vec::new(), Vec::new());
    for text in texts {
        match text.parse()? {
            DeviceFlag::File(device) => files.push(device),
            DeviceFlag::Cdi(name) => names.push(name),
        }
    }
    Ok((files, names))
}

/// `strconv.ParseUint(text, 10, 16)`.
pub(super) fn parse_uint16(text: &str) -> std::result::Result<u16, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseUint: parsing \"{text}\": {why}")
    })
}

/// The last word about a limit counts.
pub(super) fn last_of_each(given: Vec<Ulimit>) -> Vec<Ulimit> {
    let mut limits: Vec<Ulimit> = Vec::new();
    for limit in given {
        limits.retain(|earlier| earlier.name != limit.name);
        limits.push(limit);
    }
    limits
}
