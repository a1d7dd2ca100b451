//! Signals, and pausing.

use super::Runtime;
use super::create::has_own_processes;
use super::record::{Condition, Record, read_spec};
use berth_oci::{Context, Error, Result};
use rustix::process::{Signal, pidfd_send_signal};
use std::io;

impl Runtime {
    /// Sends a signal to the container's first process, or to all of them.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let (place, record) = self.load(id)?;
        let number = berth_sys::signal::numbered(signal)
            .ok_or_else(|| Error::invalid(format!("there is no signal {signal}")))?;
        let condition = record.condition(&place)?;
        let ends = signal == libc::SIGKILL;
        if all || (ends && !has_own_processes(read_spec(&place.config())?.linux().as_ref())) {
            return match record.cgroup.signal(number)? {
                0 if condition == Condition::Stopped && !all => Err(not_running()),
                _ => Ok(()),
            };
        }
        match record.process()? {
            Some(process) if condition != Condition::Creating => send(&process, number)?,
            _ => return Err(not_running()),
        }
        // What is paused would hear of its end only when it goes on.
        if ends && condition == Condition::Paused { record.cgroup.freeze(false) } else { Ok(()) }
    }

    /// Stops all processes where they are.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.in_condition(id, &[Condition::Running, Condition::Created], "not running")?.cgroup.freeze(true)
    }

    /// Lets them go on.
    pub fn resume(&self, id: &str) -> Result<()> {
        self.in_condition(id, &[Condition::Paused], "not paused")?.cgroup.freeze(false)
    }

    pub(super) fn in_condition(&self, id: &str, wanted: &[Condition], otherwise: &str) -> Result<Record> {
        let (place, record) = self.load(id)?;
        if wanted.contains(&record.condition(&place)?) {
            Ok(record)
        } else {
            Err(Error::conflict(format!("container {otherwise}")))
        }
    }
}

fn not_running() -> Error {
    Error::conflict("container not running")
}

pub(super) fn send(process: impl std::os::fd::AsFd, signal: Signal) -> Result<()> {
    match pidfd_send_signal(process, signal) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::SRCH) => Err(not_running()),
        Err(error) => Err(io::Error::from(error)).context(|| "cannot send the signal"),
    }
}
