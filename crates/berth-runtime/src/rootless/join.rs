//! The way into namespaces that are there: those of the holder, or of a monitor that has outlived it.
//!
//! Invariant: a number is trusted only as long as something shows that it still means the process which wrote it: the
//! holder's lock, or the namespaces of a monitor.

use berth_oci::{AtPath, Context, Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a holder writes down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) pid: i32,
    user: PathBuf,
    mounts: PathBuf,
    boot: String,
}

impl Record {
    /// Of this process.
    pub(super) fn of_process() -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(Self { pid, user: namespace("self", "user")?, mounts: namespace("self", "mnt")?, boot: boot()? })
    }

    fn read(path: &Path) -> Result<Option<(Self, File)>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.at(path)?,
        };
        let mut text = String::new();
        file.read_to_string(&mut text).at(path)?;
        // One that is not finished is none.
        Ok(serde_json::from_str(&text).ok().map(|record| (record, file)))
    }
}

/// `user:[4026531837]`
fn namespace(process: &str, kind: &str) -> Result<PathBuf> {
    let path = format!("/proc/{process}/ns/{kind}");
    fs::read_link(&path).at(&path)
}

fn boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).at(path)?.trim().to_owned())
}

/// Where a holder writes down what it is.
pub(super) fn record_path(directory: &Path) -> PathBuf {
    directory.join("holder")
}

/// Joins the holder, if one lives.
pub(super) fn holder(directory: &Path) -> Result<bool> {
    match living(directory)? {
        Some((pid, process)) => move_into(&process).context(|| {
            format!(
                "cannot enter the namespaces of process {pid}, which holds those of this user's containers"
            )
        }),
        None => Ok(false),
    }
}

/// Kills the holder, if one lives.
pub(super) fn end_holder(directory: &Path) -> Result<()> {
    let Some((pid, process)) = living(directory)? else { return Ok(()) };
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(io::Error::from(error)).context(|| format!("cannot end process {pid}")),
    }
}

fn living(directory: &Path) -> Result<Option<(i32, OwnedFd)>> {
    let path = record_path(directory);
    let Some((record, file)) = Record::read(&path)? else { return Ok(None) };
    let Some(pid) = Pid::from_raw(record.pid).filter(|_| is_held(&file)) else { return Ok(None) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        process => process.map_err(io::Error::from).at(&path)?,
    };
    // It lives still: so it lived when we asked for its number.
    Ok(is_held(&file).then_some((record.pid, process)))
}

/// Whether somebody has the lock.
fn is_held(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Ours goes at once: another who looks must not take us for the holder.
            let _ = flock(file, FlockOperation::Unlock);
            false
        }
        Err(_) => true,
    }
}

/// Joins a monitor of the namespaces that a holder had, who is no more.
pub(super) fn survivor(uid: u32, directory: &Path) -> Result<bool> {
    let Some((record, _)) = Record::read(&record_path(directory))? else { return Ok(false) };
    if record.boot != boot()? {
        return Ok(false);
    }
    for entry in fs::read_dir("/proc").at("/proc")? {
        let Some(pid) = entry.at("/proc")?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(process) = monitor(pid, uid, &record)
            && move_into(&process).context(|| format!("cannot enter the namespaces of process {pid}"))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A process of this user's that is a monitor in just these namespaces. Whatever cannot be read is somebody else's.
fn monitor(pid: i32, uid: u32, record: &Record) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let place = format!("/proc/{pid}");
    let is_ours = fs::metadata(&place).ok()?.uid() == uid;
    let is_monitor =
        || fs::read(format!("{place}/cmdline")).is_ok_and(|words| words.starts_with(b"berth-monitor\0"));
    let is_in =
        |kind: &str, expected: &Path| namespace(&pid.to_string(), kind).is_ok_and(|found| found == expected);
    let found = is_ours && is_monitor() && is_in("user", &record.user) && is_in("mnt", &record.mounts);
    found.then_some(process)
}

/// False where it has just ended.
fn move_into(process: &OwnedFd) -> io::Result<bool> {
    match move_into_thread_name_spaces(
        process.as_fd(),
        ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT,
    ) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes the lock that says that a holder lives, for one to be.
pub(super) fn lock(directory: &Path) -> Result<File> {
    let path = record_path(directory);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).at(&path)?;
    match flock(&file, FlockOperation::LockExclusive) {
        Ok(()) => Ok(file),
        Err(error) => {
            Err(Error::from(io::Error::from(error))).context(|| format!("cannot lock `{}`", path.display()))
        }
    }
}
