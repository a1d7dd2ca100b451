//! Compressing what a rotation has put aside: a process of its own does it, so that nobody waits for it and the monitor
//! stays as small as it is.
//!
//! Here: that process, and who starts it and takes what it made. Invariant: at any moment, also after a crash, a line is
//! in a file that readers look at; a compressed file gets its name when it is complete and on the disk.

use super::parts::{Identity, packed, rotated, unfinished};
use berth_oci::{AtPath, Context, Error, Result};
use flate2::{Compression, GzBuilder};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The hidden first word.
pub(crate) const ROLE: &str = "__log-packer";
/// Whoever else wants the processor has it first.
const NICE: i32 = 19;

/// Compresses one log's older files, one after the other.
#[derive(Debug)]
pub(super) struct Packer {
    path: PathBuf,
    max_files: u32,
    running: Option<Running>,
    /// There may be something to compress.
    pub(super) is_wanted: bool,
}

#[derive(Debug)]
struct Running {
    child: Child,
    ended: OwnedFd,
    /// Open, so that its inode is nobody else's.
    source: File,
}

impl Packer {
    pub(super) fn new(path: &Path, max_files: u32) -> Self {
        Self { path: path.into(), max_files, running: None, is_wanted: true }
    }

    /// Takes what has been made, and goes on with the newest of the files that are not compressed: who is faster than the
    /// compression loses the oldest anyway.
    pub(super) fn tend(&mut self) -> Result<()> {
        if let Some(running) = &mut self.running {
            let Some(status) = running.child.try_wait()? else { return Ok(()) };
            let inode = running.source.metadata()?.ino();
            self.running = None;
            if !status.success() {
                // The file stays as it is; the next rotation gives it another chance.
                return remove(&unfinished(&self.path))
                    .and(Err(Error::unavailable(format!("the log is not compressed: {status}"))));
            }
            self.take(inode)?;
            self.is_wanted = true;
        }
        if std::mem::take(&mut self.is_wanted) {
            self.running = self.next()?.map(|source| self.start(source)).transpose()?;
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<File>> {
        for number in 1..self.max_files {
            let path = rotated(&self.path, number);
            match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                source => return source.map(Some).at(&path),
            }
        }
        Ok(None)
    }

    fn start(&self, source: File) -> Result<Running> {
        let path = unfinished(&self.path);
        // A new file each time: one that was given up may still have somebody who writes to it.
        remove(&path)?;
        let target = File::options().write(true).create_new(true).mode(0o640).open(&path).at(&path)?;
        let input = source.try_clone().context(|| "cannot duplicate a descriptor")?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("berth-log-packer").arg(ROLE).env_clear().stdin(input).stdout(target);
        let child = command.spawn().context(|| "cannot start the compression of the log")?;
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(io::Error::from)?;
        Ok(Running { child, ended, source })
    }

    /// Readable when [`Self::tend`] has something to do.
    pub(super) fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.ended.as_fd())
    }

    /// It may have been rotated meanwhile, or be gone.
    fn take(&self, inode: u64) -> Result<()> {
        let is_it = |number: &u32| {
            fs::metadata(rotated(&self.path, *number)).is_ok_and(|metadata| metadata.ino() == inode)
        };
        let made = unfinished(&self.path);
        let Some(number) = (1..self.max_files).find(is_it) else { return remove(&made) };
        fs::rename(&made, packed(&self.path, number)).at(&made)?;
        remove(&rotated(&self.path, number))
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            // Both fail only where it has just ended; what it made lies under a name that nobody reads.
            let _ = running.child.kill();
            let _ = running.child.wait();
            let _ = remove(&unfinished(&self.path));
        }
    }
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(path),
        _ => Ok(()),
    }
}

/// The hidden role: from standard input to standard output. Answers the exit status of the process.
pub(crate) fn role() -> i32 {
    match run() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn run() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    rustix::process::setpriority_process(None, NICE).map_err(io::Error::from)?;
    let file = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    pack(file(rustix::stdio::stdin())?, file(rustix::stdio::stdout())?)
}

/// Compresses a file onto the disk.
pub(super) fn pack(source: File, target: File) -> Result<()> {
    let identity = Identity::of(&source.metadata()?);
    let builder = GzBuilder::new().extra(identity.to_field());
    let mut encoder = builder.write(target, Compression::default());
    io::copy(&mut BufReader::with_capacity(64 * 1024, source), &mut encoder)?;
    let mut target = encoder.finish()?;
    target.flush()?;
    Ok(target.sync_data()?)
}
