//! Whose users a container's users are: `--userns`, in podman's words where docker has none.
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
    /// The caller is himself there, and the program is the caller.
    KeepId(KeepId),
    /// Everybody whom the caller has been given, but not himself.
    NoMap,
}

/// Who the caller is in the container, where not himself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepId {
    /// His number.
    pub uid: Option<u32>,
    /// His group's.
    pub gid: Option<u32>,
    /// How many users there are, he among them.
    pub size: Option<u32>,
}

impl UsersMode {
    /// Whether the container has a user namespace of its own.
    #[must_use]
    pub fn is_own(self) -> bool {
        self != Self::Host
    }

    /// Whether nobody in the container is anybody whom the host's namespaces belong to.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        matches!(self, Self::Auto(_))
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
            ("keep-id", options) => keep_id(options).map(Self::KeepId),
            ("nomap", "") => Ok(Self::NoMap),
            _ => Err(Error::invalid("--userns: invalid USER mode").hint("one of host, auto, keep-id, nomap")),
        }
    }
}

fn keep_id(options: &str) -> Result<KeepId> {
    let mut keep = KeepId::default();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let invalid = || {
            Error::invalid(format!("--userns: invalid option of keep-id: {option}"))
                .hint("keep-id, or keep-id:uid=1000,gid=1000")
        };
        let (key, value) = option.split_once('=').ok_or_else(invalid)?;
        let number: u32 = value.parse().map_err(|_| invalid())?;
        // The last number is nobody, and where he is alone there is no root.
        match key {
            "uid" if number < u32::MAX => keep.uid = Some(number),
            "gid" if number < u32::MAX => keep.gid = Some(number),
            "size" if number > 1 => keep.size = Some(number),
            _ => return Err(invalid()),
        }
    }
    Ok(keep)
}

impl fmt::Display for KeepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keep-id")?;
        let given = [("uid", self.uid), ("gid", self.gid), ("size", self.size)];
        let given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
        given
            .enumerate()
            .try_for_each(|(at, (key, value))| write!(f, "{}{key}={value}", if at == 0 { ':' } else { ',' }))
    }
}

impl fmt::Display for UsersMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => Ok(()),
            Self::Auto(None) => f.write_str("auto"),
            Self::Auto(Some(size)) => write!(f, "auto:size={size}"),
            Self::KeepId(keep) => keep.fmt(f),
            Self::NoMap => f.write_str("nomap"),
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
            ("keep-id", "keep-id"),
            ("keep-id:gid=5,uid=0", "keep-id:uid=0,gid=5"),
            ("keep-id:size=10", "keep-id:size=10"),
            ("keep-id:uid=-1", "--userns: invalid option of keep-id: uid=-1"),
            ("keep-id:uid=4294967295", "--userns: invalid option of keep-id: uid=4294967295"),
            ("keep-id:size=1", "--userns: invalid option of keep-id: size=1"),
            ("keep-id:foo=1", "--userns: invalid option of keep-id: foo=1"),
            ("keep-id:uid", "--userns: invalid option of keep-id: uid"),
            ("nomap", "nomap"),
            ("nomap:x", "--userns: invalid USER mode"),
            ("private", "--userns: invalid USER mode"),
            ("host:x", "--userns: invalid USER mode"),
        ] {
            let got = text.parse::<UsersMode>().map_or_else(|e| e.to_string(), |mode| mode.to_string());
            assert_eq!(got, expected, "{text}");
        }
    }
}
