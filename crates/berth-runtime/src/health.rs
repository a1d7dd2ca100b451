//! What a container's check has said so far, and what that makes of its health: the rules, without a clock.
//!
//! Not here: running the check (`monitor/health.rs`). Invariant: the log is short, whatever the check prints.

use crate::life::HealthCheck;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is known about a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What its check says.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last runs of the check, oldest first.
    pub log: Vec<Probe>,
}

/// What the check says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing yet.
    #[default]
    Starting,
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl HealthStatus {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of the check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its code; -1 where it was not run, or killed because it took too long.
    pub code: i32,
    /// What it wrote, or why it was not run.
    pub output: String,
}

/// So many runs are remembered.
const LOG_LENGTH: usize = 5;
/// So many bytes of what one of them writes.
const OUTPUT_LENGTH: usize = 4096;

impl Health {
    /// Takes in a run that began this long after the container; whether the status is another one now.
    pub(crate) fn judge(&mut self, check: &HealthCheck, since_start: Duration, probe: Probe) -> bool {
        let before = self.status;
        if probe.code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || since_start >= check.start_period {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(probe);
        let surplus = self.log.len().saturating_sub(LOG_LENGTH);
        self.log.drain(..surplus);
        self.status != before
    }

    /// How long to wait before the next run, this long after the container's start.
    pub(crate) fn interval(&self, check: &HealthCheck, since_start: Duration) -> Duration {
        match self.status == HealthStatus::Starting && since_start < check.start_period {
            true => check.start_interval,
            false => check.interval,
        }
    }

    /// Who has ended is not well.
    pub(crate) fn end(&mut self) {
        self.status = HealthStatus::Unhealthy;
    }
}

/// What one run writes, as far as it is kept.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Output {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = OUTPUT_LENGTH - self.bytes.len();
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.is_cut { format!("{text}...") } else { text.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Exec;

    fn check(start_period: u64, retries: u32) -> HealthCheck {
        let seconds = Duration::from_secs;
        HealthCheck {
            exec: Exec {
                process: oci_spec::runtime::Process::default(),
                user: None,
                stdin: false,
                unconfined: false,
                id: None,
            },
            interval: seconds(30),
            timeout: seconds(30),
            start_period: seconds(start_period),
            start_interval: seconds(5),
            retries,
        }
    }

    /// The statuses after each run: `0` is a good one; each a second after the one before.
    fn statuses(check: &HealthCheck, codes: &[i32]) -> String {
        let mut health = Health::default();
        let mut seen = String::new();
        for (second, code) in codes.iter().enumerate() {
            let now = Timestamp::from_second(second as i64).unwrap();
            let probe = Probe { start: now, end: now, code: *code, output: String::new() };
            health.judge(check, Duration::from_secs(second as u64), probe);
            seen.push_str(&health.status.as_str()[..1]);
        }
        assert!(health.log.len() <= LOG_LENGTH);
        seen
    }

    #[test]
    fn runs_make_a_status() {
        for (start_period, retries, codes, expected) in [
            (0, 3, &[1, 1, 1, 0, 1][..], "ssuhh"),
            (0, 1, &[1, 0, 1], "uhu"),
            (2, 1, &[1, 1, 1], "ssu"),
            // A success ends the start period early.
            (5, 1, &[0, 1], "hu"),
            (0, 2, &[1, 0, 1, 1, 1, 1, 1], "shhuuuu"),
            (0, 2, &[-1, -1], "su"),
        ] {
            assert_eq!(statuses(&check(start_period, retries), codes), expected, "{codes:?}");
        }
    }

    #[test]
    fn the_interval_is_short_until_it_has_started() {
        let check = check(10, 3);
        let seconds = Duration::from_secs;
        let mut health = Health::default();
        assert_eq!(health.interval(&check, seconds(9)), seconds(5));
        assert_eq!(health.interval(&check, seconds(10)), seconds(30));
        health.status = HealthStatus::Healthy;
        assert_eq!(health.interval(&check, seconds(1)), seconds(30));
    }

    #[test]
    fn output_is_cut() {
        let mut output = Output::default();
        output.push(&[b'x'; OUTPUT_LENGTH]);
        assert_eq!(output.text().len(), OUTPUT_LENGTH);
        output.push(b"y");
        assert!(output.text().ends_with("xx..."));
    }
}
