//! What a monitor does when its time has come.

use super::{CONTAINER, Monitor};
use crate::state::Status;
use berth_oci::Result;
use rustix::event::Timespec;
use std::time::Instant;

/// What is due when.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// The next start of a program that has ended.
    pub(super) restart: Option<Instant>,
    /// SIGKILL for a program that does not end when asked to.
    pub(super) kill: Option<Instant>,
    /// The end of the time that the container may run.
    pub(super) overrun: Option<Instant>,
    /// The next run of the check.
    pub(super) probe: Option<Instant>,
    /// The end of what a run of the check may take.
    pub(super) probe_end: Option<Instant>,
    /// The end of what a sender of datagrams is remembered.
    pub(super) relays: Option<Instant>,
    /// The end of what an answer about a name may take.
    pub(super) names: Option<Instant>,
    /// Another try to reach somebody who takes the log.
    pub(super) log: Option<Instant>,
    /// Another look at what the kernel has killed, and how many more may follow.
    pub(super) memory: Option<(Instant, u32)>,
}

impl Due {
    /// How long the next `poll` may take; `None` for ever.
    pub(super) fn timeout(&self) -> Option<Timespec> {
        let memory = self.memory.map(|(at, _)| at);
        let all = [
            self.restart,
            self.kill,
            self.overrun,
            self.probe,
            self.probe_end,
            self.names,
            self.relays,
            self.log,
            memory,
        ];
        let left = all.into_iter().flatten().min()?.saturating_duration_since(Instant::now());
        // Years: as good as for ever.
        Timespec::try_from(left).ok()
    }
}

/// Whether it is due; then it is no more.
fn take(due: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = due.is_some_and(|due| due <= now);
    if is_due {
        *due = None;
    }
    is_due
}

impl Monitor {
    pub(super) fn keep_time(&mut self) -> Result<()> {
        let now = Instant::now();
        if take(&mut self.due.restart, now) {
            self.start_again()?;
        }
        if take(&mut self.due.kill, now) {
            self.state.circumstances.lost_patience = true;
            self.kill_container();
            self.tell("kill", &[("signal", libc::SIGKILL.to_string())]);
        }
        if let Some((at, looks)) = self.due.memory.filter(|(at, _)| *at <= now) {
            self.due.memory = self.due.memory.filter(|(other, _)| *other != at);
            self.look_for_kills(looks)?;
        }
        if take(&mut self.due.overrun, now) {
            self.overrun()?;
        }
        if take(&mut self.due.relays, now) {
            self.relays.expire(now);
        }
        if take(&mut self.due.names, now)
            && let Some(names) = &mut self.names
        {
            names.expire(now);
        }
        if take(&mut self.due.log, now) {
            self.tend_log();
        }
        if take(&mut self.due.probe, now) {
            self.probe()?;
        }
        if take(&mut self.due.probe_end, now) {
            self.probe_took_too_long();
        }
        Ok(())
    }

    pub(super) fn kill_container(&mut self) {
        if let Some(process) = self.processes.get(&CONTAINER) {
            // It may be about to end by itself.
            drop(process.signal(libc::SIGKILL));
        }
    }

    /// It has run as long as it may.
    fn overrun(&mut self) -> Result<()> {
        self.is_final = true;
        self.state.circumstances.overran = true;
        let stop = self.bundle.life.stop;
        if let Some(process) = self.processes.get(&CONTAINER) {
            drop(process.signal(stop.signal.unwrap_or(libc::SIGTERM)));
        }
        if self.state.status == Status::Paused {
            self.pause(false)?;
        }
        self.due.kill = stop.patience.map(|patience| Instant::now() + patience);
        Ok(())
    }
}
