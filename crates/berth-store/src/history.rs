//! Builds that were run: one row for each, what they said, and what their steps were made of.
//!
//! Here: rows, files, bounds. Not here: what a document says; that is the builder's. Invariant: what is kept is
//! bounded, the oldest goes first, and losing any of it costs nothing but an explanation.

use crate::database::{Durability, moment, text, timestamp};
use crate::disk;
use crate::layout::is_identifier;
use crate::store::Store;
use berth_oci::{AtPath, Context, Digest, Error, Result};
use jiff::Timestamp;
use rusqlite::params;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A build that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRow {
    /// What it is called.
    pub id: String,
    /// What it is compared with: builds of the same files.
    pub project: String,
    /// When it began.
    pub started: Timestamp,
    /// The builder's own words about it.
    pub document: String,
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Builds.
    pub builds: usize,
    /// Bytes of all logs.
    pub logs: u64,
    /// Bytes of what is known of steps' inputs.
    pub inputs: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { builds: 500, logs: 256 << 20, inputs: 64 << 20 }
    }
}

/// Bytes of what one step was made of.
const INPUTS_LIMIT: usize = 256 << 20;

impl Store {
    /// Remembers a build; its log is [`log_of_build`](Self::log_of_build).
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn put_build(&self, row: &BuildRow, limits: &HistoryLimits) -> Result<()> {
        self.inner.database.write(Durability::Process, |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO build (id, project, started, document) VALUES (?, ?, ?, ?)",
                params![row.id, row.project, moment(row.started), row.document],
            )?;
            transaction.execute(
                "DELETE FROM build WHERE id IN (SELECT id FROM build ORDER BY started DESC LIMIT -1 OFFSET ?)",
                [limits.builds as i64],
            )?;
            Ok(())
        })
    }

    /// Removes logs and inputs that are too old or too many.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn bound_history(&self, limits: &HistoryLimits) -> Result<()> {
        self.bound_logs(limits.logs)?;
        bound(&self.build_directory("inputs")?, limits.inputs, &|_| false)
    }

    /// Builds, the last one first; of one project, where one is named.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn builds(&self, project: Option<&str>, most: usize) -> Result<Vec<BuildRow>> {
        self.inner.database.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, project, started, document FROM build
                 WHERE ?1 IS NULL OR project = ?1 ORDER BY started DESC, id LIMIT ?2",
            )?;
            let rows = statement.query_map(params![project, most as i64], row)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The one build whose id begins so; `^0` is the last one, `^1` the one before it.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn build(&self, name: &str) -> Result<BuildRow> {
        let missing = || {
            Error::not_found(format!("no record found for \"{name}\""))
                .hint("`berth buildx history ls` lists what is kept")
        };
        if let Some(back) = name.strip_prefix('^').and_then(|back| back.parse::<usize>().ok()) {
            return self.builds(None, back.saturating_add(1))?.into_iter().nth(back).ok_or_else(missing);
        }
        if !is_identifier(name) {
            return Err(missing());
        }
        let mut found: Vec<BuildRow> = self.inner.database.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, project, started, document FROM build WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2",
            )?;
            let rows = statement.query_map([name], row)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        match (found.pop(), found.is_empty()) {
            (Some(row), true) => Ok(row),
            (Some(_), false) => Err(Error::invalid(format!("several builds begin with \"{name}\""))),
            (None, _) => Err(missing()),
        }
    }

    /// Forgets builds and what they said. Answers how many were known.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn remove_builds(&self, ids: &[String]) -> Result<usize> {
        let known = self.inner.database.write(Durability::Process, |transaction| {
            let mut delete = transaction.prepare("DELETE FROM build WHERE id = ?")?;
            let mut known = 0;
            for id in ids {
                known += delete.execute([id])?;
            }
            Ok(known)
        })?;
        for id in ids.iter().filter(|id| is_identifier(id)) {
            disk::remove(&self.log_of_build(id)?)?;
        }
        Ok(known)
    }

    /// Where everything is written that a build says.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn log_of_build(&self, id: &str) -> Result<PathBuf> {
        Ok(self.build_directory("logs")?.join(format!("{id}.log")))
    }

    /// Remembers what a step was made of, longer than its result.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn put_step_inputs(&self, key: &Digest, document: &[u8]) -> Result<()> {
        let path = self.build_directory("inputs")?.join(key.hex());
        let bytes = zstd::bulk::compress(document, 1).context(|| "cannot compress a step's inputs")?;
        let fresh = path.with_extension(disk::random_name()?);
        fs::write(&fresh, bytes).at(&fresh)?;
        fs::rename(&fresh, &path).at(&path)
    }

    /// What a step was made of, if that is still known.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn step_inputs(&self, key: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.build_directory("inputs")?.join(key.hex());
        let Ok(bytes) = fs::read(&path) else { return Ok(None) };
        // Used again: younger than those that nobody asks for.
        if let Ok(file) = File::options().write(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        // A damaged file explains nothing.
        Ok(zstd::bulk::decompress(&bytes, INPUTS_LIMIT).ok())
    }

    /// Logs of builds that nobody knows any more go, then the oldest ones.
    fn bound_logs(&self, most: u64) -> Result<()> {
        let known: HashSet<String> = self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT id FROM build")?;
            let ids = statement.query_map([], |row| Ok(text(row, 0)?.to_owned()))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })?;
        // Another build may be writing its log and have no row yet.
        let is_recent = |path: &Path| {
            fs::metadata(path).and_then(|metadata| metadata.modified()).is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|age| age.as_secs() < 86_400)
            })
        };
        bound(&self.build_directory("logs")?, most, &|path| {
            let id = path.file_stem().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
            !known.contains(&id) && !is_recent(path)
        })
    }
}

/// Removes what has to go, then the oldest files until the rest is small enough.
fn bound(directory: &Path, most: u64, must_go: &dyn Fn(&Path) -> bool) -> Result<()> {
    let mut files = Vec::new();
    for entry in disk::entries(directory)? {
        // Gone since: somebody else is tidying up.
        let Ok(metadata) = entry.metadata() else { continue };
        match must_go(&entry.path()) {
            true => disk::remove(&entry.path())?,
            false => files.push((
                metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                metadata.len(),
                entry.path(),
            )),
        }
    }
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort();
    for (_, size, path) in files {
        if total <= most {
            break;
        }
        disk::remove(&path)?;
        total -= size;
    }
    Ok(())
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<BuildRow> {
    Ok(BuildRow {
        id: text(row, 0)?.to_owned(),
        project: text(row, 1)?.to_owned(),
        started: timestamp(row, 2)?,
        document: text(row, 3)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    fn build(number: i64, project: &str) -> BuildRow {
        BuildRow {
            id: format!("id{number}"),
            project: project.to_owned(),
            started: Timestamp::from_second(1_000 + number).unwrap(),
            document: "{}".to_owned(),
        }
    }

    #[test]
    fn the_last_builds_are_kept() {
        let (_directory, store) = temporary();
        let limits = HistoryLimits { builds: 3, ..HistoryLimits::default() };
        for number in 0..5 {
            store.put_build(&build(number, if number == 3 { "b" } else { "a" }), &limits).unwrap();
        }
        let ids = |project: Option<&str>| -> Vec<String> {
            store.builds(project, 10).unwrap().into_iter().map(|row| row.id).collect()
        };
        assert_eq!(ids(None), ["id4", "id3", "id2"]);
        assert_eq!(ids(Some("a")), ["id4", "id2"]);
        for (name, found) in [("id3", Some("id3")), ("^0", Some("id4")), ("^2", Some("id2"))] {
            assert_eq!(store.build(name).ok().map(|row| row.id).as_deref(), found, "{name}");
        }
        for (name, error) in
            [("id", "several"), ("id1", "no record"), ("^3", "no record"), ("../x", "no record")]
        {
            assert!(store.build(name).unwrap_err().to_string().contains(error), "{name}");
        }
        assert_eq!(store.remove_builds(&["id3".to_owned(), "id1".to_owned()]).unwrap(), 1);
        assert_eq!(ids(None), ["id4", "id2"]);
    }

    #[test]
    fn logs_and_inputs_are_bounded() {
        let (_directory, store) = temporary();
        let keys: Vec<Digest> = (0..4_u8).map(|number| Digest::of(&[number])).collect();
        for (age, key) in keys.iter().enumerate() {
            store.put_step_inputs(key, &[age as u8; 10]).unwrap();
            let path = store.build_directory("inputs").unwrap().join(key.hex());
            let time = SystemTime::now() - std::time::Duration::from_secs(100 - age as u64);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            fs::write(store.log_of_build(&format!("id{age}")).unwrap(), "said").unwrap();
        }
        // Whoever is asked for is young again.
        assert_eq!(store.step_inputs(&keys[0]).unwrap().unwrap(), [0; 10]);
        let size = fs::metadata(store.build_directory("inputs").unwrap().join(keys[0].hex())).unwrap().len();
        let limits = HistoryLimits { inputs: 2 * size, logs: 8, ..HistoryLimits::default() };
        store.bound_history(&limits).unwrap();
        let known: Vec<bool> = keys.iter().map(|key| store.step_inputs(key).unwrap().is_some()).collect();
        assert_eq!(known, [true, false, false, true]);
        assert_eq!(disk::entries(&store.build_directory("logs").unwrap()).unwrap().len(), 2);
    }
}
