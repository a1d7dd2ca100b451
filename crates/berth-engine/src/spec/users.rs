//! Whose users a container's users are: `--userns`.
//!
//! Not here: which numbers they get (`container/users.rs`). Invariant: a word that cannot be kept is refused.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which users of the host the container's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UsersMode {
    /// The same: root is root.
    #[default]
    Host,
    /// Users that nobody else has, as many of them as this; by default as many as programs expect.
    Auto(Option<u32>),
}

impl UsersMode {
    /// Whether the container has a user namespace of its own.
    #[must_use]
    pub fn is_own(self) -> bool {
        self != Self::Host
    }
}

impl FromStr for UsersMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("" | "host", "") => Ok(Self::Host),
            ("auto", "") => Ok(Self::Auto(None)),
            ("auto", options) => match options.strip_prefix("size=").and_then(|size| size.parse().ok()) {
                Some(size) if size > 0 => Ok(Self::Auto(Some(size))),
                _ => Err(Error::invalid(format!("--userns: invalid option of auto: {options}"))
                    .hint("auto, or auto:size=1024")),
            },
            (mode @ ("keep-id" | "nomap"), _) => Err(Error::unsupported(format!(
                "--userns: {mode} is only for containers of an ordinary user, and not supported yet"
            ))
            .hint("auto gives the container users that nobody else has; -v …:idmap makes files yours")),
            _ => Err(Error::invalid("--userns: invalid USER mode").hint("either host or auto")),
        }
    }
}

impl fmt::Display for UsersMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => Ok(()),
            Self::Auto(None) => f.write_str("auto"),
            Self::Auto(Some(size)) => write!(f, "auto:size={size}"),
        }
    }
}

impl TryFrom<String> for UsersMode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<UsersMode> for String {
    fn from(mode: UsersMode) -> Self {
        mode.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_users() {
        for (text, expected) in [
            ("", ""),
            ("host", ""),
            ("auto", "auto"),
            ("auto:size=1024", "auto:size=1024"),
            ("auto:size=0", "--userns: invalid option of auto: size=0"),
            ("auto:uidmapping=0:1:2", "--userns: invalid option of auto: uidmapping=0:1:2"),
            (
                "keep-id",
                "--userns: keep-id is only for containers of an ordinary user, and not supported yet",
            ),
            ("private", "--userns: invalid USER mode"),
            ("host:x", "--userns: invalid USER mode"),
        ] {
            let got = text.parse::<UsersMode>().map_or_else(|e| e.to_string(), |mode| mode.to_string());
            assert_eq!(got, expected, "{text}");
        }
    }
}
