//! `--volumes-from`: the mounts of another container.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Another container whose binds and volumes are seen here, at the same places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Its name or id.
    pub container: String,
    /// The options as they were written.
    pub mode: String,
}

impl VolumesFrom {
    /// Whether they are only read here.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.mode.split(',').any(|word| word == "ro")
    }
}

impl FromStr for VolumesFrom {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (container, mode) = text.split_once(':').unwrap_or((text, ""));
        if container.is_empty() {
            return Err(Error::invalid(format!("invalid volumes-from specification: {text}")));
        }
        match mode.is_empty() || mode.split(',').all(|word| matches!(word, "ro" | "rw" | "z" | "Z")) {
            true => Ok(Self { container: container.to_owned(), mode: mode.to_owned() }),
            false => Err(Error::invalid(format!("invalid mode: {mode}")).hint("either ro or rw")),
        }
    }
}

impl fmt::Display for VolumesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode.as_str() {
            "" => f.write_str(&self.container),
            mode => write!(f, "{}:{mode}", self.container),
        }
    }
}
