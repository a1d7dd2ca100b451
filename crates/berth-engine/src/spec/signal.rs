//! Signals by name or number, as `kill -s` and `--stop-signal` take them.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A signal of Linux, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(i32);

impl Signal {
    /// Asks politely.
    pub const TERM: Self = Self(15);
    /// Does not ask.
    pub const KILL: Self = Self(9);

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first real-time signal that the C library leaves to programs, and the last.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::invalid(format!("invalid signal: {text}")).hint("a name like SIGTERM or a number, 1 to 64")
        };
        let number = match text.parse::<i32>() {
            Ok(number) => number,
            Err(_) => by_name(text).ok_or_else(invalid)?,
        };
        (1..=RTMAX).contains(&number).then_some(Self(number)).ok_or_else(invalid)
    }
}

fn by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest[1..].parse::<i32>().ok() };
    match name {
        "CLD" => Some(17),
        "IOT" => Some(6),
        "POLL" => Some(29),
        _ if name.starts_with("RTMIN") && matches!(name.as_bytes().get(5), None | Some(b'+')) => {
            offset(&name[5..]).map(|n| RTMIN + n).filter(|n| *n <= RTMAX)
        }
        _ if name.starts_with("RTMAX") && matches!(name.as_bytes().get(5), None | Some(b'-')) => {
            offset(&name[5..]).map(|n| RTMAX - n).filter(|n| *n >= RTMIN)
        }
        _ => (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number),
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0 - 1).ok().and_then(|at| NAMES.get(at)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl TryFrom<String> for Signal {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number, shown) in [
            ("TERM", 15, "SIGTERM"),
            ("SIGTERM", 15, "SIGTERM"),
            ("sigkill", 9, "SIGKILL"),
            ("1", 1, "SIGHUP"),
            ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
            ("RTMAX-1", 63, "SIGRTMIN+29"),
            ("64", 64, "SIGRTMIN+30"),
            ("33", 33, "33"),
            ("SYS", 31, "SIGSYS"),
        ] {
            let signal: Signal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, shown));
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }
        for text in ["", "0", "65", "-9", "SIGNOPE", "RTMIN+31", "RTMIN3", "RTMAX+1", "SIGRTMIN+ä"] {
            assert_eq!(text.parse::<Signal>().unwrap_err().to_string(), format!("invalid signal: {text}"));
        }
    }
}
