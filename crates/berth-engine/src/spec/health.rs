//! How to ask whether a container works: the `--health-…` flags, and what they make of an image's HEALTHCHECK.

use berth_oci::{Error, Healthcheck, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A person's words about a container's health check; what is not said is the image's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// What is run: `CMD` and arguments, `CMD-SHELL` and a line, or `NONE`.
    pub test: Option<Vec<String>>,
    /// Between two runs.
    pub interval: Option<Duration>,
    /// For one run.
    pub timeout: Option<Duration>,
    /// In which failures do not count.
    pub start_period: Option<Duration>,
    /// Between two runs of the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
}

/// Docker does not count shorter times.
const SHORTEST: i64 = 1_000_000;

impl HealthSpec {
    /// The image's check with these words in place of its own; none where there is no check at all.
    ///
    /// # Errors
    /// A time is too short, or a test is none.
    pub fn over(&self, image: Option<&Healthcheck>) -> Result<Option<Healthcheck>> {
        if self == &Self::default() && image.is_none() {
            return Ok(None);
        }
        let image = image.cloned().unwrap_or_default();
        let merged = Healthcheck {
            test: self.test.clone().or(image.test),
            interval: nanoseconds(self.interval).unwrap_or(image.interval),
            timeout: nanoseconds(self.timeout).unwrap_or(image.timeout),
            start_period: nanoseconds(self.start_period).unwrap_or(image.start_period),
            start_interval: nanoseconds(self.start_interval).unwrap_or(image.start_interval),
            retries: self.retries.filter(|r| *r > 0).map_or(image.retries, i64::from),
        };
        check(&merged)?;
        Ok(Some(merged))
    }
}

fn nanoseconds(time: Option<Duration>) -> Option<i64> {
    time.filter(|time| !time.is_zero()).map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

fn check(merged: &Healthcheck) -> Result<()> {
    let times = [
        ("Interval", merged.interval),
        ("Timeout", merged.timeout),
        ("StartPeriod", merged.start_period),
        ("StartInterval", merged.start_interval),
    ];
    if let Some((name, _)) = times.into_iter().find(|(_, time)| *time != 0 && *time < SHORTEST) {
        return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
    }
    if merged.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    match merged.test.as_deref().and_then(<[String]>::first).map_or("", String::as_str) {
        "" | "NONE" | "CMD" | "CMD-SHELL" => Ok(()),
        other => Err(Error::invalid(format!("unknown health check test type: {other}"))
            .hint("a test begins with NONE, CMD or CMD-SHELL")),
    }
}

/// What is to be run for a check; none where none is wanted.
#[must_use]
pub fn health_command(check: &Healthcheck, shell: Option<&[String]>) -> Option<Vec<String>> {
    let (kind, rest) = check.test.as_deref()?.split_first()?;
    let usual = ["/bin/sh".to_owned(), "-c".to_owned()];
    match (kind.as_str(), rest) {
        (_, []) | ("NONE", _) => None,
        ("CMD", words) => Some(words.to_vec()),
        (_, words) => Some(shell.unwrap_or(&usual).iter().cloned().chain([words.join(" ")]).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn the_persons_words_replace_the_images() {
        let image =
            Healthcheck { test: words("CMD a"), interval: 5_000_000, retries: 7, ..Healthcheck::default() };
        let base = HealthSpec::default;
        let second = Some(Duration::from_secs(1));
        for (spec, of_image, expected) in [
            (base(), None, "none"),
            (base(), Some(&image), "CMD a|5000000|0|7"),
            (HealthSpec { test: words("NONE"), ..base() }, Some(&image), "NONE|5000000|0|7"),
            (
                HealthSpec { timeout: second, retries: Some(2), ..base() },
                Some(&image),
                "CMD a|5000000|1000000000|2",
            ),
            (HealthSpec { test: words("CMD-SHELL x"), ..base() }, None, "CMD-SHELL x|0|0|0"),
            (
                HealthSpec { interval: Some(Duration::from_micros(1)), ..base() },
                None,
                "Interval in Healthcheck cannot be less than 1ms",
            ),
            (
                HealthSpec { start_interval: Some(Duration::from_micros(1)), ..base() },
                None,
                "StartInterval in Healthcheck cannot be less than 1ms",
            ),
            (HealthSpec { test: words("RUN x"), ..base() }, None, "unknown health check test type: RUN"),
        ] {
            let got = match spec.over(of_image) {
                Ok(None) => "none".to_owned(),
                Ok(Some(h)) => {
                    format!(
                        "{}|{}|{}|{}",
                        h.test.unwrap_or_default().join(" "),
                        h.interval,
                        h.timeout,
                        h.retries
                    )
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_is_run() {
        for (test, shell, expected) in [
            ("NONE", None, None),
            ("CMD", None, None),
            ("CMD curl -f x", None, words("curl -f x")),
            ("CMD-SHELL a", None, words("/bin/sh -c a")),
            ("CMD-SHELL a", words("/bin/bash -ec"), words("/bin/bash -ec a")),
        ] {
            let check = Healthcheck { test: words(test), ..Healthcheck::default() };
            assert_eq!(health_command(&check, shell.as_deref()), expected, "{test}");
        }
        assert_eq!(health_command(&Healthcheck::default(), None), None);
    }
}
