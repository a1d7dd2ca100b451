//! An ordinary user's containers: a user namespace in which he is root, with a mount namespace and a network that are its
//! own. Whatever needs root is done in there by the code that root runs; what differs asks `berth_sys::users`.
//!
//! Here: [`enter`], which a command of such a user calls before it does anything else, and [`end`]. `holder` is the process
//! that keeps the namespaces while nothing else does, `join` finds the way to them, `mapping` says which users they have,
//! `lacks` why a machine does not let us. Not here: what happens inside. Invariant: all commands and monitors of one run
//! root are in the same user and mount namespace; monitors keep them when the holder is killed, and the next command puts
//! another in its place.
//!
//! ```text
//! <runroot>/rootless/lock      held while a holder is made
//! <runroot>/rootless/holder    who it is and what it holds; locked as long as it lives
//! <runroot>/rootless/network   the network that bridges are on: its namespace, mounted
//! <runroot>/rootless/alive     a pipe that the holder keeps open: helpers end with it
//! ```

mod holder;
mod join;
mod lacks;
mod mapping;

pub(crate) use holder::{ROLE, role};

use berth_oci::{AtPath, Context, Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Who asks, and for which run root.
#[derive(Clone, Debug)]
pub struct Caller {
    /// His number.
    pub uid: u32,
    /// His group's.
    pub gid: u32,
    /// By which `/etc/subuid` may know him: name and number.
    pub names: Vec<String>,
    /// Where mounts and sockets live.
    pub runroot: PathBuf,
    /// The directories that `newuidmap` is looked for in.
    pub programs: Vec<PathBuf>,
}

/// Takes this process, which has one thread, into the caller's namespaces, and makes them where there are none. It stays
/// in the same directory. Answers what a person should know of them.
///
/// # Errors
/// `Unsupported`: the machine does not let its users have namespaces, or lacks a program; `Denied`: the run root is
/// somebody else's.
pub fn enter(caller: &Caller) -> Result<Vec<String>> {
    let here = rustix::process::getcwd(Vec::new()).map_err(io::Error::from);
    let here = here.context(|| "cannot tell the working directory")?;
    let directory = directory(&caller.runroot);
    make_private(caller, &directory)?;
    let mut warnings = Vec::new();
    if !join::holder(&directory)? {
        warnings = make(caller, &directory)?;
    }
    let here = Path::new(OsStr::from_bytes(here.as_bytes()));
    rustix::process::chdir(here).map_err(io::Error::from).at(here)?;
    Ok(warnings)
}

/// The file of the network that bridges are on.
#[must_use]
pub fn network(runroot: &Path) -> PathBuf {
    directory(runroot).join("network")
}

/// Ends what keeps the namespaces: they go with whoever is still in them, this process included. To be called in there.
///
/// # Errors
/// Something of it cannot be removed.
pub fn end(runroot: &Path) -> Result<()> {
    let directory = directory(runroot);
    let network = network(runroot);
    match unmount(&network, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(io::Error::from(error)).at(&network),
    }
    // Helpers see that the file has gone.
    remove(&network)?;
    join::end_holder(&directory)?;
    ["alive", "holder", "lock"].iter().try_for_each(|name| remove(&directory.join(name)))
}

/// The pipe beside a network's file.
pub(crate) fn alive(network: &Path) -> PathBuf {
    network.with_file_name("alive")
}

fn directory(runroot: &Path) -> PathBuf {
    runroot.join("rootless")
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(path),
        _ => Ok(()),
    }
}

/// Who could write there could lead us into namespaces of his own.
fn make_private(caller: &Caller, directory: &Path) -> Result<()> {
    const ELSEWHERE: &str = "name a directory of your own with `--runroot`, or set XDG_RUNTIME_DIR";
    for path in [caller.runroot.as_path(), directory] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path).at(path);
        made.map_err(|error| error.hint(ELSEWHERE))?;
        let found = fs::symlink_metadata(path).at(path)?;
        if !found.is_dir() || found.uid() != caller.uid || found.mode() & 0o022 != 0 {
            return Err(
                Error::denied(format!("`{}` is not this user's alone", path.display())).hint(ELSEWHERE)
            );
        }
    }
    Ok(())
}

/// One at a time. A holder that was killed may have left its namespaces to monitors.
fn make(caller: &Caller, directory: &Path) -> Result<Vec<String>> {
    let path = directory.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from).at(&path)?;
    if join::holder(directory)? {
        return Ok(Vec::new());
    }
    if join::survivor(caller.uid, directory)? {
        holder::again(directory)?;
        return Ok(Vec::new());
    }
    let warnings = holder::anew(caller, directory)?;
    match join::holder(directory)? {
        true => Ok(warnings),
        false => Err(Error::unavailable("the holder of this user's namespaces has ended at once")),
    }
}
