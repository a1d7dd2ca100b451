//! The process that keeps a user's namespaces while nothing else is in them.
//!
//! It does nothing: it is there. Making it takes two: a copy of the command, which is in the new namespaces and waits until
//! it has been given its users, and the holder, which that starts from this program's file and then ends. Invariant: a
//! holder that has written itself down has everything that [`super`] promises; before that its maker hears why not.

use super::join::{self, Record};
use super::mapping::Mapping;
use super::{Caller, alive, lacks, remove};
use crate::init::{Channel, Message};
use crate::protocol::Fault;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::process::{Cloned, clone3, exit_now};
use berth_sys::spawn::{Handed, detached};
use berth_sys::{inherited, loopback, netns};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The hidden first word.
pub(crate) const ROLE: &str = "__rootless";
const CHANNEL_FD: i32 = 3;
const RECORD_FD: i32 = 4;

/// Makes namespaces and their holder; answers what a person should know of them. The caller is not in them yet.
pub(super) fn anew(caller: &Caller, directory: &Path) -> Result<Vec<String>> {
    let mapping = Mapping::of(caller)?;
    // What an earlier one left: helpers that still look at it end.
    remove(&directory.join("network"))?;
    let record = join::lock(directory)?;
    let (ours, theirs) = Channel::pair()?;
    let flags = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
    match clone3(flags, None).map_err(|error| lacks::namespaces(&error))? {
        Cloned::Child => {
            drop(ours);
            let Err(error) = begin(&theirs, &record, directory);
            let told = theirs.send(&Message::Failed(Fault::from(&error)), None);
            exit_now(if told.is_ok() { 1 } else { 2 })
        }
        Cloned::Parent { pid, pidfd } => {
            drop((theirs, record));
            let given = mapping.write(pid, &caller.programs).and_then(|()| ours.go());
            let answer = given.and_then(|()| hear(&ours));
            // It ends without us too: its channel closes.
            drop(ours);
            crate::birth::reap(&pidfd)?;
            answer?;
        }
    }
    let name = caller.names.last().map_or("this user", String::as_str);
    Ok(mapping.warning(name).into_iter().collect())
}

/// Makes another holder for the namespaces that we are in.
pub(super) fn again(directory: &Path) -> Result<()> {
    let record = join::lock(directory)?;
    let (ours, theirs) = Channel::pair()?;
    start(&theirs, &record, directory, false)?;
    drop((theirs, record));
    hear(&ours)
}

fn hear(channel: &Channel) -> Result<()> {
    match channel.receive()? {
        Some((Message::Ready { .. }, _)) => Ok(()),
        Some((Message::Failed(fault), _)) => Err(fault.into()),
        _ => Err(Error::unavailable("the holder of this user's namespaces has ended before it was ready")),
    }
}

/// In the namespaces; ends with the process, as soon as the holder runs.
fn begin(channel: &Channel, record: &File, directory: &Path) -> Result<Infallible> {
    channel.wait_for_go()?;
    crate::init::become_root()?;
    start(channel, record, directory, true)?;
    exit_now(0)
}

fn start(channel: &Channel, record: &File, directory: &Path, is_new: bool) -> Result<()> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::invalid("a path contains a zero byte"));
    let what = if is_new { "new" } else { "again" };
    let words = [&b"berth-rootless"[..], ROLE.as_bytes(), what.as_bytes(), directory.as_os_str().as_bytes()];
    let words = words.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let null = File::options().read(true).write(true).open("/dev/null").at("/dev/null")?;
    let handed = [
        Handed { fd: null.as_fd(), number: 0 },
        Handed { fd: null.as_fd(), number: 1 },
        Handed { fd: null.as_fd(), number: 2 },
        Handed { fd: channel.as_fd(), number: CHANNEL_FD },
        Handed { fd: record.as_fd(), number: RECORD_FD },
    ];
    // A program's own file by a path that means the same everywhere.
    detached(c"/proc/self/exe", &words, &[], &handed)
        .context(|| "cannot start the holder of this user's namespaces")
}

/// The hidden role. Answers the exit status of the process, if it ends.
pub(crate) fn role(words: &[OsString]) -> i32 {
    let (Some(what), Some(directory)) = (words.get(2), words.get(3)) else { return 2 };
    match run(what == "new", &PathBuf::from(directory)) {
        Ok(never) => match never {},
        // Whoever made us has been told, or has gone.
        Err(_) => 1,
    }
}

fn run(is_new: bool, directory: &Path) -> Result<Infallible> {
    let taken = |number| inherited::take(number).context(|| "nobody has made us");
    let (channel, record) = (Channel::of(taken(CHANNEL_FD)?), File::from(taken(RECORD_FD)?));
    rustix::thread::set_name(c"berth-rootless").map_err(io::Error::from)?;
    let held = prepare(is_new, directory).and_then(|pipe| write(&record).map(|()| pipe));
    let pipe = match held {
        Ok(pipe) => pipe,
        Err(error) => {
            channel.send(&Message::Failed(Fault::from(&error)), None)?;
            return Err(error);
        }
    };
    channel.send(&Message::Ready { warnings: Vec::new() }, None)?;
    drop(channel);
    let _held = (record, pipe);
    loop {
        rustix::event::pause();
    }
}

/// The pipe to hold.
fn prepare(is_new: bool, directory: &Path) -> Result<OwnedFd> {
    // Whoever made us may have stood somewhere that is to be unmounted one day.
    rustix::process::chdir("/").map_err(io::Error::from).at("/")?;
    let network = directory.join("network");
    if is_new {
        // What the host mounts and unmounts is seen; nothing of ours is seen by the host.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(|error| lacks::namespaces(&error.into()))?;
        make_network(&network)?;
    }
    let path = alive(&network);
    match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(io::Error::from(error)).at(&path),
    }
    rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from).at(&path)
}

/// A network with nothing on it but its loopback, kept by a mount: it goes with the mount namespace.
fn make_network(path: &Path) -> Result<()> {
    let namespace = netns::create().map_err(|error| lacks::namespaces(&error))?;
    netns::within(namespace.as_fd(), loopback::up).context(|| "cannot bring up the loopback device")?;
    fs::write(path, "").at(path)?;
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), path).map_err(io::Error::from).at(path)
}

fn write(mut record: &File) -> Result<()> {
    let text = serde_json::to_vec(&Record::of_process()?).expect("plain data has a JSON form");
    record.set_len(0).and_then(|()| record.write_all(&text)).context(|| "cannot write down who the holder is")
}
