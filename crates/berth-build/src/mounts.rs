//! Cache mounts: directories that steps fill and later steps find again, by name.
//!
//! Here: where they lie, what they are called, who uses them. Not here: mounting them. Invariant: a directory
//! appears complete, and nobody removes one that is in use.

use berth_oci::{AtPath, Digest, Error, Result};
use berth_store::Store;
use jiff::Timestamp;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A cache mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// What `RUN --mount=type=cache,id=…` calls it.
    pub id: String,
    /// The name of its directory: of its id, owner, mode and first contents.
    pub key: String,
    /// When it was made.
    pub created: Timestamp,
    /// When a step had it last.
    pub used: Timestamp,
    directory: PathBuf,
}

/// Somebody uses a cache mount as long as this is held.
#[derive(Debug)]
pub struct CacheMountUse(#[expect(dead_code, reason = "the lock goes with the file")] File);

/// What tells two mounts of the same id apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look<'a> {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<u32>,
    /// The first contents.
    pub(crate) origin: &'a str,
    pub(crate) source: Option<&'a str>,
}

impl CacheMount {
    /// All of them, by their names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn all(store: &Store) -> Result<Vec<Self>> {
        let all = store.build_directory("mounts")?;
        let mut mounts = Vec::new();
        for entry in fs::read_dir(&all).at(&all)? {
            let directory = entry.at(&all)?.path();
            // Locks lie beside them.
            let Ok(id) = fs::read_to_string(directory.join("id")) else { continue };
            let key =
                directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let created = time(&directory.join("id"));
            let used = time(&use_path(&all, &key)).max(created);
            mounts.push(Self { id, key, created, used, directory });
        }
        mounts.sort_by(|a, b| (&a.id, &a.key).cmp(&(&b.id, &b.key)));
        Ok(mounts)
    }

    /// An empty one, as a step would make it that says nothing but its id.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn make(store: &Store, id: &str) -> Result<Self> {
        let key = key(id, &Look::default());
        let place = store.workplace()?;
        let fresh = place.directory()?.join("cache");
        fs::create_dir(&fresh).at(&fresh)?;
        let data = fresh.join("data");
        fs::create_dir(&data).at(&data)?;
        publish(&fresh, id, &store.build_directory("mounts")?.join(&key))?;
        Self::all(store)?
            .into_iter()
            .find(|mount| mount.key == key)
            .ok_or_else(|| Error::conflict(format!("the cache mount {id} has gone again")))
    }

    /// Where its files are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Uses it.
    ///
    /// # Errors
    /// Its lock cannot be made.
    pub fn hold(&self, store: &Store) -> Result<CacheMountUse> {
        hold(&store.build_directory("mounts")?, &self.key)
    }

    /// Whether anybody uses it now.
    ///
    /// # Errors
    /// Its lock cannot be opened.
    pub fn is_in_use(&self, store: &Store) -> Result<bool> {
        let all = store.build_directory("mounts")?;
        // Looking is no use: a lock that nobody has made is made by nobody here.
        Ok(use_path(&all, &self.key).exists() && alone(&all, &self.key)?.is_none())
    }

    /// Removes it, unless somebody uses it: then `false`.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, store: &Store) -> Result<bool> {
        let Some(_alone) = alone(&store.build_directory("mounts")?, &self.key)? else { return Ok(false) };
        // Away from where others look first, then away.
        let place = store.workplace()?;
        let gone = place.directory()?.join("gone");
        fs::rename(&self.directory, &gone).at(&self.directory)?;
        Ok(true)
    }
}

/// The name of a mount's directory.
pub(crate) fn key(id: &str, look: &Look<'_>) -> String {
    let Look { uid, gid, mode, origin, source } = look;
    let text = format!("{id}\n{uid:?} {gid:?} {mode:?} {origin} {source:?}");
    Digest::of(text.as_bytes()).hex()[..32].to_owned()
}

/// Gives a directory with `data` in it its name. Whoever is faster wins: what they made is the same.
pub(crate) fn publish(fresh: &Path, id: &str, directory: &Path) -> Result<()> {
    let name = fresh.join("id");
    fs::write(&name, id).at(&name)?;
    match fs::rename(fresh, directory) {
        Err(_) if directory.join("data").is_dir() => fs::remove_dir_all(fresh).at(fresh),
        answer => answer.at(directory),
    }
}

/// Waits while it is being removed, which takes a moment.
pub(crate) fn hold(all: &Path, key: &str) -> Result<CacheMountUse> {
    let path = use_path(all, key);
    let file = open(&path)?;
    file.lock_shared().at(&path)?;
    // When it was last used.
    file.set_modified(SystemTime::now()).at(&path)?;
    Ok(CacheMountUse(file))
}

fn alone(all: &Path, key: &str) -> Result<Option<CacheMountUse>> {
    let path = use_path(all, key);
    let file = open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(CacheMountUse(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at(&path),
    }
}

fn use_path(all: &Path, key: &str) -> PathBuf {
    all.join(format!("{key}.use"))
}

fn open(path: &Path) -> Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).at(path)
}

fn time(path: &Path) -> Timestamp {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    Timestamp::try_from(modified).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::Location;

    #[test]
    fn what_is_used_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let location =
            Location { root: directory.path().join("root"), runroot: directory.path().join("run") };
        let store = Store::open(&location).unwrap();
        let mount = CacheMount::make(&store, "npm").unwrap();
        fs::write(mount.data().join("file"), "kept").unwrap();
        assert_eq!(CacheMount::make(&store, "npm").unwrap().key, mount.key);
        let held = mount.hold(&store).unwrap();
        let second = mount.hold(&store).unwrap();
        assert!(mount.is_in_use(&store).unwrap() && !mount.remove(&store).unwrap());
        drop((held, second));
        assert_eq!(fs::read_to_string(mount.data().join("file")).unwrap(), "kept");
        assert!(!mount.is_in_use(&store).unwrap() && mount.remove(&store).unwrap());
        assert_eq!(CacheMount::all(&store).unwrap(), []);
        let other = Look { uid: Some(7), ..Look::default() };
        assert_ne!(key("npm", &Look::default()), key("npm", &other));
    }
}
