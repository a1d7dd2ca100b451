//! Running a container's check, again and again.
//!
//! Not here: what its results mean (`crate::health`). Invariant: one run at a time, and none while the container
//! does not run.

use super::Monitor;
use crate::health::{Health, HealthStatus, Output, Probe};
use crate::life::HealthCheck;
use crate::state::Status;
use berth_oci::{Error, Result};
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// The runs of a check.
#[derive(Debug)]
pub(super) struct Probing {
    started: Instant,
    running: Option<Running>,
}

/// One that runs now.
#[derive(Debug)]
struct Running {
    number: u32,
    start: Timestamp,
    output: Output,
    is_late: bool,
}

impl Monitor {
    fn check(&self) -> Option<&HealthCheck> {
        self.bundle.life.health.as_ref()
    }

    /// The container has started.
    pub(super) fn begin_probing(&mut self) {
        if self.check().is_none() {
            return;
        }
        self.state.health = Some(Health::default());
        self.probing = Some(Probing { started: Instant::now(), running: None });
        self.probe_later();
    }

    /// The container has ended.
    pub(super) fn end_probing(&mut self) {
        if self.probing.take().is_some() {
            self.state.health.iter_mut().for_each(Health::end);
        }
    }

    /// The container's processes are frozen: a run that was under way will not end.
    pub(super) fn suspend_probing(&mut self) {
        (self.due.probe, self.due.probe_end) = (None, None);
        let running = self.probing.as_mut().and_then(|probing| probing.running.take());
        if let Some(process) = running.and_then(|running| self.processes.get(&running.number)) {
            drop(process.signal(libc::SIGKILL));
        }
    }

    /// They go on.
    pub(super) fn resume_probing(&mut self) {
        if self.probing.is_some() {
            self.probe_later();
        }
    }

    fn probe_later(&mut self) {
        let since_start = self.since_start();
        if let (Some(check), Some(health)) = (self.check(), &self.state.health) {
            self.due.probe = Some(Instant::now() + health.interval(check, since_start));
        }
    }

    fn since_start(&self) -> Duration {
        self.probing.as_ref().map_or(Duration::ZERO, |probing| probing.started.elapsed())
    }

    /// It is time for a run.
    pub(super) fn probe(&mut self) -> Result<()> {
        let Some(check) = self.check().cloned() else { return Ok(()) };
        if self.state.status != Status::Running {
            return Ok(());
        }
        let start = Timestamp::now();
        match self.spawn_exec(&check.exec) {
            Ok(number) => {
                self.due.probe_end = Some(Instant::now() + check.timeout);
                let running = Running { number, start, output: Output::default(), is_late: false };
                if let Some(probing) = &mut self.probing {
                    probing.running = Some(running);
                }
                Ok(())
            }
            Err(error) => self.judge(start, -1, error.to_string()),
        }
    }

    fn is_probe(&self, number: u32) -> bool {
        self.probing.as_ref().and_then(|p| p.running.as_ref()).is_some_and(|r| r.number == number)
    }

    pub(super) fn keep_probe_output(&mut self, number: u32, bytes: &[u8]) {
        if let Some(running) = self.probing.as_mut().and_then(|p| p.running.as_mut())
            && running.number == number
        {
            running.output.push(bytes);
        }
    }

    pub(super) fn probe_took_too_long(&mut self) {
        let Some(running) = self.probing.as_mut().and_then(|p| p.running.as_mut()) else { return };
        running.is_late = true;
        if let Some(process) = self.processes.get(&running.number) {
            drop(process.signal(libc::SIGKILL));
        }
    }

    /// Whether that was a run of the check, whose program cannot be started.
    pub(super) fn probe_failed_to_start(&mut self, number: u32, error: &Error) -> Result<bool> {
        if !self.is_probe(number) {
            return Ok(false);
        }
        if let Some(process) = self.processes.remove(&number) {
            process.kill_and_reap()?;
        }
        let start = self.take_running().map_or_else(Timestamp::now, |running| running.start);
        self.judge(start, -1, error.to_string())?;
        Ok(true)
    }

    /// A run has ended, if it was one.
    pub(super) fn probe_ended(&mut self, number: u32, code: i32) -> Result<()> {
        if !self.is_probe(number) {
            return Ok(());
        }
        let Some(running) = self.take_running() else { return Ok(()) };
        let written = running.output.text();
        if !running.is_late {
            return self.judge(running.start, code, written);
        }
        let timeout = self.check().map_or(Duration::ZERO, |check| check.timeout);
        let colon = if written.is_empty() { "" } else { ": " };
        self.judge(running.start, -1, format!("Health check exceeded timeout ({timeout:?}){colon}{written}"))
    }

    fn take_running(&mut self) -> Option<Running> {
        self.due.probe_end = None;
        self.probing.as_mut().and_then(|probing| probing.running.take())
    }

    fn judge(&mut self, start: Timestamp, code: i32, output: String) -> Result<()> {
        let elapsed = Duration::try_from(Timestamp::now().duration_since(start)).unwrap_or_default();
        let since_start = self.since_start().saturating_sub(elapsed);
        let probe = Probe { start, end: Timestamp::now(), code, output };
        let (Some(check), Some(health)) = (&self.bundle.life.health, &mut self.state.health) else {
            return Ok(());
        };
        let has_changed = health.judge(check, since_start, probe);
        let status = health.status;
        self.probe_later();
        self.save()?;
        if has_changed {
            self.tell(&format!("health_status: {}", status.as_str()), &[]);
            if status == HealthStatus::Unhealthy && self.bundle.life.restart.when_unhealthy {
                self.is_unhealthy = true;
                self.kill_container();
            }
        }
        Ok(())
    }
}
