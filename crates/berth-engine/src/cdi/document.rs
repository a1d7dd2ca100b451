//! One CDI specification: its fields, and whether they are allowed.
//!
//! Invariant: a [`Document`] has a version that is known and new enough for its fields, names of the right letters,
//! and every device changes something.

use crate::spec::{is_cdi_device, is_cdi_kind};
use berth_oci::{AtPath, Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

/// What has been published, and what came with it is checked by [`Document::needed_version`].
const VERSIONS: [(u8, u8, u8); 10] = [
    (0, 1, 0),
    (0, 2, 0),
    (0, 3, 0),
    (0, 4, 0),
    (0, 5, 0),
    (0, 6, 0),
    (0, 7, 0),
    (0, 8, 0),
    (1, 0, 0),
    (1, 1, 0),
];

/// Larger files than this describe no devices.
const SIZE_LIMIT: u64 = 16 << 20;

/// One specification.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    container_edits: Edits,
}

/// What changes in a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<Mount>,
    pub(super) hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    pub(super) additional_gids: Vec<u32>,
    pub(super) intel_rdt: Option<serde_json::Value>,
    pub(super) net_devices: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: PathBuf,
    pub(super) host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) options: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

/// When a hook may run.
pub(super) const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

impl Document {
    /// Reads a file and checks it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if fs::metadata(path).at(path)?.len() > SIZE_LIMIT {
            return Err(Error::invalid("it is too large for a CDI specification"));
        }
        Self::parse(&fs::read_to_string(path).at(path)?)
    }

    /// JSON is YAML, too.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) => from_yaml(text)?,
        };
        let document: Self =
            serde_json::from_value(value).map_err(|error| Error::invalid(error.to_string()))?;
        document.check()?;
        Ok(document)
    }

    /// `vendor.com/class`.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// What every device of this document changes.
    pub(super) fn edits(&self) -> &Edits {
        &self.container_edits
    }

    /// What one device changes, beside that.
    pub(super) fn device(&self, name: &str) -> Option<&Edits> {
        self.devices.iter().find(|device| device.name == name).map(|device| &device.container_edits)
    }

    /// The names of its devices.
    pub(super) fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(|device| device.name.as_str())
    }

    fn check(&self) -> Result<()> {
        let version = version(&self.cdi_version)?;
        if !is_cdi_kind(&self.kind) {
            return Err(Error::invalid(format!("`{}` is not a kind of device", self.kind)));
        }
        let needed = self.needed_version();
        if version < needed {
            let (major, minor, patch) = needed;
            return Err(Error::invalid(format!(
                "it has fields of CDI {major}.{minor}.{patch}, and says that it is {}",
                self.cdi_version
            )));
        }
        if self.devices.is_empty() {
            return Err(Error::invalid("it describes no device"));
        }
        self.container_edits.check()?;
        for (at, device) in self.devices.iter().enumerate() {
            if !is_cdi_device(&device.name) {
                return Err(Error::invalid(format!("`{}` is not the name of a device", device.name)));
            }
            if self.devices[..at].iter().any(|earlier| earlier.name == device.name) {
                return Err(Error::invalid(format!("it describes the device `{}` twice", device.name)));
            }
            if device.container_edits == Edits::default() {
                return Err(Error::invalid(format!("the device `{}` changes nothing", device.name)));
            }
            device.container_edits.check()?;
        }
        Ok(())
    }

    /// The oldest version that has all of its fields.
    fn needed_version(&self) -> (u8, u8, u8) {
        let edits: Vec<&Edits> = self
            .devices
            .iter()
            .map(|device| &device.container_edits)
            .chain([&self.container_edits])
            .collect();
        let any = |has: &dyn Fn(&Edits) -> bool| edits.iter().any(|edits| has(edits));
        let annotated =
            !self.annotations.is_empty() || self.devices.iter().any(|device| !device.annotations.is_empty());
        let dotted = self.kind.split_once('/').is_some_and(|(_, class)| class.contains('.'));
        let digit = self.devices().any(|name| name.starts_with(|c: char| c.is_ascii_digit()));
        [
            (any(&|e| !e.net_devices.is_empty()), (1, 1, 0)),
            (any(&|e| e.intel_rdt.is_some() || !e.additional_gids.is_empty()), (0, 7, 0)),
            (annotated || dotted, (0, 6, 0)),
            (digit || any(&|e| e.device_nodes.iter().any(|node| node.host_path.is_some())), (0, 5, 0)),
            (any(&|e| e.mounts.iter().any(|mount| !mount.kind.is_empty())), (0, 4, 0)),
        ]
        .into_iter()
        .find(|(has, _)| *has)
        .map_or(VERSIONS[0], |(_, version)| version)
    }
}

fn version(text: &str) -> Result<(u8, u8, u8)> {
    let shown = |(major, minor, patch): &(u8, u8, u8)| format!("{major}.{minor}.{patch}") == text;
    let known = VERSIONS.iter().find(|known| shown(known)).copied();
    known.ok_or_else(|| Error::unsupported(format!("`{text}` is not a version of CDI that is known here")))
}

impl Edits {
    fn check(&self) -> Result<()> {
        if let Some(variable) = self.env.iter().find(|variable| !variable.contains('=')) {
            return Err(Error::invalid(format!("`{variable}` is not a variable with a value")));
        }
        for node in &self.device_nodes {
            if !node.path.is_absolute() {
                return Err(Error::invalid(format!("`{}` is not the path of a device", node.path.display())));
            }
            if !["", "b", "c", "u", "p"].contains(&node.kind.as_str()) {
                return Err(Error::invalid(format!("`{}` is not a type of device", node.kind)));
            }
            if !node.permissions.chars().all(|c| "rwm".contains(c)) {
                return Err(Error::invalid(format!(
                    "`{}` are not permissions for a device",
                    node.permissions
                )));
            }
        }
        if self.mounts.iter().any(|m| m.host_path.as_os_str().is_empty() || !m.container_path.is_absolute()) {
            return Err(Error::invalid("a mount needs a path of the host and one of the container"));
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&hook.hook_name.as_str()) || !hook.path.is_absolute() {
                return Err(Error::invalid(format!(
                    "`{}` with `{}` is not a hook",
                    hook.hook_name,
                    hook.path.display()
                )));
            }
        }
        Ok(())
    }
}

fn from_yaml(text: &str) -> Result<serde_json::Value> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    match &documents[..] {
        [document] => value(document),
        _ => Err(Error::invalid("it is not one YAML document")),
    }
}

fn value(yaml: &Yaml) -> Result<serde_json::Value> {
    use serde_json::Value;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(boolean) => (*boolean).into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(text) | Yaml::String(text) => text.as_str().into(),
        Yaml::Array(items) => Value::Array(items.iter().map(value).collect::<Result<_>>()?),
        Yaml::Hash(map) => {
            let entry = |(key, item): (&Yaml, &Yaml)| match key {
                Yaml::String(key) => Ok((key.clone(), value(item)?)),
                _ => Err(Error::invalid("a key is not text")),
            };
            Value::Object(map.iter().map(entry).collect::<Result<_>>()?)
        }
        Yaml::Alias(_) | Yaml::BadValue => return Err(Error::invalid("an alias leads nowhere")),
    })
}
