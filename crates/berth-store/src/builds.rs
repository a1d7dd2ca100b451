//! Builds: results of steps by their keys, a place for each step to work in, and one worker at a time for each key.
//!
//! Here: rows, locks, directories. Not here: what a key is made of, what a document says; both are the builder's.
//! Invariant: a step's layers are kept from before its row appears until after it is gone.

use crate::assess::Part;
use crate::database::{Durability, count, moment, number, text, timestamp};
use crate::disk;
use crate::lease::{Lease, Protected};
use crate::locks::{self, Held, StoreLock};
use crate::mount::{Rootfs, View};
use crate::store::Store;
use berth_oci::{Digest, Result};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use std::path::PathBuf;
use std::time::Duration;

/// What is known of a step that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// What decides whether the step must be done again.
    pub key: Digest,
    /// The builder's own words about it.
    pub document: String,
    /// Bytes of its own layers as they lie on the disk.
    pub size: u64,
    /// What doing it again would take.
    pub cost: Duration,
    /// When it was done.
    pub made: Timestamp,
    /// When its result was last used.
    pub used: Timestamp,
    /// How often it was used.
    pub uses: u64,
}

/// A step that was just done.
#[derive(Clone, Copy, Debug)]
pub struct NewStep<'a> {
    /// What decides whether the step must be done again.
    pub key: &'a Digest,
    /// The builder's own words about it.
    pub document: &'a str,
    /// The layers that must be here for it to count.
    pub layers: &'a [Digest],
    /// What it took.
    pub cost: Duration,
}

/// Nobody else does the step while this is held, in no process.
#[derive(Debug)]
pub struct StepLock {
    _held: Held,
    path: PathBuf,
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // Whoever waits for it sees that the file has gone and makes another; what stays is swept.
        let _ = disk::remove(&self.path);
    }
}

/// Where one step works: a directory that goes with it, and layers that stay mounted for it.
#[derive(Debug)]
pub struct Workplace {
    store: Store,
    lease: Lease,
}

impl Store {
    /// A new place to work in.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn workplace(&self) -> Result<Workplace> {
        Ok(Workplace { store: self.clone(), lease: self.lease_for("build")? })
    }

    /// What lasts from build to build beside layers: cache mounts, logs, what is known of context files.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn build_directory(&self, topic: &str) -> Result<PathBuf> {
        let path = self.inner.location.builds().join(topic);
        disk::make_directory(&path)?;
        Ok(path)
    }

    /// The step with that key, if its layers are still here; they stay for the lease.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn step(&self, key: &Digest, lease: &Lease) -> Result<Option<StepRecord>> {
        let now = moment(Timestamp::now());
        self.inner.database.write(Durability::Process, |transaction| {
            let found = transaction
                .prepare(&format!("SELECT {COLUMNS} FROM step WHERE key = ?"))?
                .query_row([key.as_str()], record)
                .optional()?;
            let Some(found) = found else { return Ok(None) };
            let layers: Vec<Digest> = transaction
                .prepare("SELECT digest FROM content WHERE target = ?")?
                .query_map([key.as_str()], |row| crate::database::digest(row, 0))?
                .collect::<rusqlite::Result<_>>()?;
            let wanted: Vec<Protected<'_>> = layers.iter().map(Protected::Layer).collect();
            if !lease.hold(transaction, &wanted)? {
                return Ok(None);
            }
            transaction.execute(
                "UPDATE step SET used = ?, uses = uses + 1 WHERE key = ?",
                params![now, key.as_str()],
            )?;
            Ok(Some(found))
        })
    }

    /// Remembers a step; the layers it names are kept for it.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn put_step(&self, new: &NewStep<'_>) -> Result<()> {
        let now = moment(Timestamp::now());
        let cost = i64::try_from(new.cost.as_millis()).unwrap_or(i64::MAX);
        self.inner.database.write(Durability::Process, |transaction| {
            transaction.execute("DELETE FROM content WHERE target = ?", [new.key.as_str()])?;
            let mut part = transaction
                .prepare("INSERT OR IGNORE INTO content (target, kind, digest) VALUES (?, ?, ?)")?;
            let mut size = 0;
            for layer in new.layers {
                part.execute(params![new.key.as_str(), Part::Layer as i64, layer.as_str()])?;
                let disk: Option<u64> = transaction
                    .prepare("SELECT disk FROM layer WHERE diff_id = ?")?
                    .query_row([layer.as_str()], |row| count(row, 0))
                    .optional()?;
                size += disk.unwrap_or_default();
            }
            transaction.execute(
                "INSERT OR REPLACE INTO step (key, document, size, cost, made, used, uses)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0)",
                params![new.key.as_str(), new.document, number(size), cost, now],
            )?;
            Ok(())
        })
    }

    /// Every step that is known, the last used first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn steps(&self) -> Result<Vec<StepRecord>> {
        self.inner.database.read(|connection| {
            let mut statement =
                connection.prepare(&format!("SELECT {COLUMNS} FROM step ORDER BY used DESC, key"))?;
            let rows = statement.query_map([], record)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Forgets steps; their layers go with the next collection. Answers how many were known.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn remove_steps(&self, keys: &[Digest]) -> Result<usize> {
        self.inner.database.write(Durability::Process, |transaction| {
            let mut delete = transaction.prepare("DELETE FROM step WHERE key = ?")?;
            let mut known = 0;
            for key in keys {
                known += delete.execute([key.as_str()])?;
            }
            Ok(known)
        })
    }

    /// The right to do the step with that key, if nobody has it now.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn try_lock_step(&self, key: &Digest) -> Result<Option<StepLock>> {
        let path = self.inner.location.locks().join(format!("step-{}.lock", key.hex()));
        Ok(locks::try_exclusive(&path)?.map(|held| StepLock { _held: held, path }))
    }
}

impl Workplace {
    /// Keeps what the step uses and makes.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Its directory, on the store's disk.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn directory(&self) -> Result<PathBuf> {
        self.lease.directory()
    }

    /// The directories of an overlay over these layers, the base first; what is written lands in its `upper`.
    ///
    /// # Errors
    /// As [`Store::rootfs`].
    pub fn rootfs(&self, diff_ids: &[Digest]) -> Result<Rootfs> {
        self.keep(diff_ids)?;
        self.store.rootfs_in(self.lease.id(), diff_ids, &[], &self.directory()?)
    }

    /// What these layers make together, to be read only, mounted nowhere.
    ///
    /// # Errors
    /// As [`Store::rootfs`].
    pub fn view(&self, diff_ids: &[Digest]) -> Result<View> {
        let directory = self.directory()?.join("view");
        self.keep(diff_ids)?;
        let rootfs = self.store.rootfs_in(self.lease.id(), diff_ids, &[], &directory)?;
        let empty = directory.join("nothing");
        disk::make_directory(&empty)?;
        View::new(&rootfs.lowers, &empty)
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn keep(&self, diff_ids: &[Digest]) -> Result<()> {
        let _adding = StoreLock::shared(&self.store.inner.location.locks())?;
        let layers: Vec<Protected<'_>> = diff_ids.iter().map(Protected::Layer).collect();
        self.lease.protect(&layers).map(drop)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // A user that nobody knows is taken off the register when layers are collected.
        let _ = self.store.release_rootfs(self.lease.id());
    }
}

const COLUMNS: &str = "key, document, size, cost, made, used, uses";

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<StepRecord> {
    Ok(StepRecord {
        key: crate::database::digest(row, 0)?,
        document: text(row, 1)?.to_owned(),
        size: count(row, 2)?,
        cost: Duration::from_millis(count(row, 3)?),
        made: timestamp(row, 4)?,
        used: timestamp(row, 5)?,
        uses: count(row, 6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GcOptions;
    use crate::store::tests::temporary;
    use crate::tar::testing::{Archive, Head};

    fn layer(store: &Store, lease: &Lease, name: &str) -> Digest {
        let tar = Archive(Vec::new()).with(Head::new(b'0', name), name.as_bytes()).end();
        store.add_layer(std::io::Cursor::new(tar), lease).unwrap().1
    }

    #[test]
    fn a_step_keeps_its_layers_until_it_is_forgotten() {
        let (_directory, store) = temporary();
        let key = Digest::of(b"key");
        let lease = store.lease().unwrap();
        assert_eq!(store.step(&key, &lease).unwrap(), None);
        let diff_id = layer(&store, &lease, "file");
        let new = NewStep {
            key: &key,
            document: "{}",
            layers: std::slice::from_ref(&diff_id),
            cost: Duration::from_millis(1500),
        };
        store.put_step(&new).unwrap();
        drop(lease);
        let all = GcOptions { grace: Duration::ZERO };
        assert!(store.gc_with(&all).unwrap().layers.is_empty());
        let lease = store.lease().unwrap();
        let found = store.step(&key, &lease).unwrap().unwrap();
        assert_eq!((found.document.as_str(), found.cost), ("{}", Duration::from_millis(1500)));
        assert!(found.size > 0);
        drop(lease);
        assert_eq!(store.steps().unwrap()[0].uses, 1);
        assert_eq!(store.remove_steps(&[key.clone(), Digest::of(b"other")]).unwrap(), 1);
        assert_eq!(store.gc_with(&all).unwrap().layers, [diff_id]);
    }

    #[test]
    fn one_worker_at_a_time() {
        let (_directory, store) = temporary();
        let key = Digest::of(b"key");
        let lock = store.try_lock_step(&key).unwrap().unwrap();
        assert!(store.try_lock_step(&key).unwrap().is_none());
        drop(lock);
        assert!(store.try_lock_step(&key).unwrap().is_some());
    }

    #[test]
    fn a_view_shows_all_layers_and_leaves_nothing() {
        let (_directory, store) = temporary();
        let place = store.workplace().unwrap();
        let one = layer(&store, place.lease(), "one");
        let two = layer(&store, place.lease(), "two");
        for (layers, names) in
            [(vec![], vec![]), (vec![one.clone()], vec!["one"]), (vec![one, two], vec!["one", "two"])]
        {
            let view = store.workplace().unwrap();
            let seen = view.view(&layers).unwrap();
            let mut shown: Vec<String> = std::fs::read_dir(seen.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            shown.sort();
            assert_eq!(shown, names);
        }
        let directory = place.directory().unwrap();
        drop(place);
        assert!(!directory.exists());
    }
}
