//! Asking again: how often, and after which pause.
//!
//! Invariant: only failures that another try may cure are tried again, and never for ever.

use crate::http::{Failure, FaultClass};
use crate::settings::Settings;
use berth_oci::{Error, Result};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A registry that wants to be left alone for longer is an error now; what has arrived is kept.
const WORTH_WAITING: Duration = Duration::from_secs(120);
/// Who waits wants to see that we are alive, and be able to stop us.
const STEP: Duration = Duration::from_millis(500);

/// Counts tries without progress.
pub(crate) struct Patience<'a> {
    settings: &'a Settings,
    attempt: u32,
}

/// A pause that is to come.
pub(crate) struct Pause {
    pub(crate) attempt: u32,
    pub(crate) wait: Duration,
    pub(crate) reason: String,
}

impl Pause {
    /// A line for whoever waits, at the beginning and then every ten seconds.
    pub(crate) fn line(&self, host: &str, left: Duration) -> Option<String> {
        let is_due = left == self.wait || left.as_millis().is_multiple_of(10_000);
        let seconds = left.as_secs_f64().ceil();
        (is_due && !left.is_zero()).then(|| format!("{host}: {}; trying again in {seconds} s", self.reason))
    }
}

impl<'a> Patience<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, attempt: 0 }
    }

    /// Something arrived: the count starts anew.
    pub(crate) fn progress(&mut self) {
        self.attempt = 0;
    }

    /// The pause before the next try, or the error where there is none.
    pub(crate) fn after(&mut self, failure: Failure) -> Result<Pause> {
        self.attempt += 1;
        // Docker Hub's limit lasts for hours: a few tries find out whether this one is of that kind.
        let most = match failure.class {
            FaultClass::Limited => self.settings.attempts.min(3),
            _ => self.settings.attempts,
        };
        let is_too_long = failure.retry_after.is_some_and(|wait| wait > WORTH_WAITING);
        if !failure.is_transient() || is_too_long || self.attempt >= most {
            return Err(failure.error);
        }
        Ok(self.pause(&failure))
    }

    fn pause(&self, failure: &Failure) -> Pause {
        // A pooled connection that the server has closed meanwhile costs nobody a pause.
        let is_first_break = failure.class == FaultClass::Broken && self.attempt == 1;
        let wait = match failure.retry_after {
            Some(wait) => wait,
            None if is_first_break => Duration::ZERO,
            None => jittered(FIRST_PAUSE.saturating_mul(1 << self.attempt.min(10)).min(LONGEST_PAUSE)),
        };
        Pause { attempt: self.attempt, wait, reason: failure.error.to_string() }
    }

    /// Waits, telling `tell` what is left every now and then; it may call the whole thing off.
    pub(crate) fn wait(
        &self,
        pause: &Pause,
        mut tell: impl FnMut(&Pause, Duration) -> Result<()>,
    ) -> Result<()> {
        let mut left = pause.wait;
        tell(pause, left)?;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.settings.pause.wait(step);
            left -= step;
            if !left.is_zero() {
                tell(pause, left)?;
            }
        }
        Ok(())
    }
}

/// Between half and all of it, so that a hundred clients do not come back at once.
fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() as u32;
    time / 2 + (time / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Does `action` until it works, fails for good, or has failed too often.
pub(crate) fn retrying<T>(
    settings: &Settings,
    mut tell: impl FnMut(&Pause, Duration) -> Result<()>,
    mut action: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut patience = Patience::new(settings);
    loop {
        let failure = match action() {
            Err(failure) if failure.is_transient() => failure,
            answer => return answer,
        };
        let class = failure.class;
        let pause = patience.after(failure).map_err(|error: Error| Failure::new(class, error))?;
        patience.wait(&pause, &mut tell)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let settings = Settings::default();
        let mut patience = Patience::new(&settings);
        let mut waits = Vec::new();
        while let Ok(pause) = patience.after(Failure::new(FaultClass::Busy, Error::unavailable("busy"))) {
            waits.push(pause.wait);
        }
        assert_eq!(waits.len() as u32, settings.attempts - 1);
        assert!(
            waits[0] >= FIRST_PAUSE && waits[4] > waits[0] && waits.iter().all(|w| *w <= LONGEST_PAUSE),
            "{waits:?}"
        );
    }

    #[test]
    fn what_cannot_be_cured_is_not_tried_again() {
        let settings = Settings::default();
        let mut patience = Patience::new(&settings);
        assert!(patience.after(Failure::fatal(Error::invalid("no"))).is_err());
        patience.progress();
        let asked = Failure {
            retry_after: Some(Duration::from_secs(7)),
            ..Failure::new(FaultClass::Busy, Error::unavailable("x"))
        };
        assert_eq!(patience.after(asked).unwrap().wait, Duration::from_secs(7));
        let long = Failure {
            retry_after: Some(Duration::from_secs(3000)),
            ..Failure::new(FaultClass::Busy, Error::unavailable("toomanyrequests"))
        };
        assert_eq!(patience.after(long).err().unwrap().to_string(), "toomanyrequests");
    }

    #[test]
    fn a_long_pause_is_counted_down() {
        let pause = Pause { attempt: 1, wait: Duration::from_secs(25), reason: "busy".to_owned() };
        let lines: Vec<String> =
            (0..=50).rev().filter_map(|half| pause.line("h", Duration::from_millis(half * 500))).collect();
        assert_eq!(lines, [25, 20, 10].map(|s| format!("h: busy; trying again in {s} s")));
    }
}
