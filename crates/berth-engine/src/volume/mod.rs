//! Volumes: what is remembered of one, and the verbs.
//!
//! Here: made, listed, removed. `options.rs` reads what the local driver is told, `place.rs` puts it into the kernel,
//! `fill.rs` copies the image's files into an empty one. Not here: which mounts a container has. Invariant: a volume
//! that a container uses is never removed.

mod fill;
mod options;
mod place;

use crate::engine::Engine;
use crate::matching::LabelFilter;
use crate::random;
use crate::spec::volume_name;
use berth_oci::{Error, Kind, Result};
use berth_store::VolumeRecord;
use jiff::Timestamp;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The one driver there is.
const LOCAL: &str = "local";

/// A volume as it is now.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Where its files are.
    pub mountpoint: PathBuf,
    /// What was wanted of it.
    pub document: VolumeDocument,
    /// Ids of the containers that use it.
    pub users: Vec<String>,
}

/// What the store keeps of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeDocument {
    /// Words of its owner.
    pub labels: BTreeMap<String, String>,
    /// What the driver is told.
    pub options: BTreeMap<String, String>,
    /// Whether nobody chose its name.
    pub anonymous: bool,
}

/// A volume to be.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// Its name; one is made up where none is given.
    pub name: Option<String>,
    /// Who looks after it; `local` where nobody is named.
    pub driver: Option<String>,
    /// Words of its owner.
    pub labels: BTreeMap<String, String>,
    /// What the driver is told.
    pub options: BTreeMap<String, String>,
}

/// Which volumes are wanted; within one field any may fit, all fields must.
#[derive(Clone, Debug, Default)]
pub struct VolumeFilter {
    /// Patterns for names.
    pub names: Vec<String>,
    /// Drivers.
    pub drivers: Vec<String>,
    /// Conditions on labels.
    pub labels: LabelFilter,
    /// Whether no container may use it, or one must.
    pub dangling: Option<bool>,
}

impl Volume {
    /// The driver's name.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        LOCAL
    }
}

impl Engine {
    /// The volume with this name, made if there is none; says whether it was made.
    ///
    /// # Errors
    /// The name is not one, the driver is not known, or does not know an option.
    pub fn create_volume(&self, request: VolumeRequest) -> Result<(Volume, bool)> {
        let anonymous = request.name.is_none();
        let name = match &request.name {
            Some(name) => volume_name(name)?,
            None => random::id()?,
        };
        if let Some(driver) =
            request.driver.as_deref().filter(|driver| !driver.is_empty() && *driver != LOCAL)
        {
            return Err(Error::not_found(format!(
                "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            ))
            .hint("the one driver is local; `-o type=nfs`, `-o type=cifs` and so on are its options"));
        }
        if let Some(known) = self.known_volume(&name)? {
            return Ok((known, false));
        }
        options::LocalMount::read(&request.options)
            .map_err(|error| Error::invalid(format!("create {name}: {error}")))?;
        let document = VolumeDocument { labels: request.labels, options: request.options, anonymous };
        let text = serde_json::to_string(&document).expect("a document has string keys");
        let (record, is_new) = self.store()?.add_volume(&name, &text)?;
        Ok((self.with_document(record)?, is_new))
    }

    fn known_volume(&self, name: &str) -> Result<Option<Volume>> {
        match self.volume(name) {
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// The volume with this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        self.with_document(self.store()?.volume(name)?)
    }

    /// The volumes that are wanted, by name.
    ///
    /// # Errors
    /// A pattern is none; the store cannot be read.
    pub fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<Volume>> {
        let pattern = |text: &String| {
            Regex::new(text).map_err(|_| Error::invalid(format!("invalid filter 'name={text}'")))
        };
        let names = filter.names.iter().map(pattern).collect::<Result<Vec<_>>>()?;
        let mut volumes = Vec::new();
        for record in self.store()?.volumes()? {
            let volume = self.with_document(record)?;
            let fits = (names.is_empty() || names.iter().any(|name| name.is_match(&volume.name)))
                && (filter.drivers.is_empty() || filter.drivers.iter().any(|driver| driver == LOCAL))
                && filter.labels.matches(&volume.shown_labels())
                && filter.dangling.is_none_or(|dangling| dangling == volume.users.is_empty());
            if fits {
                volumes.push(volume);
            }
        }
        Ok(volumes)
    }

    fn with_document(&self, record: VolumeRecord) -> Result<Volume> {
        let document = serde_json::from_str(&record.document).map_err(|error| {
            Error::corrupt(format!("the record of volume {} cannot be read: {error}", record.name))
        })?;
        Ok(Volume {
            mountpoint: self.store()?.volume_data(&record.name),
            name: record.name,
            created: record.created,
            document,
            users: record.users,
        })
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`: a container uses it.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let volume = self.volume(name)?;
        if volume.users.is_empty() {
            self.unmount_volume(&volume)?;
        }
        self.store()?.remove_volume(name)
    }

    /// Removes the volumes that no container uses: those without a chosen name, or all. Answers names and bytes.
    ///
    /// # Errors
    /// A volume's files cannot be removed.
    pub fn prune_volumes(&self, all: bool, labels: &LabelFilter) -> Result<(Vec<String>, u64)> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for volume in self.prunable_volumes(all, labels, &[])? {
            let size = self.store()?.volume_bytes(&volume.name)?;
            match self.remove_volume(&volume.name) {
                Ok(()) => {
                    names.push(volume.name);
                    bytes += size;
                }
                // Somebody began to use it, or was faster.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((names, bytes))
    }

    /// What [`prune_volumes`](Self::prune_volumes) would remove when the containers `without` have gone.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn prunable_volumes(
        &self,
        all: bool,
        labels: &LabelFilter,
        without: &[String],
    ) -> Result<Vec<Volume>> {
        let mut volumes =
            self.volumes(&VolumeFilter { labels: labels.clone(), ..VolumeFilter::default() })?;
        volumes.retain(|volume| {
            // What lies on another file system may matter to others, as docker thinks, too.
            let is_ours = volume.document.options.is_empty();
            is_ours
                && (all || volume.document.anonymous)
                && volume.users.iter().all(|user| without.contains(user))
        });
        Ok(volumes)
    }
}

/// What docker puts on a volume that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

impl Volume {
    /// Its labels, with docker's mark on one that nobody named.
    #[must_use]
    pub fn shown_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.document.labels.clone();
        if self.document.anonymous {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        labels
    }
}
