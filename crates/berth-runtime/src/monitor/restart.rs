//! Starting again what has ended.

use super::{CONTAINER, Monitor};
use crate::bundle::Exit;
use crate::state::Status;
use berth_oci::Result;
use jiff::Timestamp;
use std::time::{Duration, Instant};

impl Monitor {
    /// Whether this end is not the last one.
    pub(super) fn is_to_run_again(&self, code: i32) -> bool {
        !self.is_final && self.bundle.life.restart.follows(code, self.state.restarts, self.is_unhealthy)
    }

    /// Between two runs.
    pub(super) fn rest_until_next_start(&mut self, code: i32, at: Timestamp) -> Result<()> {
        let ran = self
            .state
            .started_at
            .map_or(Duration::ZERO, |started| at.duration_since(started).try_into().unwrap_or_default());
        self.due.restart = Some(Instant::now() + self.back_off.after(ran));
        self.is_unhealthy = false;
        self.state.status = Status::Restarting;
        self.state.pid = None;
        self.state.exit_code = Some(code);
        self.state.finished_at = Some(at);
        self.state.restarts += 1;
        self.save()
    }

    pub(super) fn start_again(&mut self) -> Result<()> {
        if let Err(error) = self.launch() {
            return self.failed_to_start(error);
        }
        if let Some(process) = self.processes.get_mut(&CONTAINER) {
            process.is_wanted = true;
        }
        Ok(())
    }

    /// Somebody wants it to end while it does not run.
    pub(super) fn give_up_restarting(&mut self) -> Result<()> {
        self.due.restart = None;
        let code = self.state.exit_code.unwrap_or_default();
        let at = self.state.finished_at.unwrap_or_else(Timestamp::now);
        self.write_end(code, at, Vec::new())?;
        self.close_down();
        let exit =
            Exit { code, oom_killed: self.state.oom_killed, finished_at: at, restarts: false, cpu_ns: 0 };
        self.tell_exit(CONTAINER, &exit, None)?;
        self.is_over = true;
        Ok(())
    }
}
