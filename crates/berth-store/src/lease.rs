//! Leases: what a running process adds or uses is kept from garbage collection.
//!
//! A lease is a row and a lock file. Its process holds the flock; when the process dies, however it dies, the
//! kernel lets go, and the next collection knows that the lease is dead and that something may lie about.
//! Invariant: the lock file is locked before the row appears, and both appear under the shared store lock.

use crate::database::{Answer, Durability, moment};
use crate::disk;
use crate::locks::{self, Held, StoreLock};
use crate::store::{Inner, Store};
use berth_oci::{AtPath, Digest, Error, Result};
use rusqlite::{Transaction, params};
use std::path::PathBuf;
use std::sync::Arc;

/// Something a lease keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected<'a> {
    /// A manifest, a config or a kept layer.
    Blob(&'a Digest),
    /// A layer, by its diff ID.
    Layer(&'a Digest),
    /// Everything an image consists of, by its target.
    Image(&'a Digest),
}

/// Keeps what was named to it until it is dropped, or its process dies.
#[derive(Debug)]
pub struct Lease {
    store: Arc<Inner>,
    id: String,
    _lock: Held,
}

impl Store {
    /// A new lease, which keeps nothing yet.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn lease(&self) -> Result<Lease> {
        self.lease_for("use")
    }

    /// A lease whose row says what it is for, for whoever looks into a store that seems busy.
    pub(crate) fn lease_for(&self, purpose: &str) -> Result<Lease> {
        let id = disk::random_name()?;
        let location = &self.inner.location;
        let _adding = StoreLock::shared(&location.locks())?;
        let lock = locks::try_exclusive(&location.lease_lock(&id))?
            .ok_or_else(|| Error::internal(format!("two leases have the id {id}")))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let row = params![id, purpose, std::process::id(), boot.trim(), moment(jiff::Timestamp::now())];
        self.inner.database.write(Durability::Process, |transaction| {
            transaction
                .execute("INSERT INTO lease (id, purpose, pid, boot, made) VALUES (?, ?, ?, ?, ?)", row)?;
            Ok(())
        })?;
        Ok(Lease { store: Arc::clone(&self.inner), id, _lock: lock })
    }
}

impl Lease {
    /// Keeps these things from now on; answers whether all of them are there.
    ///
    /// Where the answer is `true`, they stay: collection decides in a transaction, too.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn protect(&self, things: &[Protected<'_>]) -> Result<bool> {
        self.store.database.write(Durability::Process, |transaction| self.hold(transaction, things))
    }

    /// [`protect`](Self::protect) as a part of a larger transaction.
    pub(crate) fn hold(&self, transaction: &Transaction<'_>, things: &[Protected<'_>]) -> Answer<bool> {
        let mut all_there = true;
        let mut item =
            transaction.prepare("INSERT OR IGNORE INTO lease_item (lease, kind, digest) VALUES (?, ?, ?)")?;
        for thing in things {
            let (there, digest) = match thing {
                Protected::Blob(digest) => {
                    item.execute(params![self.id, BLOB, digest.as_str()])?;
                    ("SELECT 1 FROM blob WHERE digest = ?", digest)
                }
                Protected::Layer(diff_id) => {
                    item.execute(params![self.id, LAYER, diff_id.as_str()])?;
                    ("SELECT 1 FROM layer WHERE diff_id = ?", diff_id)
                }
                Protected::Image(target) => {
                    transaction.execute(
                        "INSERT OR IGNORE INTO lease_item (lease, kind, digest)
                         SELECT ?, kind, digest FROM content WHERE target = ?",
                        params![self.id, target.as_str()],
                    )?;
                    ("SELECT 1 FROM image WHERE target = ?", target)
                }
            };
            all_there &= transaction.prepare(there)?.exists([digest.as_str()])?;
        }
        Ok(all_there)
    }

    /// Lets go of everything that only this lease has brought here, so that the next collection takes it without
    /// waiting out the grace that broken-off pulls have.
    pub(crate) fn abandon(&self) -> Result<()> {
        self.store.database.write(Durability::Process, |transaction| {
            for (table, key, is_layer) in [("blob", "digest", false), ("layer", "diff_id", true)] {
                transaction.execute(
                    &format!(
                        "UPDATE {table} SET added = 0 WHERE {key} IN
                         (SELECT digest FROM lease_item WHERE lease = ? AND (kind = {LAYER}) = ?)"
                    ),
                    params![self.id, is_layer],
                )?;
            }
            transaction.execute("DELETE FROM lease_item WHERE lease = ?", [&self.id])?;
            Ok(())
        })
    }

    /// A directory for this lease's unfinished files; goes with the lease.
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        let path = self.store.location.temporary().join(&self.id);
        disk::make_directory(&path)?;
        Ok(path)
    }

    /// A new path in [`directory`](Self::directory).
    pub(crate) fn temporary(&self) -> Result<PathBuf> {
        Ok(self.directory()?.join(disk::random_name()?))
    }

    /// Whether this lease belongs to that store.
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        Arc::ptr_eq(&self.store, &store.inner)
    }

    /// A name that nobody else has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.id
    }

    /// Its id: the name under which it uses layers.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// `lease_item.kind` of a blob.
pub(crate) const BLOB: i64 = 2;
/// `lease_item.kind` of a layer.
pub(crate) const LAYER: i64 = 3;

impl Drop for Lease {
    /// What fails here is what a death of the process would leave, and is found the same way.
    fn drop(&mut self) {
        let location = &self.store.location;
        let ended = disk::remove(&location.temporary().join(&self.id)).and_then(|()| {
            self.store.database.write(Durability::Process, |transaction| {
                transaction.execute("DELETE FROM lease WHERE id = ?", [&self.id])?;
                Ok(())
            })
        });
        if ended.is_ok() {
            let _ = std::fs::remove_file(location.lease_lock(&self.id)).at(&location.root);
        }
    }
}

/// Removes the rows of leases whose processes are gone, their temporaries and lock files; answers their number.
///
/// The caller holds the exclusive store lock and has cleaned up after them.
pub(crate) fn forget(store: &Inner, dead: &[String]) -> Result<u64> {
    for id in dead {
        disk::remove(&store.location.temporary().join(id))?;
    }
    store.database.write(Durability::Process, |transaction| {
        let mut delete = transaction.prepare("DELETE FROM lease WHERE id = ?")?;
        for id in dead {
            delete.execute([id])?;
        }
        Ok(())
    })?;
    for id in dead {
        disk::remove(&store.location.lease_lock(id))?;
    }
    Ok(dead.len() as u64)
}

/// The leases whose processes are gone.
pub(crate) fn dead(store: &Inner) -> Result<Vec<String>> {
    let all: Vec<String> = store.database.read(|connection| {
        let mut statement = connection.prepare("SELECT id FROM lease")?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    })?;
    let mut dead = Vec::new();
    for id in all {
        if locks::is_abandoned(&store.location.lease_lock(&id))? {
            dead.push(id);
        }
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[test]
    fn a_lease_lives_as_long_as_its_lock() {
        let (_directory, store) = temporary();
        let lease = store.lease().unwrap();
        let temporary = lease.directory().unwrap();
        assert!(temporary.is_dir() && dead(&store.inner).unwrap().is_empty());
        assert!(!lease.protect(&[Protected::Blob(&Digest::of(b"not here"))]).unwrap());
        let lock = store.inner.location.lease_lock(lease.id());
        drop(lease);
        assert!(!temporary.exists() && !lock.exists());
    }

    #[test]
    fn a_lease_whose_process_died_is_found_and_forgotten() {
        let (_directory, store) = temporary();
        let lease = store.lease().unwrap();
        let id = lease.id().to_owned();
        lease.directory().unwrap();
        // What a death leaves: the row, the directory and the lock file, which nobody holds.
        std::fs::remove_file(store.inner.location.lease_lock(&id)).unwrap();
        std::fs::write(store.inner.location.lease_lock(&id), b"").unwrap();
        assert_eq!(dead(&store.inner).unwrap(), std::slice::from_ref(&id));
        assert_eq!(forget(&store.inner, &[id]).unwrap(), 1);
        assert!(dead(&store.inner).unwrap().is_empty());
        assert!(disk::entries(&store.inner.location.temporary()).unwrap().is_empty());
    }
}
