//! Files that no row knows: what a crash left between two steps.
//!
//! Only meaningful under the exclusive store lock, or as a guess: whoever makes files appear holds the shared one
//! until their rows are there. Invariant: an orphan is never content that anybody was promised.

use crate::database::{Answer, parsed};
use crate::disk;
use crate::ingest::tree_bytes;
use crate::layout::Location;
use crate::locks;
use crate::store::Inner;
use berth_oci::{AtPath, Digest, Kind, Result};
use rusqlite::Connection;
use std::collections::HashSet;
use std::fs::DirEntry;
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A file or a directory that belongs to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl Orphan {
    /// `None`: whoever it belonged to has just taken it away. Lock files and downloads come and go under no lock.
    fn at(path: PathBuf) -> Result<Option<Self>> {
        match tree_bytes(&path) {
            Ok(bytes) => Ok(Some(Self { path, bytes })),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Broken-off downloads that nobody has gone on with for so long.
pub(crate) fn partials(location: &Location, grace: Duration) -> Result<Vec<Orphan>> {
    let mut found = Vec::new();
    for entry in disk::entries(&location.ingest())? {
        let path = entry.path();
        let age = match entry.metadata().and_then(|metadata| metadata.modified()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            answer => answer.at(&path)?,
        };
        let age = SystemTime::now().duration_since(age).unwrap_or_default();
        let is_partial = path.extension().is_some_and(|e| e == "partial");
        let lock = path.file_stem().map(|stem| location.locks().join("blobs").join(stem));
        let is_idle = lock.map_or(Ok(true), |lock| locks::is_abandoned(&lock))?;
        if is_idle && (age >= grace || !is_partial) {
            found.extend(Orphan::at(path)?);
        }
    }
    Ok(found)
}

/// What has been moved away and not been removed yet. Whoever removes a container holds no lease, so that trash is
/// looked at every time.
pub(crate) fn trash(location: &Location) -> Result<Vec<Orphan>> {
    let entries = disk::entries(&location.trash())?;
    entries.iter().filter_map(|entry| Orphan::at(entry.path()).transpose()).collect()
}

/// Directories of containers that have no row: a removal was killed.
pub(crate) fn containers(inner: &Inner) -> Result<Vec<Orphan>> {
    let directories = disk::entries(&inner.location.containers())?;
    if directories.is_empty() {
        return Ok(Vec::new());
    }
    let known = known::<Word>(inner, "SELECT id FROM container")?;
    let strangers = directories.iter().filter(|entry| !known.contains(&Word::of(entry)));
    strangers.filter_map(|entry| Orphan::at(entry.path()).transpose()).collect()
}

/// Content, temporaries, trash and lock files without an owner.
pub(crate) fn find(inner: &Inner) -> Result<Vec<Orphan>> {
    let location = &inner.location;
    let mut found = trash(location)?;
    for algorithm in disk::entries(&location.blobs())? {
        let name = algorithm.file_name().to_string_lossy().into_owned();
        let known = known::<Digest>(inner, "SELECT digest FROM blob")?;
        strangers(&algorithm.path(), &name, &known, &mut found)?;
    }
    for (home, form) in [(location.layers(), 0), (location.directories(), 1)] {
        let known = known::<Digest>(inner, &format!("SELECT diff_id FROM layer WHERE form = {form}"))?;
        strangers(&home, "", &known, &mut found)?;
    }
    let leases = known::<Word>(inner, "SELECT id FROM lease")?;
    for home in [location.temporary(), location.locks().join("leases")] {
        for entry in disk::entries(&home)? {
            if !leases.contains(&Word::of(&entry)) {
                found.extend(Orphan::at(entry.path())?);
            }
        }
    }
    let volumes = known::<Word>(inner, "SELECT name FROM volume")?;
    for entry in disk::entries(&location.volumes())? {
        // What is mounted in there is somebody else's.
        if !volumes.contains(&Word::of(&entry)) && !has_mounts(&entry.path())? {
            found.extend(Orphan::at(entry.path())?);
        }
    }
    for home in ["blobs", "layers", "volumes"] {
        for entry in disk::entries(&location.locks().join(home))? {
            let is_a_volume_s = home == "volumes" && is_lock_of(&Word::of(&entry), &volumes);
            if !is_a_volume_s && locks::is_abandoned(&entry.path())? {
                found.extend(Orphan::at(entry.path())?);
            }
        }
    }
    Ok(found)
}

/// A volume's locks stay as long as it does, and go with it: there is somebody for each of them, held or not.
fn is_lock_of(lock: &Word, volumes: &HashSet<Word>) -> bool {
    let used = lock.0.strip_suffix(".use").map(|name| Word(name.to_owned()));
    volumes.contains(lock) || used.is_some_and(|name| volumes.contains(&name))
}

/// Text as it is.
#[derive(PartialEq, Eq, Hash)]
struct Word(String);

impl Word {
    fn of(entry: &DirEntry) -> Self {
        Self(entry.file_name().to_string_lossy().into_owned())
    }
}

impl FromStr for Word {
    type Err = berth_oci::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self(text.to_owned()))
    }
}

fn known<T: FromStr<Err = berth_oci::Error> + Eq + Hash>(inner: &Inner, sql: &str) -> Result<HashSet<T>> {
    inner.database.read(|connection: &Connection| -> Answer<HashSet<T>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| parsed(row, 0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    })
}

/// The grandchildren of `home` that no row knows. Their names are the hexadecimal part of a digest; `algorithm` is
/// its other part, where the directory says it, else the length does.
fn strangers(home: &Path, algorithm: &str, known: &HashSet<Digest>, found: &mut Vec<Orphan>) -> Result<()> {
    for fan in disk::entries(home)? {
        for entry in disk::entries(&fan.path())? {
            let hex = entry.file_name().to_string_lossy().into_owned();
            let algorithm = match (algorithm, hex.len()) {
                ("", 128) => "sha512",
                ("", _) => "sha256",
                (algorithm, _) => algorithm,
            };
            let digest = format!("{algorithm}:{hex}").parse::<Digest>();
            if !digest.is_ok_and(|digest| known.contains(&digest)) {
                found.extend(Orphan::at(entry.path())?);
            }
        }
    }
    Ok(())
}

/// Whether something is mounted on `path` or below it: removing the tree would reach into it.
pub(crate) fn has_mounts(path: &Path) -> Result<bool> {
    Ok(!mounts_below(path)?.is_empty())
}

/// Where something is mounted on `path` or below it, in the order in which it was mounted.
///
/// # Errors
/// The table of mounts cannot be read.
pub fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    let table = Path::new("/proc/self/mountinfo");
    let mounts = std::fs::read_to_string(table).at(table)?;
    let path = match path.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        answer => answer.at(path)?,
    };
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    Ok(places.filter(|at| at.starts_with(&path)).collect())
}

/// proc(5): space, tab, newline and backslash are octal in mountinfo.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, character);
    }
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_seen_from_above_only() {
        assert!(has_mounts(Path::new("/")).unwrap());
        assert!(has_mounts(Path::new("/proc")).unwrap());
        assert!(!has_mounts(Path::new("/proc/self/net")).unwrap());
        assert_eq!(unescaped("/a\\040b"), Path::new("/a b"));
    }
}
