//! What the store knows of an image without opening a single file of it.
//!
//! Invariant: everything a list of images shows stands in the record, computed once when the image arrived.

use crate::database::{self, Answer, count, text, timestamp, timestamp_or_null};
use crate::store::Store;
use berth_oci::{Descriptor, Digest, Error, Reference, Result};
use jiff::Timestamp;
use rusqlite::{Connection, Params, Row};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An image of the store: a root manifest or index, and its names.
#[derive(Clone, Debug)]
pub struct ImageRecord {
    /// The digest of the root manifest or index: the image's id.
    pub target: Digest,
    /// The media type of the root.
    pub media_type: String,
    /// The size of the root's own bytes.
    pub manifest_size: u64,
    /// Its names, sorted; none: it is dangling.
    pub names: Vec<Reference>,
    /// When it was made, by its own words.
    pub created: Option<Timestamp>,
    /// Bytes of everything it consists of here: layers as they lie on disk, manifests, configs, kept blobs.
    pub size: u64,
    /// When it came here.
    pub added: Timestamp,
    /// When it last got a name.
    pub tagged_at: Timestamp,
    /// When it was last used for a container or a build.
    pub last_used: Option<Timestamp>,
    /// Whether prune must leave it alone.
    pub pinned: bool,
    /// The repository it came from, if it came from a registry.
    pub origin: Option<Reference>,
    /// The part that lists do not show; read when it is asked for.
    pub summary: LazySummary,
}

/// One manifest of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// Its descriptor; its platform is the index's word, or the config's where there is no index.
    pub descriptor: Descriptor,
    /// Whether all of it is here.
    pub available: bool,
    /// The digest of its config, where the manifest is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Digest>,
    /// When it was made, by its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Bytes of manifest, config and layers as a registry has them.
    #[serde(default)]
    pub content_size: u64,
    /// Bytes of the uncompressed layers.
    #[serde(default)]
    pub unpacked_size: u64,
}

/// The part of the record that no query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The labels of the config that fits this machine best.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the root points to (or the root itself where it is no index), in its order.
    pub manifests: Vec<ManifestRecord>,
}

/// A [`Summary`] that is read at the first look: a list of a thousand images needs none.
#[derive(Clone, Debug, Default)]
pub struct LazySummary {
    source: Source,
    read: OnceLock<Box<Summary>>,
}

/// Where it is until then.
#[derive(Clone, Debug)]
enum Source {
    Text(String),
    Store(Store),
}

impl Default for Source {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<Source> for LazySummary {
    fn from(source: Source) -> Self {
        Self { source, read: OnceLock::new() }
    }
}

impl ImageRecord {
    /// Whether it has no name.
    #[must_use]
    pub fn is_dangling(&self) -> bool {
        self.names.is_empty()
    }

    fn summary(&self) -> Result<&Summary> {
        if let Some(summary) = self.summary.read.get() {
            return Ok(summary);
        }
        let text = match &self.summary.source {
            Source::Text(text) => Cow::Borrowed(text.as_str()),
            Source::Store(store) => Cow::Owned(store.summary_text(&self.target)?),
        };
        let summary = serde_json::from_str(&text)
            .map_err(|e| Error::corrupt(format!("the record of image {} is damaged: {e}", self.target)))?;
        Ok(self.summary.read.get_or_init(|| Box::new(summary)))
    }

    /// The labels of the config that fits this machine best.
    ///
    /// # Errors
    /// `Corrupt`: the record is damaged. `NotFound`: the image went after it was listed.
    pub fn labels(&self) -> Result<&BTreeMap<String, String>> {
        Ok(&self.summary()?.labels)
    }

    /// What the root points to (or the root itself where it is no index), in its order.
    ///
    /// # Errors
    /// `Corrupt`: the record is damaged. `NotFound`: the image went after it was listed.
    pub fn manifests(&self) -> Result<&[ManifestRecord]> {
        Ok(&self.summary()?.manifests)
    }
}

const COLUMNS: &str =
    "image.target, image.media_type, image.manifest_size, image.created, image.size, image.added,
    image.tagged, image.used, image.pinned, image.origin";

/// The records for which `condition` holds, the youngest first, each with all of its names and its summary; one query.
pub(crate) fn select(
    connection: &Connection,
    condition: &str,
    parameters: impl Params,
) -> Answer<Vec<ImageRecord>> {
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS}, summary.document, name.name, name.tagged
         FROM image JOIN summary ON summary.target = image.target LEFT JOIN name ON name.target = image.target
         WHERE {condition} ORDER BY image.target, name.name"
    ))?;
    let mut rows = statement.query(parameters)?;
    let mut records: Vec<ImageRecord> = Vec::new();
    while let Some(row) = rows.next()? {
        let is_new = records.last().is_none_or(|last| text(row, 0).is_ok_and(|t| t != last.target.as_str()));
        if is_new {
            records.push(record(row, Source::Text(text(row, 10)?.to_owned()))?);
        }
        if let (Some(name), Some(record)) = (database::parsed_or_null(row, 11)?, records.last_mut()) {
            record.names.push(name);
            record.tagged_at = record.tagged_at.max(timestamp(row, 12)?);
        }
    }
    Ok(youngest_first(records))
}

/// All records, the youngest first, each with all of its names. Two scans side by side: for a list of all, SQLite would
/// look every image's names up on its own.
pub(crate) fn all(connection: &Connection, store: &Store) -> Answer<Vec<ImageRecord>> {
    let mut images = connection.prepare(&format!("SELECT {COLUMNS} FROM image ORDER BY target"))?;
    let mut names = connection.prepare("SELECT target, name, tagged FROM name ORDER BY target, name")?;
    let (mut images, mut names) = (images.query([])?, names.query([])?);
    let mut name = names.next()?;
    let mut records: Vec<ImageRecord> = Vec::new();
    while let Some(row) = images.next()? {
        let mut record = record(row, Source::Store(store.clone()))?;
        while let Some(named) = name
            && text(named, 0)? == record.target.as_str()
        {
            record.names.push(database::parsed(named, 1)?);
            record.tagged_at = record.tagged_at.max(timestamp(named, 2)?);
            name = names.next()?;
        }
        records.push(record);
    }
    Ok(youngest_first(records))
}

/// Both tables give their rows in the order of digests; to sort by age is cheaper here than for SQLite.
fn youngest_first(mut records: Vec<ImageRecord>) -> Vec<ImageRecord> {
    records.sort_by_key(|record| std::cmp::Reverse(record.created));
    records
}

fn record(row: &Row<'_>, summary: Source) -> Answer<ImageRecord> {
    Ok(ImageRecord {
        target: database::digest(row, 0)?,
        media_type: row.get(1)?,
        manifest_size: count(row, 2)?,
        names: Vec::new(),
        created: timestamp_or_null(row, 3)?,
        size: count(row, 4)?,
        added: timestamp(row, 5)?,
        tagged_at: timestamp(row, 6)?,
        last_used: timestamp_or_null(row, 7)?,
        pinned: row.get(8)?,
        origin: database::parsed_or_null(row, 9)?,
        summary: summary.into(),
    })
}
