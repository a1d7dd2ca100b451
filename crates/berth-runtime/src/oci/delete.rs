//! The end: what a container held is given back, and its record goes.

use super::Runtime;
use super::place::Place;
use super::record::{Condition, Record, read_spec};
use super::signal::send;
use crate::cgroup::thaw;
use crate::hook;
use berth_oci::{Context, Error, Kind, Result};
use oci_spec::runtime::ContainerState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::io;
use std::os::fd::OwnedFd;

impl Runtime {
    /// Removes a container that has stopped; with `force` it is stopped before, and one that is not there is no error.
    /// Answers what poststop hooks complained about: by then there is nothing left to stop for.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<String>> {
        let place = Place::of(&self.root, id)?;
        let record = match Record::read(&place) {
            // No record, but perhaps the directory of somebody who died before writing one.
            Err(error) if error.kind() == Kind::NotFound && force => {
                return place.remove().map(|()| Vec::new());
            }
            result => result?,
        };
        match (record.condition(&place)?, force) {
            (Condition::Stopped, _) => {}
            (_, true) => end(&record)?,
            (condition, false) => {
                return Err(Error::conflict(format!(
                    "cannot delete container {id} that is not stopped: {}",
                    condition.word()
                )));
            }
        }
        record.cgroup.kill()?;
        record.cgroup.remove()?;
        let spec = read_spec(&place.config());
        place.remove()?;
        let hooks = spec.ok().and_then(|spec| spec.hooks().as_ref().and_then(|h| h.poststop().clone()));
        let state = record.subject.state(ContainerState::Stopped, None);
        Ok(hook::run_all("poststop", hooks.as_deref().unwrap_or_default(), &state))
    }
}

/// Kills it and waits until it is gone.
fn end(record: &Record) -> Result<()> {
    let Some(process) = record.process()? else { return Ok(()) };
    match send(&process, Signal::KILL) {
        Err(error) if error.kind() != Kind::Conflict => return Err(error),
        _ => {}
    }
    if record.cgroup.is_frozen() {
        record.cgroup.freeze(false)?;
    }
    if let Some(first) = record.first {
        thaw(first.pid)?;
    }
    wait(&process)
}

/// A pidfd is readable when its process has ended, whoever its parent is.
fn wait(process: &OwnedFd) -> Result<()> {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) {
        Ok(0) => Err(Error::unavailable("the container's process does not end, although it was killed")),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(io::Error::from(error)).context(|| "cannot wait for the container's process"),
    }
}
