//! Which namespaces a container has to itself: `--ipc`, `--pid`, `--uts`, `--cgroupns`.
//!
//! Not here: networks and users. Invariant: a container that is named is named by something.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who shares System V and POSIX memory with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpcMode {
    /// Nobody.
    #[default]
    Private,
    /// Those containers that ask for it.
    Shareable,
    /// Nobody, and there is no `/dev/shm`.
    None,
    /// The host.
    Host,
    /// This container.
    Container(String),
}

/// Whose processes it sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// This container's.
    Container(String),
}

impl FromStr for IpcMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "private" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => match text.strip_prefix("container:") {
                Some("") => {
                    Err(Error::invalid("failed to join IPC namespace: invalid name or ID supplied: \"\""))
                }
                Some(name) => Ok(Self::Container(name.to_owned())),
                None => Err(Error::invalid(format!("invalid IPC mode: {text}"))
                    .hint("one of private, shareable, none, host, container:NAME")),
            },
        }
    }
}

impl FromStr for PidMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => match text.strip_prefix("container:") {
                Some(name) if !name.is_empty() => Ok(Self::Container(name.to_owned())),
                _ => Err(Error::invalid("--pid: invalid PID mode").hint("either host or container:NAME")),
            },
        }
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl fmt::Display for PidMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl TryFrom<String> for IpcMode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<IpcMode> for String {
    fn from(mode: IpcMode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for PidMode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PidMode> for String {
    fn from(mode: PidMode) -> Self {
        mode.to_string()
    }
}

/// Reads `--uts`: whether the container has the host's name.
///
/// # Errors
/// Another word.
pub fn parse_uts(text: &str) -> Result<bool> {
    match text {
        "" => Ok(false),
        "host" => Ok(true),
        _ => Err(Error::invalid("--uts: invalid UTS mode").hint("the one word is host")),
    }
}

/// Reads `--cgroupns`: whether the container sees the host's control groups.
///
/// # Errors
/// Another word.
pub fn parse_cgroupns(text: &str) -> Result<bool> {
    match text {
        "" | "private" => Ok(false),
        "host" => Ok(true),
        _ => Err(Error::invalid("--cgroupns: invalid CGROUP mode").hint("either host or private")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_namespaces() {
        for (text, ipc, pid) in [
            ("", "private", ""),
            ("host", "host", "host"),
            ("container:web", "container:web", "container:web"),
            ("private", "private", "--pid: invalid PID mode"),
            ("shareable", "shareable", "--pid: invalid PID mode"),
            ("none", "none", "--pid: invalid PID mode"),
            (
                "container:",
                "failed to join IPC namespace: invalid name or ID supplied: \"\"",
                "--pid: invalid PID mode",
            ),
            ("foo", "invalid IPC mode: foo", "--pid: invalid PID mode"),
        ] {
            let got = text.parse::<IpcMode>().map_or_else(|e| e.to_string(), |mode| mode.to_string());
            assert_eq!(got, ipc, "{text}");
            let got = text.parse::<PidMode>().map_or_else(|e| e.to_string(), |mode| mode.to_string());
            assert_eq!(got, pid, "{text}");
        }
        assert!(parse_uts("host").unwrap() && !parse_uts("").unwrap());
        assert_eq!(parse_uts("private").unwrap_err().to_string(), "--uts: invalid UTS mode");
        assert!(parse_cgroupns("host").unwrap() && !parse_cgroupns("private").unwrap());
        assert_eq!(parse_cgroupns("x").unwrap_err().to_string(), "--cgroupns: invalid CGROUP mode");
    }
}
