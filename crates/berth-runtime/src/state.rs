//! The state of a container on disk: who wrote it last, and how it is made true again when its writer was killed.
//!
//! `state.json` in the container's directory is written by its monitor alone (by the creator before there is one),
//! as a temporary file renamed into place. Whoever writes holds a lock (`flock`) on `monitor.lock` in the run
//! directory; it is taken before the first state is written and dies with the monitor. Invariant: a state that
//! claims a live container is believed only while that lock is held; otherwise [`read`] repairs it.

use crate::circumstances::Circumstances;
use crate::health::Health;
use crate::memory;
use crate::net::Joined;
use crate::recovery::Recovery;
use berth_oci::{AtPath, Error, Result};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its surroundings are there or being made; its program does not run yet.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its program has ended and will be started again in a moment.
    Restarting,
    /// Its program has ended, or could not be started (then `error` is set).
    Exited,
}

/// What is known about a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What it is doing.
    pub status: Status,
    /// Its first process, on the host; only while it is not `Exited`.
    pub pid: Option<i32>,
    /// When its program started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its program's code, or 128 and the signal's number.
    pub exit_code: Option<i32>,
    /// The kernel killed something in it because memory ran out.
    pub oom_killed: bool,
    /// Its addresses and published ports, while it has them.
    #[serde(default)]
    pub networks: Vec<Joined>,
    /// Why it could not be started, or why its end is not known exactly.
    pub error: Option<String>,
    /// How often its monitor has started it again by itself.
    #[serde(default)]
    pub restarts: u32,
    /// Somebody has asked for its end.
    #[serde(default)]
    pub stopped: bool,
    /// What its check says, where it has one.
    #[serde(default)]
    pub health: Option<Health>,
    /// What is known about its last end.
    #[serde(default)]
    pub circumstances: Circumstances,
    /// The boot this was written in: numbers of processes mean nothing in another.
    boot_id: String,
}

impl State {
    /// A container whose program does not run yet.
    pub(crate) fn created() -> Result<Self> {
        Ok(Self {
            status: Status::Created,
            pid: None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            oom_killed: false,
            networks: Vec::new(),
            error: None,
            restarts: 0,
            stopped: false,
            health: None,
            circumstances: Circumstances::default(),
            boot_id: boot_id()?,
        })
    }

    /// Whether there are processes.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status != Status::Exited
    }
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).at(path)?.trim_end().to_owned())
}

fn state_path(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

/// The state of the container in `dir`; `None` when it was never started. True also after its monitor was killed.
pub fn read(dir: &Path, run_dir: &Path) -> Result<Option<State>> {
    let Some(state) = read_unchecked(dir, run_dir)? else { return Ok(None) };
    if !state.is_live() {
        return Ok(Some(state));
    }
    match nobody_writes(run_dir)? {
        None => Ok(Some(state)),
        Some(shared) => repair(dir, run_dir, &shared),
    }
}

/// A state in the run directory is the newer one: see [`keep`].
fn read_unchecked(dir: &Path, run_dir: &Path) -> Result<Option<State>> {
    for path in [state_path(run_dir), state_path(dir)] {
        match fs::read(&path) {
            Ok(bytes) => return Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| lost()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(&path),
        }
    }
    Ok(None)
}

/// A state that a power failure tore (it is not synced: it describes processes, which did not survive either).
fn lost() -> State {
    State {
        status: Status::Exited,
        pid: None,
        started_at: None,
        finished_at: None,
        exit_code: Some(255),
        oom_killed: false,
        networks: Vec::new(),
        error: Some("the state of this container was lost when the machine stopped".into()),
        restarts: 0,
        stopped: false,
        health: None,
        circumstances: Circumstances::default(),
        boot_id: String::new(),
    }
}

/// Says what happened to a container whose monitor is gone, after clearing away what it left.
fn repair(dir: &Path, run_dir: &Path, _shared: &File) -> Result<Option<State>> {
    let _alone = one_repairs(run_dir)?;
    // Meanwhile the monitor may have written its last word and ended in good order, or another may have repaired.
    let Some(mut state) = read_unchecked(dir, run_dir)? else {
        // Somebody has removed it, and our lock has brought its run directory back; or its start came to nothing.
        return if dir.exists() { Ok(None) } else { remove_run_dir(run_dir).map(|()| None) };
    };
    if !state.is_live() {
        return Ok(Some(state));
    }
    Recovery::settle(run_dir)?;
    let same_boot = state.boot_id == boot_id()?;
    let started = state.started_at.is_some();
    state.status = Status::Exited;
    state.pid = None;
    state.networks.clear();
    state.finished_at = Some(Timestamp::now());
    state.health.iter_mut().for_each(Health::end);
    (state.exit_code, state.error) = match (same_boot, started) {
        (true, true) => {
            (Some(137), Some("the monitor of this container was killed, and the container with it".into()))
        }
        (true, false) => (Some(128), Some("the start of this container was broken off".into())),
        (false, _) => (Some(255), Some("the machine was restarted while this container ran".into())),
    };
    keep(dir, run_dir, &state)?;
    Ok(Some(state))
}

/// Removes the run directory of a container whose own one is gone. Somebody who looks at it at this moment may put a
/// lock there again, and takes it away by himself.
pub fn remove_run_dir(run_dir: &Path) -> Result<()> {
    for _ in 0..100 {
        match fs::remove_dir_all(run_dir) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => std::thread::yield_now(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => return removed.at(run_dir),
        }
    }
    Err(Error::conflict(format!("`{}` is being used", run_dir.display())))
}

/// Puts a state in place; in the run directory where the disk of the container's own one is full or read-only: what
/// happens to a container happens on such a disk too. The run directory is another one, and small.
pub(crate) fn keep(dir: &Path, run_dir: &Path, state: &State) -> Result<()> {
    match write(dir, state) {
        Err(error) if is_refused_by_disk(&error) => {
            // Half of it may lie there, and it takes room.
            drop(fs::remove_file(temporary_path(dir)));
            write(run_dir, state).at(state_path(run_dir))
        }
        Ok(()) if run_dir != dir => match fs::remove_file(state_path(run_dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(state_path(run_dir)),
            _ => Ok(()),
        },
        written => written.at(state_path(dir)),
    }
}

fn is_refused_by_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn temporary_path(dir: &Path) -> PathBuf {
    dir.join("state.json.tmp")
}

/// Not synced: after a power failure there is no such process any more.
fn write(dir: &Path, state: &State) -> io::Result<()> {
    let bytes = serde_json::to_vec(state).expect("a state has string keys and no failing values");
    fs::write(temporary_path(dir), bytes)?;
    fs::rename(temporary_path(dir), state_path(dir))
}

/// As if the container had never been started.
pub(crate) fn forget(dir: &Path, run_dir: &Path) -> Result<()> {
    for path in [state_path(run_dir), state_path(dir)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&path),
            _ => {}
        }
    }
    Ok(())
}

/// The right to write a container's state. Passed on to the monitor as an open descriptor, so that there is no
/// moment at which nobody holds it.
///
/// Held exclusively by creator and monitor. Who only wants to know whether there is one holds it shared for a moment,
/// so that two who look at once do not take each other for a monitor; who then repairs holds a second lock.
#[derive(Debug)]
pub(crate) struct Lock(File);

fn lock_file(run_dir: &Path, name: &str) -> Result<File> {
    fs::create_dir_all(run_dir).at(run_dir)?;
    let path = run_dir.join(name);
    File::options().create(true).truncate(false).write(true).open(&path).at(&path)
}

fn monitor_lock(run_dir: &Path) -> Result<File> {
    lock_file(run_dir, "monitor.lock")
}

/// Whether the lock was to be had at once.
fn try_lock(file: &File, operation: FlockOperation) -> Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(Error::from(io::Error::from(error))),
    }
}

/// The lock, shared, when there is neither a creator nor a monitor; none can come while it is held.
fn nobody_writes(run_dir: &Path) -> Result<Option<File>> {
    let file = monitor_lock(run_dir)?;
    Ok(try_lock(&file, FlockOperation::NonBlockingLockShared)?.then_some(file))
}

/// Whether the container with this run directory has a monitor (or a creator) now. Makes nothing.
pub fn is_attended(run_dir: &Path) -> Result<bool> {
    let path = run_dir.join("monitor.lock");
    match File::options().write(true).open(&path) {
        Ok(file) => Ok(!try_lock(&file, FlockOperation::NonBlockingLockShared)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at(&path),
    }
}

/// The right to remove a container: while it is held nobody can start it.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held, not used")]
pub struct Claim(Door, Option<Lock>);

/// Claims the container with these directories, and clears away its memory and what a monitor that was killed has left
/// of it; `None` while it has a creator, or a monitor that still has something to do.
///
/// A monitor that has written down the end still holds the lock for a moment: its last act may be this removal.
pub fn claim(dir: &Path, run_dir: &Path) -> Result<Option<Claim>> {
    let door = Door::close(run_dir)?;
    let lock = Lock::try_take(run_dir)?;
    if lock.is_none() {
        if read_unchecked(dir, run_dir)?.is_none_or(|state| state.is_live()) {
            return Ok(None);
        }
        Recovery::settle(run_dir)?;
    }
    memory::remove(run_dir)?;
    Ok(Some(Claim(door, lock)))
}

/// Held while a container begins and while it is removed, never in between: whoever holds it and finds the lock of the
/// state taken knows that a monitor has it.
#[derive(Debug)]
pub(crate) struct Door(#[expect(dead_code, reason = "it is held, not used")] File);

impl Door {
    /// Waits for whoever is in it.
    pub(crate) fn close(run_dir: &Path) -> Result<Self> {
        let file = lock_file(run_dir, "door.lock")?;
        flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from).at(run_dir)?;
        Ok(Self(file))
    }
}

/// Waits for whoever repairs now.
fn one_repairs(run_dir: &Path) -> Result<File> {
    let file = lock_file(run_dir, "repair.lock")?;
    flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from).at(run_dir)?;
    Ok(file)
}

impl Lock {
    /// `None` when a creator or a monitor has it. Those who only look are waited for. What the last one to hold it
    /// has left behind is cleared away.
    pub(crate) fn try_take(run_dir: &Path) -> Result<Option<Self>> {
        let file = monitor_lock(run_dir)?;
        loop {
            if try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
                Recovery::settle(run_dir)?;
                return Ok(Some(Self(file)));
            }
            if !try_lock(&file, FlockOperation::NonBlockingLockShared)? {
                return Ok(None);
            }
            flock(&file, FlockOperation::Unlock).map_err(io::Error::from).at(run_dir)?;
            drop(one_repairs(run_dir)?);
            std::thread::yield_now();
        }
    }

    pub(crate) fn inherited(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut State), expected: (Status, Option<i32>, Option<&str>)) {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::created().unwrap();
        change(&mut state);
        write(dir.path(), &state).unwrap();
        let state = read(dir.path(), &dir.path().join("run")).unwrap().unwrap();
        let word = expected.2.unwrap_or("");
        assert_eq!((state.status, state.exit_code), (expected.0, expected.1));
        assert!(state.error.clone().unwrap_or_default().contains(word), "{state:?}");
    }

    #[test]
    fn a_state_without_its_monitor_is_repaired() {
        check(|_| (), (Status::Exited, Some(128), Some("broken off")));
        check(|s| s.started_at = Some(Timestamp::now()), (Status::Exited, Some(137), Some("was killed")));
        check(|s| s.boot_id = "another".into(), (Status::Exited, Some(255), Some("restarted")));
        check(|s| (s.status, s.exit_code) = (Status::Exited, Some(3)), (Status::Exited, Some(3), None));
    }

    #[test]
    fn a_torn_state_is_an_exit_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), dir.path()).unwrap(), None);
        fs::write(state_path(dir.path()), "").unwrap();
        assert_eq!(read(dir.path(), dir.path()).unwrap().unwrap().exit_code, Some(255));
    }

    #[test]
    fn who_looks_is_no_monitor() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::created().unwrap();
        state.started_at = Some(Timestamp::now());
        write(dir.path(), &state).unwrap();
        let looking = nobody_writes(dir.path()).unwrap().unwrap();
        assert_eq!(read(dir.path(), dir.path()).unwrap().unwrap().exit_code, Some(137));
        drop(looking);
        let lock = Lock::try_take(dir.path()).unwrap();
        assert!(lock.is_some() && Lock::try_take(dir.path()).unwrap().is_none());
    }

    #[test]
    fn a_container_that_goes_while_it_is_looked_at_leaves_no_run_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (own, run) = (dir.path().join("own"), dir.path().join("run"));
        let looking = nobody_writes(&run).unwrap().unwrap();
        assert_eq!((repair(&own, &run, &looking).unwrap(), run.exists()), (None, false));
        // A start that came to nothing leaves the container.
        fs::create_dir(&own).unwrap();
        let looking = nobody_writes(&run).unwrap().unwrap();
        assert_eq!((repair(&own, &run, &looking).unwrap(), run.exists()), (None, true));
    }

    /// Nobody has looked at the container since: what its state says is not repaired yet.
    #[test]
    fn who_removes_a_container_clears_away_what_its_dead_monitor_left() {
        let parent = format!("/berth-test-claim-{}", std::process::id());
        let layout = crate::cgroup::Layout::detect().unwrap();
        let plan = crate::cgroup::CgroupPlan::new(&layout, &parent, "c", &Default::default()).unwrap();
        let (cgroup, _) = crate::cgroup::Cgroup::create(&plan).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &State::created().unwrap()).unwrap();
        Recovery { cgroup: cgroup.clone(), networks: None }.write(dir.path()).unwrap();
        let claim = claim(dir.path(), dir.path()).unwrap();
        let left = cgroup.dirs().filter(|dir| dir.exists()).count();
        cgroup.remove().unwrap();
        crate::cgroup::remove_parent(&parent).unwrap();
        assert!(claim.is_some() && left == 0);
        assert!(!dir.path().join("recovery.json").exists());
    }

    #[test]
    fn a_container_is_removed_only_when_its_monitor_has_said_its_last_word() {
        let dir = tempfile::tempdir().unwrap();
        let _monitor = Lock::try_take(dir.path()).unwrap().unwrap();
        let mut state = State::created().unwrap();
        write(dir.path(), &state).unwrap();
        assert!(claim(dir.path(), dir.path()).unwrap().is_none());
        state.status = Status::Exited;
        write(dir.path(), &state).unwrap();
        assert!(claim(dir.path(), dir.path()).unwrap().is_some());
    }

    #[test]
    fn a_held_lock_means_believe_it() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = Lock::try_take(dir.path()).unwrap().unwrap();
        let state = State::created().unwrap();
        write(dir.path(), &state).unwrap();
        assert_eq!(read(dir.path(), dir.path()).unwrap().unwrap(), state);
    }
}
