//! Garbage collection: what no image, no container and no living lease needs goes, and nothing else.
//!
//! What would go is a value ([`Garbage`]); a preview shows it and a collection takes it, so both say the same
//! bytes. Invariant: rows go, durably, before files do; both under the exclusive store lock, after the question
//! was asked again in the very transaction that deletes.

use crate::database::{Answer, Durability, count, digest, moment};
use crate::disk;
use crate::lease;
use crate::locks::{self, StoreLock};
use crate::orphans::{self, Orphan};
use crate::store::{Inner, Store};
use berth_oci::{Digest, Result};
use rusqlite::{Connection, Transaction, params};
use std::path::PathBuf;
use std::time::Duration;

/// Content that never became part of an image, because its pull broke off, stays this long for the next try.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Smaller blobs are unlinked as fast as they are renamed.
const SMALL: u64 = 1 << 20;

/// How much a collection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// How long content of broken-off pulls stays.
    pub grace: Duration,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { grace: GRACE }
    }
}

/// What is to be thought away before a preview.
#[derive(Clone, Copy, Debug, Default)]
pub struct Without<'a> {
    /// Images that would be removed.
    pub images: &'a [Digest],
    /// Ids of containers that would be removed.
    pub containers: &'a [String],
}

/// What a collection took, or would take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Manifests, configs and kept layers.
    pub blobs: Vec<Digest>,
    /// Layers, by their diff IDs.
    pub layers: Vec<Digest>,
    /// Files that belonged to nothing: broken-off downloads, what a crash left.
    pub orphans: u64,
}

/// Content without a reason to be here.
#[derive(Default)]
struct Garbage {
    blobs: Vec<(Digest, u64)>,
    layers: Vec<(Digest, u64)>,
    orphans: Vec<Orphan>,
}

impl Store {
    /// Takes what nobody needs, but leaves broken-off pulls a day to go on.
    ///
    /// # Errors
    /// The disk cannot be written to.
    pub fn gc(&self) -> Result<Reclaimed> {
        self.gc_with(&GcOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// The disk cannot be written to.
    pub fn gc_with(&self, options: &GcOptions) -> Result<Reclaimed> {
        let nothing = self.plan(options, Without::default())?.reclaimed();
        if nothing == Reclaimed::default() && lease::dead(&self.inner)?.is_empty() {
            return Ok(nothing);
        }
        // Should this process die half-way, its dead lease tells the next collection to look for what it left.
        let _lease = self.lease_for("gc")?;
        let (garbage, trash) = self.sweep(options)?;
        if !garbage.layers.is_empty() {
            self.inner.unmount_unused()?;
        }
        for path in trash {
            disk::remove(&path)?;
        }
        Ok(garbage.reclaimed())
    }

    /// What a collection would take now, or would if the given images and containers were gone; takes nothing.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn gc_preview(&self, options: &GcOptions, without: Without<'_>) -> Result<Reclaimed> {
        Ok(self.plan(options, without)?.reclaimed())
    }

    fn plan(&self, options: &GcOptions, without: Without<'_>) -> Result<Garbage> {
        let dead = lease::dead(&self.inner)?;
        let mut garbage = self.inner.database.read(|connection| mark(connection, options, without, &dead))?;
        garbage.orphans = self.orphans(options, !dead.is_empty())?;
        Ok(garbage)
    }

    fn orphans(&self, options: &GcOptions, crashed: bool) -> Result<Vec<Orphan>> {
        let mut orphans = orphans::partials(&self.inner.location, options.grace)?;
        orphans.extend(orphans::containers(&self.inner)?);
        orphans.extend(match crashed {
            true => orphans::find(&self.inner)?,
            false => orphans::trash(&self.inner.location)?,
        });
        Ok(orphans)
    }

    /// Deletes rows and moves files away; answers what still has to be unlinked, for which no lock is needed.
    fn sweep(&self, options: &GcOptions) -> Result<(Garbage, Vec<PathBuf>)> {
        let inner = &*self.inner;
        let _alone = StoreLock::exclusive(&inner.location.locks())?;
        let dead = lease::dead(inner)?;
        let mut garbage = inner.database.write(Durability::Machine, |transaction| {
            let garbage = mark(transaction, options, Without::default(), &dead)?;
            delete(transaction, &garbage)?;
            Ok(garbage)
        })?;
        garbage.orphans = self.orphans(options, !dead.is_empty())?;
        let trash = move_away(inner, &garbage)?;
        lease::forget(inner, &dead)?;
        Ok((garbage, trash))
    }
}

impl Garbage {
    fn reclaimed(&self) -> Reclaimed {
        let blobs = self.blobs.iter().map(|(_, bytes)| bytes);
        let layers = self.layers.iter().map(|(_, bytes)| bytes);
        let orphans = self.orphans.iter().map(|orphan| &orphan.bytes);
        Reclaimed {
            bytes: blobs.chain(layers).chain(orphans).sum(),
            blobs: self.blobs.iter().map(|(digest, _)| digest.clone()).collect(),
            layers: self.layers.iter().map(|(digest, _)| digest.clone()).collect(),
            orphans: self.orphans.len() as u64,
        }
    }
}

/// The targets whose content counts; ?1 and ?2 are JSON lists of images and containers to be thought away.
const LIVE: &str = "SELECT target FROM image WHERE target NOT IN (SELECT value FROM json_each(?1))
    UNION SELECT key FROM step
    UNION SELECT image FROM container
    WHERE image IS NOT NULL AND id NOT IN (SELECT value FROM json_each(?2))
    UNION SELECT image FROM image_use WHERE container NOT IN (SELECT value FROM json_each(?2))";

/// Rows that neither live content nor a living lease needs. What was part of an image goes at once; what never was
/// only if it is older than ?3. ?4 is the JSON list of dead leases.
fn mark(
    connection: &Connection,
    options: &GcOptions,
    without: Without<'_>,
    dead: &[String],
) -> Answer<Garbage> {
    let young = i64::try_from(options.grace.as_micros()).unwrap_or(i64::MAX);
    let parameters = params![
        json(without.images.iter().map(Digest::as_str)),
        json(without.containers.iter().map(String::as_str)),
        moment(jiff::Timestamp::now()).saturating_sub(young),
        json(dead.iter().map(String::as_str)),
    ];
    let select = |table: &str, key: &str| -> Answer<Vec<(Digest, u64)>> {
        let mut statement = connection.prepare(&format!(
            "SELECT {key}, disk FROM {table} AS thing
             WHERE NOT EXISTS (SELECT 1 FROM content WHERE digest = thing.{key} AND target IN ({LIVE}))
             AND NOT EXISTS (SELECT 1 FROM lease_item WHERE digest = thing.{key}
                             AND lease NOT IN (SELECT value FROM json_each(?4)))
             AND (added <= ?3 OR EXISTS (SELECT 1 FROM content WHERE digest = thing.{key}))"
        ))?;
        let rows = statement.query_map(parameters, |row| Ok((digest(row, 0)?, count(row, 1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    Ok(Garbage { blobs: select("blob", "digest")?, layers: select("layer", "diff_id")?, orphans: Vec::new() })
}

fn json<'a>(words: impl Iterator<Item = &'a str>) -> String {
    serde_json::Value::from_iter(words).to_string()
}

fn delete(transaction: &Transaction<'_>, garbage: &Garbage) -> Answer<()> {
    let mut blob = transaction.prepare("DELETE FROM blob WHERE digest = ?")?;
    for (digest, _) in &garbage.blobs {
        blob.execute([digest.as_str()])?;
    }
    let mut layer = transaction.prepare("DELETE FROM layer WHERE diff_id = ?")?;
    for (diff_id, _) in &garbage.layers {
        layer.execute([diff_id.as_str()])?;
    }
    let dead = format!("DELETE FROM content WHERE target NOT IN ({LIVE})");
    transaction.execute(&dead, params!["[]", "[]"])?;
    Ok(())
}

/// What has no row any more gets out of the way of whoever brings it again.
fn move_away(inner: &Inner, garbage: &Garbage) -> Result<Vec<PathBuf>> {
    let location = &inner.location;
    let mut trash = Vec::new();
    for (digest, bytes) in &garbage.blobs {
        match *bytes <= SMALL {
            true => disk::remove(&location.blob(digest))?,
            false => trash.extend(disk::discard(&location.blob(digest), &location.trash())?),
        }
    }
    for (diff_id, _) in &garbage.layers {
        for home in [location.layer(diff_id), location.directory(diff_id)] {
            trash.extend(disk::discard(&home, &location.trash())?);
        }
    }
    for orphan in &garbage.orphans {
        if orphan.path.starts_with(location.locks()) {
            locks::remove_abandoned(&orphan.path)?;
            continue;
        }
        if !orphans::has_mounts(&orphan.path)? {
            trash.extend(disk::discard(&orphan.path, &location.trash())?);
        }
    }
    Ok(trash)
}
