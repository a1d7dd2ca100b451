//! What a monitor does for a container beyond running its program once, as numbers.
//!
//! Not here: when it does so (`monitor`), the names that people have for it. Invariant: the default of everything is
//! to do nothing.

use crate::bundle::Exec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// When an ended program is started again.
    pub restart: Restart,
    /// How it is asked to end when nobody says.
    pub stop: Stop,
    /// How the monitor finds out whether it works.
    pub health: Option<HealthCheck>,
    /// Stopped when it has run this long.
    pub most_runtime: Option<Duration>,
    /// A process of ours is the container's first, starts the program, passes signals on and reaps.
    pub reaper: bool,
    /// Where its events are written down, and what is said with each.
    pub journal: Option<JournalSource>,
}

/// When an ended program is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// After code 0.
    pub after_success: bool,
    /// After any other.
    pub after_failure: bool,
    /// At most this often.
    pub most: Option<u32>,
    /// It is killed, and started again, when its check calls it unhealthy.
    pub when_unhealthy: bool,
}

/// How a container is asked to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// The signal that was chosen for it. Any other but SIGKILL then is no wish that it end; where none was chosen,
    /// every signal is.
    pub signal: Option<i32>,
    /// How long after that SIGKILL follows; `None` never.
    pub patience: Option<Duration>,
}

/// A program that is run again and again beside the container's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is run: code 0 says healthy.
    pub exec: Exec,
    /// From the end of one run to the beginning of the next.
    pub interval: Duration,
    /// One that takes longer is killed and has failed.
    pub timeout: Duration,
    /// Failures this soon after the start do not count.
    pub start_period: Duration,
    /// The interval meanwhile.
    pub start_interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// Where events go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSource {
    /// The journal's directory.
    pub directory: PathBuf,
    /// What every event of this container carries.
    pub attributes: BTreeMap<String, String>,
}

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Who has run this long is no longer suspected of failing at once.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// How long to wait before the next start: twice as long each time.
#[derive(Debug, Default)]
pub(crate) struct BackOff(Duration);

impl BackOff {
    /// The delay after a run of this length.
    pub(crate) fn after(&mut self, run: Duration) -> Duration {
        let last = if run >= LONG_ENOUGH { Duration::ZERO } else { self.0 };
        self.0 = (last * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        self.0
    }
}

impl Restart {
    /// Whether an end with this code is followed by another start, when there have been `count` already.
    pub(crate) fn follows(&self, code: i32, count: u32, unhealthy: bool) -> bool {
        let wanted = match code {
            _ if unhealthy => self.when_unhealthy,
            0 => self.after_success,
            _ => self.after_failure,
        };
        wanted && self.most.is_none_or(|most| count < most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_start_over_after_a_long_run() {
        let mut back_off = BackOff::default();
        let short = Duration::from_millis(9_999);
        let delays: Vec<_> = (0..12).map(|_| back_off.after(short).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(back_off.after(Duration::from_secs(10)).as_millis(), 100);
        assert_eq!(back_off.after(short).as_millis(), 200);
    }

    #[test]
    fn who_is_started_again() {
        let never = Restart::default();
        let always = Restart { after_success: true, after_failure: true, ..never };
        let thrice = Restart { after_failure: true, most: Some(3), ..never };
        let sick = Restart { when_unhealthy: true, ..never };
        for (restart, code, count, unhealthy, expected) in [
            (never, 1, 0, false, false),
            (always, 0, 99, false, true),
            (always, 1, 99, false, true),
            (thrice, 1, 2, false, true),
            (thrice, 1, 3, false, false),
            (thrice, 0, 0, false, false),
            (thrice, 137, 0, true, false),
            (sick, 137, 0, true, true),
            (sick, 137, 0, false, false),
        ] {
            assert_eq!(restart.follows(code, count, unhealthy), expected, "{restart:?} {code} {count}");
        }
    }
}
