//! What happened, in the order in which it did: one line per event in a file that all processes append to.
//!
//! Here: writing, and reading it again, past and future. Not here: what the words mean. Invariants: a line is
//! written whole, under a lock, by whoever it happened to; two files of a fixed size are all the room it takes.

use crate::log::{Lines, Woken, rotated};
use berth_oci::{AtPath, Context, Result};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When.
    pub time: Timestamp,
    /// To what kind of thing: `container`, `image`, `volume`, `network`.
    pub kind: String,
    /// What.
    pub action: String,
    /// To which.
    pub id: String,
    /// What else is to be said about it.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// The events of one root.
#[derive(Clone, Debug)]
pub struct Journal {
    directory: PathBuf,
}

/// A file that has this many bytes is followed by another; one older file is kept.
const MOST_BYTES: u64 = 2 * 1024 * 1024;

impl Journal {
    /// The journal in a directory, which need not be there yet.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("events.jsonl")
    }

    /// Writes one event. On a disk that is full or read-only it is lost: that does not undo what has happened.
    ///
    /// # Errors
    /// The directory cannot be written to for another reason.
    pub fn append(&self, happened: &Happened) -> Result<()> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match self.try_append(happened) {
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) => Ok(()),
            appended => appended.at(self.path()),
        }
    }

    fn try_append(&self, happened: &Happened) -> io::Result<()> {
        let mut line = serde_json::to_vec(happened).expect("texts and a time");
        line.push(b'\n');
        let lock = self.lock()?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let path = self.path();
        let mut file = File::options().create(true).append(true).open(&path)?;
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(&line) {
            // Half a line would swallow the next one.
            file.set_len(length)?;
            return Err(error);
        }
        if file.metadata()?.len() >= MOST_BYTES {
            fs::rename(&path, rotated(&path, 1))?;
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        let path = self.directory.join("lock");
        let open = || File::options().create(true).truncate(false).write(true).open(&path);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.directory)?;
                fs::set_permissions(&self.directory, Permissions::from_mode(0o700))?;
                open()
            }
            opened => opened,
        }
    }

    /// Reads it from its beginning, and on as it grows.
    ///
    /// # Errors
    /// The directory cannot be made or watched.
    pub fn reader(&self) -> Result<JournalReader> {
        drop(self.lock().at(&self.directory)?);
        let mut lines = Lines::open(&self.path())?;
        lines.follow().context(|| "cannot follow the events")?;
        Ok(JournalReader { lines })
    }
}

/// Reads a journal, oldest event first.
#[derive(Debug)]
pub struct JournalReader {
    lines: Lines,
}

impl JournalReader {
    /// Passes over what is there already.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn skip_to_end(&mut self) -> Result<()> {
        self.lines.skip_to_tail(0)
    }

    /// The next event that is there; `None` when there is none (yet).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Happened>> {
        while let Some(line) = self.lines.next_line()? {
            // A line that power failure tore is no event.
            if let Ok(happened) = serde_json::from_str(&line) {
                return Ok(Some(happened));
            }
        }
        Ok(None)
    }

    /// Waits until there may be more, `other` becomes readable, or it is `until`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wait(&mut self, other: Option<BorrowedFd<'_>>, until: Option<Timestamp>) -> Result<Woken> {
        self.lines.wait(other, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize, filling: usize) -> Happened {
        Happened {
            time: Timestamp::from_second(number as i64).unwrap(),
            kind: "container".into(),
            action: "start".into(),
            id: number.to_string(),
            attributes: [("x".to_owned(), "y".repeat(filling))].into(),
        }
    }

    fn ids(reader: &mut JournalReader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_event().unwrap()).map(|e| e.id).collect()
    }

    #[test]
    fn what_is_appended_is_read_and_followed() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::at(&directory.path().join("new"));
        journal.append(&event(1, 0)).unwrap();
        let mut all = journal.reader().unwrap();
        let mut later = journal.reader().unwrap();
        later.skip_to_end().unwrap();
        journal.append(&event(2, 0)).unwrap();
        assert_eq!(later.wait(None, None).unwrap(), Woken::Grown);
        assert_eq!((ids(&mut all), ids(&mut later)), (vec!["1".into(), "2".into()], vec!["2".to_owned()]));
        assert_eq!(later.wait(None, Some(Timestamp::UNIX_EPOCH)).unwrap(), Woken::Late);
    }

    #[test]
    fn it_is_bounded_and_a_reader_loses_nothing_when_it_turns_over() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::at(directory.path());
        let mut reader = journal.reader().unwrap();
        let mut seen = Vec::new();
        let piece = MOST_BYTES as usize / 10;
        for number in 0..45 {
            journal.append(&event(number, piece.min(200_000))).unwrap();
            if number % 4 == 3 {
                seen.extend(ids(&mut reader));
            }
        }
        seen.extend(ids(&mut reader));
        assert_eq!(seen, (0..45).map(|n| n.to_string()).collect::<Vec<_>>());
        let size: u64 =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2 * MOST_BYTES + 300_000, "{size}");
    }

    #[test]
    fn many_writers_do_not_mix_their_lines() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::at(directory.path());
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let journal = &journal;
                scope.spawn(move || {
                    (0..50).for_each(|n| journal.append(&event(writer * 50 + n, 300)).unwrap())
                });
            }
        });
        let mut seen = ids(&mut journal.reader().unwrap());
        seen.sort_by_key(|id| id.parse::<usize>().unwrap());
        assert_eq!(seen, (0..400).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
