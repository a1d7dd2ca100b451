//! Where a container's output is kept: `--log-driver` and `--log-opt`.

use super::size::parse_decimal;
use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a container's output is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// Whether nothing is kept: `--log-driver none`.
    pub none: bool,
    /// The options as they were written: docker shows them again.
    pub options: BTreeMap<String, String>,
    /// Bytes after which a new file begins.
    pub max_size: Option<u64>,
    /// How many files are kept.
    pub max_file: Option<u32>,
}

impl LogSpec {
    /// The driver's name in docker.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        if self.none { "none" } else { "json-file" }
    }

    /// Reads the driver's name and its options.
    ///
    /// # Errors
    /// The driver or an option is unknown, or a value is wrong.
    pub fn parse(driver: Option<&str>, options: &[(String, String)]) -> Result<Self> {
        let none = match driver {
            None | Some("" | "json-file") => false,
            Some("none") => true,
            Some(other) => {
                return Err(Error::unsupported(format!(
                    "error looking up logging plugin {other}: plugin \"{other}\" not found"
                ))
                .hint("the drivers are json-file and none"));
            }
        };
        if none && !options.is_empty() {
            return Err(Error::invalid("invalid logging opts for driver none"));
        }
        let mut log = Self { none, ..Self::default() };
        for (key, value) in options {
            log.set(key, value)?;
            log.options.insert(key.clone(), value.clone());
        }
        Ok(log)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "max-size" => {
                let size = parse_decimal(value)?;
                if size == 0 {
                    return Err(Error::invalid("max-size must be a positive number"));
                }
                self.max_size = Some(size);
            }
            "max-file" => {
                let files = value
                    .parse::<u32>()
                    .map_err(|_| Error::invalid(format!("max-file is not a number: `{value}`")))?;
                if files < 1 {
                    return Err(Error::invalid("max-file cannot be less than 1"));
                }
                self.max_file = Some(files);
            }
            _ => {
                return Err(Error::invalid(format!("unknown log opt '{key}' for json-file log driver"))
                    .hint("the options are max-size and max-file"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_and_options() {
        let parse = |driver: &str, options: &[(&str, &str)]| {
            let options: Vec<_> = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let log = LogSpec::parse(Some(driver), &options);
            log.map_or_else(
                |e| e.to_string(),
                |l| format!("{} {:?} {:?}", l.driver(), l.max_size, l.max_file),
            )
        };
        for (driver, options, expected) in [
            ("json-file", &[][..], "json-file None None"),
            ("none", &[], "none None None"),
            ("json-file", &[("max-size", "10m"), ("max-file", "3")], "json-file Some(10000000) Some(3)"),
            ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("json-file", &[("max-file", "x")], "max-file is not a number: `x`"),
            ("json-file", &[("max-size", "x")], "invalid size: 'x'"),
            ("json-file", &[("max-size", "0")], "max-size must be a positive number"),
            ("json-file", &[("a", "b")], "unknown log opt 'a' for json-file log driver"),
            ("none", &[("max-size", "1m")], "invalid logging opts for driver none"),
            ("syslog", &[], "error looking up logging plugin syslog: plugin \"syslog\" not found"),
        ] {
            assert_eq!(parse(driver, options), expected);
        }
    }
}
