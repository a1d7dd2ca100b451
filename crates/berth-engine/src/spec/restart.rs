//! When a container is started again: docker's words for it, and one of ours.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// When a container is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whenever it has ended, and after a reboot.
    Always,
    /// The same, except after a reboot when somebody had stopped it.
    UnlessStopped,
    /// When it has ended with another code than 0; at most so often, 0 for ever.
    OnFailure(u32),
    /// The same, and also when its check calls it unhealthy: it is killed then.
    OnUnhealthy(u32),
}

impl RestartPolicy {
    /// Reads `name[:count]`: the first half, which docker's command line looks at.
    ///
    /// # Errors
    /// The count is no number.
    pub fn split(text: &str) -> Result<(&str, Option<i64>)> {
        match text.split_once(':') {
            None => Ok((text, None)),
            Some(("", _)) => {
                Err(Error::invalid("invalid restart policy format: no policy provided before colon"))
            }
            Some((name, count)) => match count.parse() {
                Ok(count) => Ok((name, Some(count))),
                Err(_) => Err(Error::invalid(
                    "invalid restart policy format: maximum retry count must be an integer",
                )),
            },
        }
    }

    /// The second half, which docker's daemon looks at.
    ///
    /// # Errors
    /// There is no such policy, or it takes no count.
    pub fn named(name: &str, count: Option<i64>) -> Result<Self> {
        let most = match count {
            None => 0,
            Some(count) if count < 0 => {
                return Err(Error::invalid("invalid restart policy: maximum retry count cannot be negative"));
            }
            Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
        };
        let policy = match name {
            "no" | "" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => return Ok(Self::OnFailure(most)),
            "on-unhealthy" => return Ok(Self::OnUnhealthy(most)),
            other => {
                return Err(Error::invalid(format!(
                    "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
                     'unless-stopped'"
                ))
                .hint("berth has one more: 'on-unhealthy'"));
            }
        };
        match most {
            0 => Ok(policy),
            _ => Err(Error::invalid(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'",
            )),
        }
    }

    /// Its name, without the count.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure(_) => "on-failure",
            Self::OnUnhealthy(_) => "on-unhealthy",
        }
    }

    /// How often at most; 0 is no limit.
    #[must_use]
    pub fn most(self) -> u32 {
        match self {
            Self::OnFailure(most) | Self::OnUnhealthy(most) => most,
            _ => 0,
        }
    }

    /// What the container's monitor is told.
    #[must_use]
    pub fn rule(self) -> berth_runtime::Restart {
        let most = Some(self.most()).filter(|most| *most > 0);
        let rule = berth_runtime::Restart::default();
        match self {
            Self::No => rule,
            Self::Always | Self::UnlessStopped => {
                berth_runtime::Restart { after_success: true, after_failure: true, ..rule }
            }
            Self::OnFailure(_) => berth_runtime::Restart { after_failure: true, most, ..rule },
            Self::OnUnhealthy(_) => {
                berth_runtime::Restart { after_failure: true, most, when_unhealthy: true, ..rule }
            }
        }
    }

    /// Whether a container that has ended like this is started when the machine is.
    #[must_use]
    pub fn starts_with_machine(self, code: i32, restarts: u32, stopped: bool) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped,
            Self::OnFailure(most) | Self::OnUnhealthy(most) => {
                code != 0 && !stopped && (most == 0 || restarts < most)
            }
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, count) = Self::split(text)?;
        Self::named(name, count)
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most() {
            0 => f.write_str(self.name()),
            most => write!(f, "{}:{most}", self.name()),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_as_dockers() {
        let only = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
        let integer = "invalid restart policy format: maximum retry count must be an integer";
        for (text, expected) in [
            ("", "no"),
            ("no", "no"),
            ("always", "always"),
            ("unless-stopped", "unless-stopped"),
            ("on-failure", "on-failure"),
            ("on-failure:3", "on-failure:3"),
            ("on-failure:0", "on-failure"),
            ("on-unhealthy:2", "on-unhealthy:2"),
            ("always:3", only),
            ("no:1", only),
            ("unless-stopped:1", only),
            ("on-failure:x", integer),
            ("on-failure:3:4", integer),
            (":3", "invalid restart policy format: no policy provided before colon"),
            ("on-failure:-1", "invalid restart policy: maximum retry count cannot be negative"),
            (
                "foo",
                "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
            ),
        ] {
            let got = text.parse::<RestartPolicy>().map_or_else(|e| e.to_string(), |p| p.to_string());
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn who_starts_with_the_machine() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        for (policy, code, restarts, stopped, expected) in [
            (No, 255, 0, false, false),
            (Always, 0, 0, true, true),
            (UnlessStopped, 0, 0, true, false),
            (UnlessStopped, 0, 9, false, true),
            (OnFailure(0), 255, 9, false, true),
            (OnFailure(0), 0, 0, false, false),
            (OnFailure(3), 1, 3, false, false),
        ] {
            assert_eq!(policy.starts_with_machine(code, restarts, stopped), expected, "{policy} {code}");
        }
    }
}
