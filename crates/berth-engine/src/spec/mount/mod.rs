//! What a container sees of the host's files and of volumes: `-v`, `--mount`, `--tmpfs` and `--volumes-from`, as
//! docker reads them, one file each.
//!
//! Not here: whether a source exists, or which volume an anonymous one is; that is asked when the container is made.
//! Invariant: targets are absolute, clean and not `/`; sources are absolute, names of volumes are names.

mod bind;
mod field;
mod from;
mod owners;
#[cfg(test)]
mod tests;
mod tmpfs;

pub use bind::{VolumeFlag, parse_volume};
pub use field::{MountFlag, parse_mount};
pub use from::VolumesFrom;
pub use owners::{IdMaps, IdRange, Owners};
pub use tmpfs::parse_tmpfs;

use berth_oci::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Mount {
    /// A file or directory of the host.
    Bind(Bind),
    /// A volume.
    Volume(Volume),
    /// Memory.
    Tmpfs(Tmpfs),
    /// The files of an image.
    Image(ImageMount),
}

impl Mount {
    /// Where it appears in the container.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind(bind) => &bind.target,
            Self::Volume(volume) => &volume.target,
            Self::Tmpfs(tmpfs) => &tmpfs.target,
            Self::Image(image) => &image.target,
        }
    }
}

/// A file or directory of the host, seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Whether the container may only read.
    pub read_only: bool,
    /// What is done about mounts below the source.
    #[serde(default)]
    pub below: Below,
    /// Whether mounts made later are seen by the other side.
    pub propagation: Option<Propagation>,
    /// The options as they were written: docker shows them again.
    pub mode: String,
    /// Which flag it came from.
    #[serde(default)]
    pub flag: Flag,
    /// Whose its files are.
    #[serde(default)]
    pub owners: Owners,
    /// Whether a source that is not there becomes an empty directory: `-v` does that, `--mount` only when told.
    pub create_source: bool,
}

/// What is done about mounts below the source of a bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Below {
    /// They are seen, too, and read-only with it.
    #[default]
    Enabled,
    /// They stay out.
    Disabled,
    /// They are seen, and stay writable when it is read-only.
    Writable,
    /// They are seen, and a kernel that cannot make them read-only is an error.
    ReadOnly,
}

/// A volume, seen in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name; an anonymous one gets it when the container is made.
    pub name: Option<String>,
    /// Whether the name was made up, so that the volume goes with the container.
    pub anonymous: bool,
    /// In the container.
    pub target: PathBuf,
    /// Whether the container may only read.
    pub read_only: bool,
    /// Whether the image's files stay out of an empty volume.
    pub no_copy: bool,
    /// The directory of the volume that is seen, where it is not the whole.
    pub subpath: Option<PathBuf>,
    /// The options as they were written: docker shows them again.
    pub mode: String,
    /// Which flag it came from.
    pub flag: Flag,
    /// Whose its files are.
    pub owners: Owners,
    /// What the volume is to be, if it has to be made.
    pub driver: Option<String>,
    /// Options for that driver.
    pub options: BTreeMap<String, String>,
    /// Labels for it.
    pub labels: BTreeMap<String, String>,
}

/// Which words on the command line a mount came from; `inspect` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// `-v source:target`.
    #[default]
    Volume,
    /// `--mount`.
    Mount,
    /// None: `-v target`, or the image's `VOLUME`.
    Image,
    /// `--volumes-from`.
    From,
}

/// Memory that ends with the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// In the container.
    pub target: PathBuf,
    /// Mount options: `size=64m`, `noexec`, …
    pub options: Vec<String>,
    /// Whether it came from `--mount`.
    #[serde(default)]
    pub is_mount: bool,
}

/// The files of an image, seen read-only in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// The image as it was named.
    pub source: String,
    /// In the container.
    pub target: PathBuf,
    /// Whether the words said what is true anyway, that it is read-only; `inspect` tells.
    #[serde(default)]
    pub read_only: bool,
    /// The part of the image that is seen, where it is not the whole.
    #[serde(default)]
    pub subpath: Option<PathBuf>,
    /// What the name meant when the container was made; none before.
    #[serde(default)]
    pub image: Option<Layers>,
}

/// An image as a container's record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// The image.
    pub target: Digest,
    /// The diff IDs of its layers, the base first.
    pub diff_ids: Vec<Digest>,
}

/// Whether mounts made later are seen by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of mount(8)")]
pub enum Propagation {
    Private,
    RPrivate,
    Slave,
    RSlave,
    Shared,
    RShared,
}

impl Propagation {
    /// The word of mount(8).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
            Self::Shared => "shared",
            Self::RShared => "rshared",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Private, Self::RPrivate, Self::Slave, Self::RSlave, Self::Shared, Self::RShared]
            .into_iter()
            .find(|p| p.as_str() == word)
    }
}

/// How docker begins to say what is wrong with a mount.
fn config(kind: &str, what: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("invalid mount config for type \"{kind}\": {what}"))
}

/// A name that a volume may have; docker's words otherwise.
///
/// # Errors
/// It is too short, or has characters that a volume's name has not.
pub fn volume_name(name: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    match name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) {
        true => Ok(name.to_owned()),
        false => Err(Error::invalid(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ))),
    }
}

fn clean_target(text: &str) -> Result<PathBuf> {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{text}' mount path must be absolute")));
    }
    match clean(Path::new(text)) {
        root if root == Path::new("/") => {
            Err(Error::invalid("invalid specification: destination can't be '/'"))
        }
        target => Ok(target),
    }
}

/// Takes `.` and `..` out of an absolute path by its text alone, as docker does.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean
}
