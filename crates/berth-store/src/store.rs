//! Opening a store, and what all of its parts share.
//!
//! Invariant: opening changes nothing in a store that exists, and costs about a millisecond.

use crate::database::Database;
use crate::disk;
use crate::layer::Form;
use crate::layout::Location;
use crate::locks::StoreLock;
use berth_oci::{AtPath, Context, Error, Kind, Result};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A store. Cloning it is cheap; threads and processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the parts of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) location: Location,
    pub(crate) database: Database,
    pub(crate) form: OnceLock<Form>,
}

impl Store {
    /// Opens the store, and makes it where there is none yet.
    ///
    /// # Errors
    /// No right to use the directory, not a directory, a full or read-only disk, a store of a newer berth.
    pub fn open(location: &Location) -> Result<Self> {
        let path = location.database();
        let database = match Database::open(&path) {
            Err(_) if !is_initialised(&path) => {
                initialise(location)
                    .context(|| format!("cannot make a store in `{}`", location.root.display()))?;
                Database::open(&path)?
            }
            answer => answer?,
        };
        Ok(Self { inner: Arc::new(Inner { location: location.clone(), database, form: OnceLock::new() }) })
    }

    /// Where this store lies.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.inner.location
    }
}

/// Whether somebody finished making the database: SQLite's file format has the schema version at byte 60.
fn is_initialised(database: &Path) -> bool {
    let version = || {
        use std::os::unix::fs::FileExt;
        let mut version = [0; 4];
        std::fs::File::open(database)?.read_exact_at(&mut version, 60).map(|()| version)
    };
    match version() {
        Ok(version) => version != [0; 4],
        Err(e) => {
            !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::UnexpectedEof)
        }
    }
}

fn initialise(location: &Location) -> Result<()> {
    let root = &location.root;
    disk::make_directory(root).map_err(|e| explain(e, root))?;
    // The umask, or whoever made the directory, may have been generous; layers hold other people's secrets.
    rustix::fs::chmod(root, rustix::fs::Mode::RWXU).map_err(std::io::Error::from).at(root)?;
    let _alone = StoreLock::exclusive(&location.locks())?;
    Database::create(&location.database())?;
    disk::sync_directory(root)
}

fn explain(error: Error, root: &Path) -> Error {
    if root.exists() && !root.is_dir() {
        return Error::invalid(format!("`{}` is not a directory", root.display()))
            .hint("`--root` names the directory that berth keeps its images and containers in");
    }
    match error.kind() {
        Kind::Denied if error.hint_text().is_none() => {
            error.hint("run berth as root, or name a directory of your own with `--root`")
        }
        _ => error,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A store in a temporary directory.
    pub(crate) fn temporary() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&location(directory.path())).unwrap();
        (directory, store)
    }

    pub(crate) fn location(directory: &Path) -> Location {
        Location { root: directory.join("root"), runroot: directory.join("run") }
    }

    #[test]
    fn a_store_is_made_once_and_is_private() {
        let (directory, _store) = temporary();
        let mode = std::fs::metadata(directory.path().join("root")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        Store::open(&location(directory.path())).unwrap();
    }

    #[test]
    fn many_may_make_it_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let location = location(directory.path());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Store::open(&location).map(drop))).collect();
            for thread in threads {
                thread.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn a_store_that_cannot_be_used_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let location = location(directory.path());
        std::fs::write(&location.root, b"a file").unwrap();
        let error = Store::open(&location).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");

        std::fs::remove_file(&location.root).unwrap();
        drop(Store::open(&location).unwrap());
        let newer = rusqlite::Connection::open(location.database()).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        drop(newer);
        let error = Store::open(&location).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("newer berth"), "{error}");

        std::fs::write(location.database(), vec![b'x'; 8192]).unwrap();
        let error = Store::open(&location).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.hint_text().unwrap().contains("--rebuild"), "{error:?}");
    }

    #[test]
    fn a_store_of_the_first_berth_is_brought_forward() {
        let directory = tempfile::tempdir().unwrap();
        let location = location(directory.path());
        std::fs::create_dir_all(&location.root).unwrap();
        let old = rusqlite::Connection::open(location.database()).unwrap();
        old.pragma_update(None, "journal_mode", "wal").unwrap();
        old.execute_batch(crate::schema::FIRST).unwrap();
        old.execute(
            "INSERT INTO container (id, name, created, document) VALUES ('abc1', 'web', 0, '{}')",
            [],
        )
        .unwrap();
        old.execute(
            "INSERT INTO image (target, media_type, manifest_size, size, added, tagged, summary)
             VALUES ('sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '', 0, 0, 0, 0,
                     '{\"labels\":{\"a\":\"b\"},\"manifests\":[]}')",
            [],
        )
        .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(&location).map(drop))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        let store = Store::open(&location).unwrap();
        assert_eq!(store.containers().unwrap()[0].name, "web");
        store.add_volume("data", "{}").unwrap();
        assert_eq!(store.images().unwrap()[0].labels().unwrap()["a"], "b");
    }

    #[test]
    fn whoever_died_while_making_it_left_nothing_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let location = location(directory.path());
        std::fs::create_dir_all(&location.root).unwrap();
        std::fs::write(location.database(), b"").unwrap();
        Store::open(&location).unwrap();
    }
}
