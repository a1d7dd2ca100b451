//! Locks between processes: flocks, which the kernel drops with the process that held them.
//!
//! [`StoreLock`] is shared by everybody who makes files appear, exclusive for the moment in which garbage goes.
//! Invariant of order: gate, then store lock, then database; nobody waits for a blob lock with any of them.

use crate::disk;
use berth_oci::{AtPath, Result};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "held, not used")] File);

/// The lock between those who add and the one who sweeps.
#[derive(Debug)]
pub(crate) struct StoreLock(#[expect(dead_code, reason = "held, not used")] Vec<Held>);

impl StoreLock {
    /// For whoever makes files appear; many at once.
    ///
    /// The gate lets a waiting sweeper in: without it, a steady stream of sharers would starve it for ever.
    pub(crate) fn shared(locks: &Path) -> Result<Self> {
        let gate = open(&locks.join("gate.lock"))?;
        gate.lock_shared().at(locks)?;
        let store = open(&locks.join("store.lock"))?;
        store.lock_shared().at(locks)?;
        Ok(Self(vec![Held(store)]))
    }

    /// For whoever takes files away; alone.
    pub(crate) fn exclusive(locks: &Path) -> Result<Self> {
        let gate = open(&locks.join("gate.lock"))?;
        gate.lock().at(locks)?;
        let store = open(&locks.join("store.lock"))?;
        store.lock().at(locks)?;
        Ok(Self(vec![Held(store), Held(gate)]))
    }
}

/// Takes the lock file at `path` for ourselves, if nobody has it.
///
/// Whoever is done with a lock file may remove it while holding it; so a lock only counts if the path still leads
/// to the file that was locked.
pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Held>> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) if is_still_at(&file, path)? => return Ok(Some(Held(file))),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e).at(path),
        }
    }
}

/// Waits until the lock file at `path` is ours. For locks that are held for moments only.
pub(crate) fn exclusive(path: &Path) -> Result<Held> {
    loop {
        let file = open(path)?;
        file.lock().at(path)?;
        if is_still_at(&file, path)? {
            return Ok(Held(file));
        }
    }
}

/// The lock file at `path`, together with whoever else wants it shared.
pub(crate) fn shared(path: &Path) -> Result<Held> {
    let file = open(path)?;
    file.lock_shared().at(path)?;
    Ok(Held(file))
}

/// Whether the process that locked `path` is gone: nobody holds the lock, or there is no such file.
pub(crate) fn is_abandoned(path: &Path) -> Result<bool> {
    match File::options().read(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        answer => match answer.at(path)?.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(e).at(path),
        },
    }
}

/// Removes a lock file that nobody holds, holding it: whoever waits for it notices that it does not count any more.
pub(crate) fn remove_abandoned(path: &Path) -> Result<()> {
    match try_exclusive(path)? {
        Some(_held) => disk::remove(path),
        None => Ok(()),
    }
}

fn is_still_at(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().at(path)?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).at(path),
    }
}

fn open(path: &Path) -> Result<File> {
    let open = || File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            disk::make_directory(path.parent().expect("a lock lies in a directory"))?;
            open().at(path)
        }
        answer => answer.at(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_lock_file_that_was_removed_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("locks/x");
        let first = try_exclusive(&path).unwrap().unwrap();
        assert!(try_exclusive(&path).unwrap().is_none());
        assert!(!is_abandoned(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let second = try_exclusive(&path).unwrap().unwrap();
        drop((first, second));
        assert!(is_abandoned(&path).unwrap());
        assert!(is_abandoned(&root.path().join("locks/never")).unwrap());
    }

    #[test]
    fn a_sweeper_waits_for_sharers_and_keeps_new_ones_out() {
        let root = tempfile::tempdir().unwrap();
        let locks = root.path().to_owned();
        let (one, two) = (StoreLock::shared(&locks).unwrap(), StoreLock::shared(&locks).unwrap());
        let (done, order) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let lock = StoreLock::exclusive(&locks).unwrap();
                done.send("sweeper").unwrap();
                drop(lock);
            });
            drop(one);
            assert!(order.try_recv().is_err());
            drop(two);
            assert_eq!(order.recv().unwrap(), "sweeper");
        });
        StoreLock::shared(&locks).unwrap();
    }
}
