//! `stop`, `kill`, `restart`, `pause`, `unpause`, `wait`, `rename`: what is done to a container that is there.
//!
//! Invariant: when `stop` and `wait` return, everything the container's monitor had to do is done.

use super::Container;
use crate::engine::Engine;
use crate::spec::{ContainerName, Signal};
use berth_oci::{Context, Error, Kind, Result};
use berth_runtime::net;
use berth_runtime::{Connection, Event, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// Seconds between the polite signal and SIGKILL when nobody says.
const STOP_TIMEOUT: i64 = 10;

/// How a container is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopOptions {
    /// Instead of the container's own.
    pub signal: Option<Signal>,
    /// Seconds before SIGKILL, instead of the container's own; negative waits forever.
    pub timeout: Option<i64>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run, now or later.
    #[default]
    NotRunning,
    /// The end of its present or next run.
    NextExit,
    /// That nothing is left of it.
    Removed,
}

impl Engine {
    /// Asks the container's process to end and makes it, if it does not. One that is not running is left alone.
    ///
    /// # Errors
    /// No such container; its monitor does not answer.
    pub fn stop(&self, text: &str, options: StopOptions) -> Result<()> {
        let container = self.container(text)?;
        if self.end_politely(&container, options, true)? {
            self.tell_container(&self.container(&container.id).unwrap_or(container), "stop", &[])?;
        }
        Ok(())
    }

    /// Whether there was something to end. The container's monitor has the patience: it also ends the container
    /// when we are killed meanwhile. `lasting` where a person wants it not to run.
    pub(super) fn end_politely(
        &self,
        container: &Container,
        options: StopOptions,
        lasting: bool,
    ) -> Result<bool> {
        let Some(mut connection) = self.follow(container)? else { return Ok(false) };
        let process = &container.document.process;
        let signal = options.signal.or(process.stop_signal).unwrap_or(Signal::TERM);
        let patience = patience(options.timeout.or(process.stop_timeout));
        match connection.stop(signal.number(), patience, lasting) {
            // It has just ended.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound | Kind::Unavailable) => {}
            stopped => stopped?,
        }
        finish(&mut connection)?;
        Ok(true)
    }

    /// Stops the container and starts it again.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub fn restart(&self, text: &str, options: StopOptions) -> Result<(Container, Vec<String>)> {
        let container = self.container(text)?;
        self.stop(&container.id, options)?;
        let started = self.start(&container.id)?;
        self.tell_container(&started.0, "restart", &[])?;
        Ok(started)
    }

    /// Sends a signal to the container's process.
    ///
    /// # Errors
    /// `Conflict`: it is not running.
    pub fn kill(&self, text: &str, signal: Signal) -> Result<()> {
        let container = self.container(text)?;
        let mut connection = self.talk(&container)?;
        connection.subscribe()?;
        if !send(&mut connection, signal)? {
            return Err(not_running(&container));
        }
        if signal == Signal::KILL {
            ends_within(&mut connection, None)?;
            finish(&mut connection)?;
        }
        Ok(())
    }

    /// Freezes every process of the container.
    ///
    /// # Errors
    /// `Conflict`: it is not running, or frozen already.
    pub fn pause(&self, text: &str) -> Result<()> {
        let container = self.container(text)?;
        match container.status() {
            Status::Paused => Err(Error::conflict(format!("Container {} is already paused", container.id))),
            Status::Restarting => Err(restarting(&container)),
            _ => self.talk(&container)?.pause(),
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// `Conflict`: they are not frozen.
    pub fn unpause(&self, text: &str) -> Result<()> {
        let container = self.container(text)?;
        match container.status() {
            Status::Paused => self.talk(&container)?.resume(),
            _ => Err(Error::conflict(format!("Container {} is not paused", container.id))),
        }
    }

    /// Waits until the container is not running, or what else is asked for; answers its exit code.
    ///
    /// # Errors
    /// No such container.
    pub fn wait(&self, text: &str, condition: WaitCondition) -> Result<i32> {
        let container = self.container(text)?;
        let code = |container: &Container| container.state.as_ref().and_then(|s| s.exit_code).unwrap_or(0);
        match condition {
            WaitCondition::NotRunning => {}
            WaitCondition::NextExit => self.await_start(&container)?,
            WaitCondition::Removed => return self.await_removal(container),
        }
        let Some(mut connection) = self.follow(&container)? else {
            return Ok(self.container(&container.id).map_or(code(&container), |now| code(&now)));
        };
        match connection.wait() {
            Ok(exit) => Ok(exit.code),
            // The monitor was killed: what is left is on disk, repaired.
            Err(_) => Ok(code(&self.container(&container.id)?)),
        }
    }

    /// Until its program runs.
    fn await_start(&self, container: &Container) -> Result<()> {
        let mut journal = self.events()?;
        while !self.container(&container.id)?.is_running() {
            while journal.next_event()?.is_some() {}
            if self.container(&container.id)?.is_running() {
                break;
            }
            journal.wait(None, None)?;
        }
        Ok(())
    }

    /// Until nothing is left of it; answers the last code that was known.
    fn await_removal(&self, container: Container) -> Result<i32> {
        let mut journal = self.events()?;
        let mut code = 0;
        loop {
            while journal.next_event()?.is_some() {}
            match self.container(&container.id) {
                Ok(now) => code = now.state.and_then(|state| state.exit_code).unwrap_or(code),
                Err(error) if error.kind() == Kind::NotFound => return Ok(code),
                Err(error) => return Err(error),
            }
            journal.wait(None, None)?;
        }
    }

    /// Gives the container another name.
    ///
    /// # Errors
    /// `Conflict`: somebody has it.
    pub fn rename(&self, text: &str, name: &ContainerName) -> Result<()> {
        let before = self.container(text)?;
        let renamed = self.store()?.rename_container(&before.id, name.as_str());
        renamed.map_err(|error| match error.kind() {
            Kind::Conflict => Error::conflict(format!("Error when allocating new name: {error}")),
            _ => error,
        })?;
        if !before.joined().is_empty() {
            net::rename(&self.site().home(), &before.id, &before.name, name.as_str())?;
        }
        let old = ("oldName", format!("/{}", before.name));
        self.tell_container(&self.container(&before.id)?, "rename", &[old])
    }

    /// A conversation with the container's monitor.
    ///
    /// # Errors
    /// `Conflict`: it is not running.
    pub fn talk(&self, container: &Container) -> Result<Connection> {
        if !container.is_running() {
            return Err(not_running(container));
        }
        Connection::open(&self.run_dir(&container.id)).map_err(|error| match error.kind() {
            Kind::Conflict => not_running(container),
            _ => error,
        })
    }

    /// A conversation that gets the exit; none where the container has ended.
    fn follow(&self, container: &Container) -> Result<Option<Connection>> {
        match self.talk(container) {
            Ok(mut connection) => match connection.subscribe() {
                Ok(()) => Ok(Some(connection)),
                Err(_) if !self.container(&container.id)?.is_running() => Ok(None),
                Err(error) => Err(error).context(|| format!("cannot follow container {}", container.name)),
            },
            Err(error) if error.kind() == Kind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What happens between the end of a container and its next start by its monitor.
pub(super) fn restarting(container: &Container) -> Error {
    Error::conflict(format!("Container {} is restarting, wait until the container is running", container.id))
}

/// Seconds between the polite signal and SIGKILL; negative ones wait for ever.
pub(super) fn patience(seconds: Option<i64>) -> Option<Duration> {
    u64::try_from(seconds.unwrap_or(STOP_TIMEOUT)).ok().map(Duration::from_secs)
}

fn not_running(container: &Container) -> Error {
    Error::conflict(format!("container {} is not running", container.id))
}

/// Whether there was still somebody to get the signal.
fn send(connection: &mut Connection, signal: Signal) -> Result<bool> {
    match connection.signal(signal.number()) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound | Kind::Unavailable) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether the exit came in time.
fn ends_within(connection: &mut Connection, patience: Option<Duration>) -> Result<bool> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        if !connection.has_early_events() && !readable_before(connection, deadline)? {
            return Ok(false);
        }
        match connection.next_event()? {
            Event::Exited(_) | Event::Closed => return Ok(true),
            Event::Stdout(_) | Event::Stderr(_) => {}
        }
    }
}

fn readable_before(connection: &Connection, deadline: Option<Instant>) -> Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(connection, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(std::io::Error::from(error)).context(|| "cannot wait for the container");
            }
        }
    }
}

/// Hears the monitor out: when it has closed the connection, address, ports and cgroup are free again.
fn finish(connection: &mut Connection) -> Result<()> {
    while connection.next_event()? != Event::Closed {}
    Ok(())
}
