//! What the store takes on its disk, and for whom.
//!
//! Figures come from the rows, which were measured when the files appeared; only containers' own files and
//! volumes, which change, are walked. Invariant: the parts add up to the total, and the total to what `du` says of the root.

use crate::database::{Answer, count, digest, text};
use crate::disk;
use crate::ingest::tree_bytes;
use crate::store::Store;
use berth_oci::{AtPath, Digest, Result};
use rusqlite::Connection;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What the store takes on its disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Each image, in no order.
    pub images: Vec<ImageUsage>,
    /// Each container's own files, in no order.
    pub containers: Vec<ContainerUsage>,
    /// Each volume's files, in no order.
    pub volumes: Vec<VolumeUsage>,
    /// All layers.
    pub layers: u64,
    /// All manifests, configs and kept blobs.
    pub blobs: u64,
    /// Layers and blobs that no image has: of broken-off pulls, of removed images whose containers are still here.
    pub unnamed: u64,
    /// Downloads that broke off or go on right now.
    pub partials: u64,
    /// Unfinished and finished business.
    pub temporary: u64,
    /// The database, locks and directories.
    pub overhead: u64,
}

/// An image's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUsage {
    /// Which.
    pub target: Digest,
    /// Bytes that other images have, too.
    pub shared: u64,
    /// Bytes that only this image has: what removing it gives back, as long as no container uses it.
    pub unique: u64,
    /// How many containers use it.
    pub containers: u64,
}

/// A container's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its id.
    pub id: String,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// A volume's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl DiskUsage {
    /// Everything below the root.
    #[must_use]
    pub fn total(&self) -> u64 {
        let containers: u64 = self.containers.iter().map(|c| c.bytes).sum();
        let volumes: u64 = self.volumes.iter().map(|v| v.bytes).sum();
        self.layers + self.blobs + containers + volumes + self.partials + self.temporary + self.overhead
    }
}

impl Store {
    /// What the store takes on its disk.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let mut usage = self.inner.database.read(from_rows)?;
        let location = &self.inner.location;
        for entry in disk::entries(&location.containers())? {
            let id = entry.file_name().to_string_lossy().into_owned();
            usage.containers.push(ContainerUsage { bytes: tree_bytes(&entry.path())?, id });
        }
        for entry in disk::entries(&location.volumes())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            usage.volumes.push(VolumeUsage { bytes: self.volume_bytes(&name)?, name });
        }
        usage.partials = contents(&location.ingest())?;
        usage.temporary = contents(&location.temporary())? + contents(&location.trash())?;
        usage.overhead = overhead(&location.root)?;
        Ok(usage)
    }

    /// What one container's own files take on the disk.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn container_bytes(&self, id: &str) -> Result<u64> {
        tree_bytes(&self.container_dir(id))
    }
}

/// Bytes of the things in a directory, without its own.
fn contents(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in disk::entries(path)? {
        bytes += tree_bytes(&entry.path())?;
    }
    Ok(bytes)
}

/// How many directories lie above the things that have rows of their own.
const FANS: [(&str, usize); 8] = [
    ("oci", 3),
    ("layers", 1),
    ("dirs", 1),
    ("containers", 0),
    ("volumes", 0),
    ("ingest", 0),
    ("tmp", 0),
    ("trash", 0),
];

/// The database, locks, and the directories that only hold others.
fn overhead(root: &Path) -> Result<u64> {
    let mut bytes = disk::disk_bytes(&fs::symlink_metadata(root).at(root)?);
    for entry in disk::entries(root)? {
        let name = entry.file_name();
        bytes += match FANS.iter().find(|(fan, _)| name == *fan) {
            Some((_, depth)) => directories(&entry.path(), *depth)?,
            None => tree_bytes(&entry.path())?,
        };
    }
    Ok(bytes)
}

fn directories(path: &Path, depth: usize) -> Result<u64> {
    let mut bytes = disk::disk_bytes(&fs::symlink_metadata(path).at(path)?);
    if depth > 0 {
        for entry in disk::entries(path)? {
            bytes += directories(&entry.path(), depth - 1)?;
        }
    }
    Ok(bytes)
}

fn from_rows(connection: &Connection) -> Answer<DiskUsage> {
    let sum = |table: &str| -> Answer<u64> {
        let sql = format!("SELECT coalesce(sum(disk), 0) FROM {table}");
        Ok(connection.query_row(&sql, [], |row| count(row, 0))?)
    };
    let (layers, blobs) = (sum("layer")?, sum("blob")?);
    let mut images = image_rows(connection)?;
    let named = shares(connection, &mut images)?;
    Ok(DiskUsage {
        images,
        layers,
        blobs,
        unnamed: (layers + blobs).saturating_sub(named),
        ..DiskUsage::default()
    })
}

fn image_rows(connection: &Connection) -> Answer<Vec<ImageUsage>> {
    let mut statement = connection.prepare(
        "SELECT target, (SELECT count(*) FROM container WHERE container.image = image.target)
                      + (SELECT count(*) FROM image_use WHERE image_use.image = image.target) FROM image",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(ImageUsage { target: digest(row, 0)?, shared: 0, unique: 0, containers: count(row, 1)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What is here, with its size, and who lists it, with nobody's size: as kinds of content, blobs being 0. In the order
/// of the indexes, so that a thing and everybody who has it stand together, and nothing has to be sorted or looked up.
const THINGS: &str = "SELECT digest, 0, NULL, disk FROM blob
    UNION ALL SELECT diff_id, 3, NULL, disk FROM layer
    UNION ALL SELECT digest, kind, target, NULL FROM content
    ORDER BY 1, 2, 3";

/// Gives every image its share; answers the bytes that any image has.
fn shares(connection: &Connection, images: &mut [ImageUsage]) -> Answer<u64> {
    let places: Vec<Digest> = images.iter().map(|image| image.target.clone()).collect();
    let places: HashMap<&str, usize> =
        places.iter().enumerate().map(|(at, target)| (target.as_str(), at)).collect();
    let mut statement = connection.prepare(THINGS)?;
    let mut rows = statement.query([])?;
    let (mut named, mut thing, mut disk) = (0, (String::new(), false), 0);
    // Images that are here, by their place in the list.
    let mut owners: Vec<usize> = Vec::new();
    let mut settle = |bytes: u64, owners: &mut Vec<usize>| {
        owners.sort_unstable();
        owners.dedup();
        let is_unique = owners.len() == 1;
        named += if owners.is_empty() { 0 } else { bytes };
        for owner in owners.drain(..) {
            let usage = &mut images[owner];
            *if is_unique { &mut usage.unique } else { &mut usage.shared } += bytes;
        }
    };
    while let Some(row) = rows.next()? {
        let key = (text(row, 0)?, row.get::<_, u8>(1)? == 3);
        if key != (thing.0.as_str(), thing.1) {
            settle(disk, &mut owners);
            // What an image lists need not be here.
            (thing, disk) = ((key.0.to_owned(), key.1), 0);
        }
        match row.get(3)? {
            Some(size) => disk = i64::cast_unsigned(size),
            None => owners.extend(places.get(text(row, 2)?)),
        }
    }
    settle(disk, &mut owners);
    Ok(named)
}
