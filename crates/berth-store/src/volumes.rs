//! Volumes: a directory that outlives containers, a record about it, and which containers use it.
//!
//! Not here: what a driver's options mean, and what is mounted; that is the engine's. Invariant: a volume's directory
//! exists before its row and goes after it, and a row stays as long as a container uses it. Both ways are durable
//! at once: the bytes are somebody's only copy.

use crate::database::{Answer, Durability, moment, text, timestamp};
use crate::disk;
use crate::ingest::tree_bytes;
use crate::layout::is_identifier;
use crate::locks::{self, Held, StoreLock};
use crate::orphans::has_mounts;
use crate::store::Store;
use berth_oci::{AtPath, Error, Kind, Result};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A volume of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The engine's document.
    pub document: String,
    /// Ids of the containers that use it.
    pub users: Vec<String>,
}

impl Store {
    /// Where a volume's files lie.
    #[must_use]
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.inner.location.volume(name).join("_data")
    }

    /// The volume with this name, made if there is none; says whether it was made.
    ///
    /// # Errors
    /// `Invalid`: the name is not one; the disk cannot be written to.
    pub fn add_volume(&self, name: &str, document: &str) -> Result<(VolumeRecord, bool)> {
        if !is_volume_name(name) {
            return Err(Error::invalid(format!("`{name}` is not a volume name")));
        }
        let location = &self.inner.location;
        let _adding = StoreLock::shared(&location.locks())?;
        let _name = locks::exclusive(&location.volume_lock(name))?;
        if let Some(known) = self.inner.database.read(|connection| find(connection, name))? {
            return Ok((known, false));
        }
        // What has no row was left by a crash: of a volume that never was, or of one that was removed.
        if let Some(stale) = disk::discard(&location.volume(name), &location.trash())? {
            disk::remove(&stale)?;
        }
        let data = self.volume_data(name);
        disk::make_directory(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).at(&data)?;
        disk::sync_directory(&location.volume(name))?;
        disk::sync_directory(&location.volumes())?;
        let created = Timestamp::now();
        self.inner.database.write(Durability::Machine, |transaction| {
            let row = params![name, moment(created), document];
            transaction.execute("INSERT INTO volume (name, created, document) VALUES (?, ?, ?)", row)?;
            Ok(())
        })?;
        let record =
            VolumeRecord { name: name.to_owned(), created, document: document.to_owned(), users: Vec::new() };
        Ok((record, true))
    }

    /// The volume with exactly this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume(&self, name: &str) -> Result<VolumeRecord> {
        let found = self.inner.database.read(|connection| find(connection, name))?;
        found.ok_or_else(|| no_such_volume(name))
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>> {
        self.inner.database.read(|connection| {
            let mut statement =
                connection.prepare("SELECT name, created, document FROM volume ORDER BY name")?;
            let records = statement.query_map([], record)?;
            let mut records: Vec<VolumeRecord> = records.collect::<rusqlite::Result<_>>()?;
            let mut uses =
                connection.prepare("SELECT volume, container FROM volume_use ORDER BY container")?;
            let mut rows = uses.query([])?;
            while let Some(row) = rows.next()? {
                let volume = text(row, 0)?;
                if let Ok(at) = records.binary_search_by(|record| record.name.as_str().cmp(volume)) {
                    records[at].users.push(row.get(1)?);
                }
            }
            Ok(records)
        })
    }

    /// No volume goes while this is held: between finding or making one and adding the container that uses it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn keep_volumes(&self) -> Result<Held> {
        locks::shared(&self.inner.location.volumes_lock())
    }

    /// Only one at a time chooses users for a container.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn lock_users(&self) -> Result<Held> {
        locks::exclusive(&self.inner.location.locks().join("users.lock"))
    }

    /// Only one at a time fills a volume, or mounts something on it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn use_volume(&self, name: &str) -> Result<Held> {
        locks::exclusive(&self.inner.location.volume_use_lock(name))
    }

    /// Whether a file system of its own lies on the volume's directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn is_volume_mounted(&self, name: &str) -> Result<bool> {
        let path = self.volume_data(name);
        match statx(CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()) {
            Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(io::Error::from(error)).at(&path),
        }
    }

    /// Removes a volume's row, then its files. Whoever has [`keep_volumes`](Self::keep_volumes) is waited for.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`: a container uses it, or something is mounted in it.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        if !is_volume_name(name) {
            return Err(no_such_volume(name));
        }
        let location = &self.inner.location;
        let trashed = {
            let _alone = locks::exclusive(&location.volumes_lock())?;
            let _name = locks::exclusive(&location.volume_lock(name))?;
            let removed = self.drop_volume(name);
            if removed.as_ref().err().is_none_or(|error| error.kind() == Kind::NotFound) {
                // Nobody needs the locks of a volume that is not there; who waits for one notices that it is gone.
                locks::remove_abandoned(&location.volume_use_lock(name))?;
                disk::remove(&location.volume_lock(name))?;
            }
            removed?
        };
        trashed.map_or(Ok(()), |trashed| disk::remove(&trashed))
    }

    /// Its row goes, and its files go to the trash: where they are then.
    fn drop_volume(&self, name: &str) -> Result<Option<PathBuf>> {
        let location = &self.inner.location;
        let home = location.volume(name);
        // Removing the tree would reach into whatever that is.
        if home.exists() && has_mounts(&home)? {
            let message = format!("remove {name}: something is mounted in `{}`", home.display());
            return Err(Error::conflict(message).hint("`findmnt` shows what; unmount it first"));
        }
        self.inner.database.write(Durability::Machine, |transaction| {
            let known = find(transaction, name)?.ok_or_else(|| no_such_volume(name))?;
            if !known.users.is_empty() {
                return Err(Error::conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    known.users.join(", ")
                ))
                .hint("`berth rm` removes the containers first")
                .into());
            }
            transaction.execute("DELETE FROM volume WHERE name = ?", [name])?;
            Ok(())
        })?;
        disk::discard(&home, &location.trash())
    }

    /// What a volume's files take on the store's disk; those of another file system take nothing there.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn volume_bytes(&self, name: &str) -> Result<u64> {
        if self.is_volume_mounted(name)? {
            let home = self.inner.location.volume(name);
            return Ok(disk::disk_bytes(&fs::symlink_metadata(&home).at(&home)?));
        }
        tree_bytes(&self.inner.location.volume(name))
    }
}

/// Notes that a container that is being added uses these volumes, which must exist.
pub(crate) fn use_volumes(transaction: &Transaction<'_>, container: &str, volumes: &[&str]) -> Answer<()> {
    let mut statement =
        transaction.prepare("INSERT OR IGNORE INTO volume_use (container, volume) VALUES (?, ?)")?;
    for volume in volumes {
        if find(transaction, volume)?.is_none() {
            return Err(no_such_volume(volume).into());
        }
        statement.execute([container, volume])?;
    }
    Ok(())
}

fn no_such_volume(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume")).hint("`berth volume ls` lists what is here")
}

fn find(connection: &Connection, name: &str) -> Answer<Option<VolumeRecord>> {
    let sql = "SELECT name, created, document FROM volume WHERE name = ?";
    let Some(mut found) = connection.query_row(sql, [name], record).optional()? else { return Ok(None) };
    let mut statement =
        connection.prepare("SELECT container FROM volume_use WHERE volume = ? ORDER BY container")?;
    let users = statement.query_map([name], |row| row.get(0))?;
    found.users = users.collect::<rusqlite::Result<_>>()?;
    Ok(Some(found))
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<VolumeRecord> {
    Ok(VolumeRecord {
        name: row.get(0)?,
        created: timestamp(row, 1)?,
        document: text(row, 2)?.to_owned(),
        users: Vec::new(),
    })
}

/// Whether `name` may name a directory of ours. Docker's alphabet; a leading dot would be hidden, or lead elsewhere.
fn is_volume_name(name: &str) -> bool {
    let plain: String = name.chars().map(|c| if matches!(c, '_' | '.') { '-' } else { c }).collect();
    is_identifier(&plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewContainer;
    use crate::store::tests::temporary;

    fn nobody() -> NewContainer<'static> {
        NewContainer { id: "", name: "", image: None, document: "{}", volumes: &[], images: &[] }
    }

    #[test]
    fn a_volume_lives_as_long_as_somebody_uses_it() {
        let (_directory, store) = temporary();
        let (made, is_new) = store.add_volume("data", "{}").unwrap();
        assert!(is_new && made.users.is_empty() && store.volume_data("data").is_dir());
        fs::write(store.volume_data("data").join("file"), b"x").unwrap();
        assert!(!store.add_volume("data", "other").unwrap().1);
        assert_eq!(store.volume("data").unwrap().document, "{}");
        let new = NewContainer { id: "abc1", name: "web", volumes: &["data"], ..nobody() };
        store.add_container(&new).unwrap();
        assert_eq!(store.volumes().unwrap()[0].users, ["abc1"]);
        // Its locks, held or not, are no garbage; those of a volume that is not there are.
        drop(store.use_volume("data").unwrap());
        assert_eq!(crate::orphans::find(&store.inner).unwrap(), []);
        let error = store.remove_volume("data").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::Conflict, "remove data: volume is in use - [abc1]")
        );
        store.remove_container("web").unwrap();
        store.remove_volume("data").unwrap();
        assert!(!store.volume_data("data").exists());
        assert_eq!(store.remove_volume("data").unwrap_err().kind(), Kind::NotFound);
        let locks = store.inner.location.volume_lock("data").parent().unwrap().to_owned();
        assert_eq!(fs::read_dir(locks).unwrap().count(), 0);
        drop(store.use_volume("data").unwrap());
        let left = crate::orphans::find(&store.inner).unwrap();
        assert_eq!(
            left.iter().map(|orphan| &*orphan.path).collect::<Vec<_>>(),
            [store.inner.location.volume_use_lock("data")]
        );
    }

    #[test]
    fn a_container_needs_its_volumes_and_names_stay_inside() {
        let (_directory, store) = temporary();
        let new = NewContainer { id: "abc1", name: "web", volumes: &["gone"], ..nobody() };
        assert_eq!(store.add_container(&new).unwrap_err().message(), "get gone: no such volume");
        for bad in ["", ".", "..", "a/b", ".a", "-a", "a b", "a\0", &"a".repeat(300)] {
            assert_eq!(store.add_volume(bad, "").unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn what_a_crash_left_does_not_come_back() {
        let (_directory, store) = temporary();
        let left = store.volume_data("data");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("old"), b"x").unwrap();
        store.add_volume("data", "").unwrap();
        assert!(left.is_dir() && !left.join("old").exists());
    }

    #[test]
    fn many_may_make_and_remove_the_same_one() {
        let (_directory, store) = temporary();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let store = Store::open(store.location()).unwrap();
                    for _ in 0..10 {
                        store.add_volume("data", "").unwrap();
                        if let Err(error) = store.remove_volume("data") {
                            assert_eq!(error.kind(), Kind::NotFound);
                        }
                    }
                });
            }
        });
        assert!(store.volumes().unwrap().is_empty() && !store.volume_data("data").exists());
    }
}
