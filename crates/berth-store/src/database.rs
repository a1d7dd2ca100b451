//! The one database: opened, brought to the current schema, read in one snapshot, written in one transaction.
//!
//! SQLite in WAL mode, because many processes read and write the store at once and no daemon is there to order
//! them. Invariant: every write begins `IMMEDIATE`, so nobody finds out half-way that it lost a race.

use crate::{fault, schema};
use berth_oci::{AtPath, Context, Digest, Error, Kind, Result};
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// How long a writer waits for the others before it gives up.
const BUSY_LIMIT: Duration = Duration::from_secs(60);

/// What a transaction must survive once it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of the process. For what can be found again or is not missed.
    Process,
    /// The death of the machine. For names, and for the farewell before bytes are removed.
    Machine,
}

/// What goes wrong inside a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    Sql(rusqlite::Error),
    Ours(Error),
}

/// A result inside a transaction.
pub(crate) type Answer<T> = std::result::Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// An open database; threads take turns.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    durability: Durability,
}

impl Database {
    /// Opens the database, which must exist.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| explain(e, path))?;
        let version = version(&connection).map_err(|e| explain(e, path))?;
        if (1..schema::VERSION).contains(&version) {
            bring_forward(&connection).map_err(|e| explain(e, path))?;
        } else {
            schema::check(version, path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(Open { connection, durability: Durability::Process }),
        })
    }

    /// Makes the database if it is not there. The caller keeps others from doing so at the same time.
    pub(crate) fn create(path: &Path) -> Result<()> {
        let create = || {
            let connection =
                connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
            if version(&connection)? == 0 {
                connection.pragma_update(None, "journal_mode", "wal")?;
                let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
                transaction.execute_batch(schema::FIRST)?;
                schema::STEPS.iter().try_for_each(|step| transaction.execute_batch(step))?;
                transaction.pragma_update(None, "user_version", schema::VERSION)?;
                transaction.commit()?;
            }
            Ok(())
        };
        create().map_err(|e| explain(e, path))?;
        keep_room(path)
    }

    /// Reads in one snapshot.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> Answer<T>) -> Result<T> {
        let open = self.lock();
        let run = || {
            let snapshot = Transaction::new_unchecked(&open.connection, TransactionBehavior::Deferred)?;
            read(&snapshot)
        };
        run().map_err(|failure| self.explain(failure))
    }

    /// Writes in one transaction: all of it or, where `write` answers an error, nothing.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        write: impl FnOnce(&Transaction<'_>) -> Answer<T>,
    ) -> Result<T> {
        let mut open = self.lock();
        let run = || {
            if open.durability != durability {
                let level = if durability == Durability::Machine { "FULL" } else { "NORMAL" };
                open.connection.pragma_update(None, "synchronous", level)?;
                open.durability = durability;
            }
            keep_log_short(&open.connection)?;
            let transaction = Transaction::new_unchecked(&open.connection, TransactionBehavior::Immediate)?;
            let answer = write(&transaction)?;
            fault::step("commit");
            transaction.commit()?;
            fault::step("committed");
            Ok(answer)
        };
        run().map_err(|failure| self.explain(failure))
    }

    /// Moves what was written into the database file itself and checks its structure; answers what is wrong.
    pub(crate) fn integrity(&self) -> Result<Vec<String>> {
        self.read(|connection| {
            let mut statement = connection.prepare("PRAGMA quick_check")?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            let lines: Vec<String> = lines.collect::<rusqlite::Result<_>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic inside a transaction rolled it back; the connection itself is as good as before.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn explain(&self, failure: Failure) -> Error {
        match failure {
            Failure::Ours(error) => error,
            Failure::Sql(error) => explain(error, &self.path),
        }
    }
}

/// Gives the log all the room that it ever needs, beyond its end: on a full disk, things can still be removed.
fn keep_room(path: &Path) -> Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let Ok(log) = std::fs::File::options().write(true).open(log) else { return Ok(()) };
    match rustix::fs::fallocate(&log, FallocateFlags::KEEP_SIZE, 0, LOG_BYTES) {
        // Where it cannot be had, all is as without it.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSPC) => Ok(()),
        Err(error) => Err(std::io::Error::from(error)).at(path),
    }
}

/// So many pages in the log are too many: what it holds has to be read by every command that finds no other at work.
const LOG_PAGES: i64 = 128;
/// What the log grows to, and a transaction more.
const LOG_BYTES: u64 = 160 * (4096 + 24);

/// Moves a long log over into the database, before a write: the write then begins the log anew. SQLite's own way,
/// after a write, leaves the beginning to the process's next write; where there is none, the next process knows only
/// that the log is full of things, so that among short commands it would grow for ever.
/// <https://sqlite.org/pragma.html#pragma_wal_checkpoint>
fn keep_log_short(connection: &Connection) -> rusqlite::Result<()> {
    let pages = |mode| {
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1))
    };
    if pages("NOOP")? >= LOG_PAGES {
        // Whoever reads at the moment holds on to the log, and a full disk may have no room for what is moved: then it
        // is the turn of a later write. This one says itself what is wrong, if anything is.
        drop(pages("PASSIVE"));
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The tables of an older berth get what this one adds, unless somebody else was faster.
fn bring_forward(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let from = version(&transaction)?;
    for step in schema::STEPS.iter().skip(from.saturating_sub(1) as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_LIMIT)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The last one out does not tidy up, which would cost every short command two fsyncs: `keep_log_short` does.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// What SQLite says, in our words.
fn explain(error: rusqlite::Error, path: &Path) -> Error {
    let code = error.sqlite_error_code();
    let (kind, hint) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            Kind::Unavailable,
            "another berth process has held the store for a minute; try again when it is done",
        ),
        Some(ErrorCode::DiskFull) => (
            Kind::Internal,
            "the disk is full: `berth system df` shows what berth keeps, `berth system prune` frees it",
        ),
        Some(ErrorCode::ReadOnly) => {
            (Kind::Denied, "the store lies on a read-only file system, or belongs to another user")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            (Kind::Denied, "the store's directory must be writable for this user; `--root` names another one")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (Kind::Corrupt, "`berth system check --rebuild` makes the database anew from the files beside it")
        }
        _ => (Kind::Internal, ""),
    };
    let answer: Result<()> = Err(Error::new(kind, error.to_string()));
    let error = answer
        .context(|| format!("cannot use the store's database `{}`", path.display()))
        .expect_err("it was an error before");
    if hint.is_empty() { error } else { error.hint(hint) }
}

/// A column that holds a digest.
pub(crate) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    parsed(row, column)
}

/// A column that holds text in one of our types' form.
pub(crate) fn parsed<T: std::str::FromStr<Err = Error>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = text(row, column)?;
    text.parse()
        .map_err(|e: Error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// The same where the column may be empty.
pub(crate) fn parsed_or_null<T: std::str::FromStr<Err = Error>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

/// A column's text, borrowed.
pub(crate) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    row.get_ref(column)?
        .as_str()
        .map_err(|e: FromSqlError| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// A column that counts something.
pub(crate) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0).cast_unsigned())
}

/// A count as SQLite stores it.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A moment as SQLite stores it: microseconds, which reach from before the year 1 to after 9999.
pub(crate) fn moment(at: jiff::Timestamp) -> i64 {
    at.as_microsecond()
}

/// A column that holds a moment.
pub(crate) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<jiff::Timestamp> {
    let at = row.get(column)?;
    jiff::Timestamp::from_microsecond(at)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, Box::new(e)))
}

/// The same where the column may be empty.
pub(crate) fn timestamp_or_null(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<jiff::Timestamp>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => timestamp(row, column).map(Some),
    }
}

/// Whether a query answers anything at all.
pub(crate) fn exists(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<bool> {
    connection.prepare(sql)?.exists(parameters)
}
