//! Where a container's output is kept: `--log-driver` and `--log-opt`.
//!
//! Invariant: an option that is accepted does something; what it was is remembered as it was written.

use super::size::{parse_decimal, parse_ram};
use super::syslog;
use berth_oci::{Error, Result};
use berth_runtime::LogSyslog;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a container's output is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// In what way.
    pub driver: LogDriver,
    /// The options as they were written: docker shows them again.
    pub options: BTreeMap<String, String>,
    /// Bytes after which a new file begins.
    pub max_size: Option<u64>,
    /// How many files are kept.
    pub max_file: Option<u32>,
    /// Whether those that are not written any more are compressed; the driver knows where nobody says.
    pub compress: Option<bool>,
    /// Whether the container waits for its log.
    pub mode: LogMode,
    /// Bytes that may wait for it where the container does not.
    pub max_buffer_size: Option<u64>,
}

/// Whether a container waits for its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogMode {
    /// It does: nothing of what it says is lost to its files.
    #[default]
    Blocking,
    /// It does not: what has no room in a buffer is lost.
    NonBlocking,
}

/// Docker's buffer, where nobody says how large it is.
const BUFFER: u64 = 1_000_000;

/// In what way output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// In docker's files.
    #[default]
    JsonFile,
    /// In files of our own choice, which are docker's, with more room.
    Local,
    /// In the machine's journal, and in files to read it from.
    Journald,
    /// At a syslog server, and in files to read it from.
    Syslog,
    /// Not at all.
    None,
}

const DRIVERS: [(&str, LogDriver); 5] = [
    ("json-file", LogDriver::JsonFile),
    ("local", LogDriver::Local),
    ("journald", LogDriver::Journald),
    ("syslog", LogDriver::Syslog),
    ("none", LogDriver::None),
];

impl LogDriver {
    /// Its name in docker.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        DRIVERS.iter().find(|(_, driver)| *driver == self).map_or("", |(name, _)| name)
    }

    /// The options that it has beside those of all drivers.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::JsonFile => {
                &["compress", "env", "env-regex", "labels", "labels-regex", "max-file", "max-size", "tag"]
            }
            Self::Local => &["compress", "max-file", "max-size"],
            Self::Journald => &["env", "env-regex", "labels", "labels-regex", "tag"],
            Self::Syslog => &[
                "env",
                "env-regex",
                "labels",
                "labels-regex",
                "syslog-address",
                "syslog-facility",
                "syslog-format",
                "tag",
            ],
            Self::None => &[],
        }
    }
}

impl LogSpec {
    /// The driver's name in docker.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        self.driver.as_str()
    }

    /// Reads the driver's name and its options.
    ///
    /// # Errors
    /// The driver or an option is unknown, or a value is wrong.
    pub fn parse(driver: Option<&str>, options: &[(String, String)]) -> Result<Self> {
        let name = driver.filter(|name| !name.is_empty()).unwrap_or("json-file");
        let driver = DRIVERS.iter().find(|(known, _)| *known == name).map(|(_, driver)| *driver);
        let driver = driver.ok_or_else(|| {
            Error::unsupported(format!("error looking up logging plugin {name}: plugin \"{name}\" not found"))
                .hint("the drivers are json-file, local, journald, syslog and none")
        })?;
        if driver == LogDriver::None && !options.is_empty() {
            return Err(Error::invalid("invalid logging opts for driver none"));
        }
        let mut log = Self { driver, ..Self::default() };
        for (key, value) in options {
            log.set(key, value)?;
            log.options.insert(key.clone(), value.clone());
        }
        if log.max_buffer_size.is_some() && log.mode == LogMode::Blocking {
            let only = "logger: max-buffer-size option is only supported with 'mode=non-blocking'";
            return Err(Error::invalid(only));
        }
        if log.compress == Some(true) && log.max_file == Some(1) {
            return Err(log.nothing_to_compress());
        }
        Ok(log)
    }

    /// With one file there is none that is not written any more. Docker says so in two ways.
    fn nothing_to_compress(&self) -> Error {
        let error = Error::invalid(match self.driver {
            LogDriver::Local => "compression cannot be enabled when max file count is 1",
            _ => "compress cannot be true when max-file is less than 2 or max-size is not set",
        });
        error.hint("say compress=false, or a larger max-file")
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if !self.driver.options().contains(&key) && !matches!(key, "mode" | "max-buffer-size") {
            return Err(Error::invalid(format!("unknown log opt '{key}' for {} log driver", self.driver()))
                .hint(format!("the options are {}", self.driver.options().join(", "))));
        }
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
            "compress" => self.compress = Some(truth(value)?),
            "mode" => {
                self.mode = match value {
                    "" | "blocking" => LogMode::Blocking,
                    "non-blocking" => LogMode::NonBlocking,
                    _ => return Err(mode_unknown(value)),
                }
            }
            "max-buffer-size" => self.max_buffer_size = Some(parse_ram(value).map_err(buffer_size)?),
            "labels-regex" | "env-regex" => drop(pattern(key, value)?),
            "syslog-address" => drop(syslog::address(value)?),
            "syslog-facility" => drop(syslog::facility(value)?),
            "syslog-format" => drop(syslog::format(value)?),
            "tag" => drop(tag(value, &|_| Some(String::new()))?),
            _ => {}
        }
        Ok(())
    }

    /// What is said with every line, of these labels and this environment; `field` knows what a tag may name.
    ///
    /// # Errors
    /// An option is not well formed, which was seen when it was read.
    pub fn attributes(
        &self,
        labels: &BTreeMap<String, String>,
        env: &[String],
        field: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>> {
        let option = |key: &str| self.option(key);
        let chosen = |list: &str, regex: &str| -> Result<Chosen> {
            let names = option(list).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let pattern = (!option(regex).is_empty()).then(|| pattern(regex, option(regex))).transpose()?;
            Ok(Chosen { names, pattern })
        };
        let (of_labels, of_env) = (chosen("labels", "labels-regex")?, chosen("env", "env-regex")?);
        let variables = env.iter().filter_map(|variable| variable.split_once('='));
        let pairs = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).filter(|(k, _)| of_labels.has(k));
        let mut attributes: BTreeMap<String, String> = pairs
            .chain(variables.filter(|(name, _)| of_env.has(name)))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        if !option("tag").is_empty() {
            attributes.insert("tag".to_owned(), tag(option("tag"), field)?);
        }
        Ok(attributes)
    }

    /// The server of the driver `syslog`; messages are marked with `tag`.
    ///
    /// # Errors
    /// An option is not well formed, which was seen when it was read.
    pub fn syslog(&self, tag: String) -> Result<LogSyslog> {
        Ok(LogSyslog {
            address: syslog::address(self.option("syslog-address"))?,
            facility: syslog::facility(self.option("syslog-facility"))?,
            format: syslog::format(self.option("syslog-format"))?,
            tag,
        })
    }

    /// Bytes that may wait for the log, where the container does not.
    #[must_use]
    pub fn buffer(&self) -> Option<u64> {
        (self.mode == LogMode::NonBlocking).then(|| self.max_buffer_size.unwrap_or(BUFFER))
    }

    /// Whether files that are not written any more are compressed: docker's `local` does it unasked.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.compress.unwrap_or(self.driver == LogDriver::Local) && self.max_file != Some(1)
    }

    fn option(&self, key: &str) -> &str {
        self.options.get(key).map(String::as_str).unwrap_or_default()
    }
}

/// Names that were listed or fit a pattern.
struct Chosen {
    names: Vec<String>,
    pattern: Option<Regex>,
}

impl Chosen {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name) || self.pattern.as_ref().is_some_and(|p| p.is_match(name))
    }
}

fn pattern(key: &str, text: &str) -> Result<Regex> {
    let pattern = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
    pattern.map_err(|_| Error::invalid(format!("invalid {key}: `{text}` is not a regular expression")))
}

fn mode_unknown(value: &str) -> Error {
    Error::invalid(format!("logger: logging mode not supported: {value}"))
        .hint("the modes are blocking and non-blocking")
}

fn buffer_size(error: Error) -> Error {
    Error::invalid(format!("error parsing option max-buffer-size: {error}"))
}

/// As Go reads it.
fn truth(value: &str) -> Result<bool> {
    match value {
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        _ => Err(Error::invalid(format!("compress is not true or false: `{value}`"))),
    }
}

/// `{{.Name}}/{{.ID}}` with the fields filled in.
///
/// # Errors
/// A field that there is not, or braces that do not close.
fn tag(text: &str, field: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let wrong = || {
        Error::invalid(format!("failed to parse the log tag `{text}`")).hint(
            "it is a text with {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageName}}, {{.ImageID}}, {{.ImageFullID}} or {{.DaemonName}}",
        )
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(wrong)?;
        let name = name.trim().strip_prefix('.').ok_or_else(wrong)?;
        out.push_str(before);
        out.push_str(&TAG_FIELDS.contains(&name).then(|| field(name)).flatten().ok_or_else(wrong)?);
        rest = after;
    }
    Ok(out + rest)
}

const TAG_FIELDS: [&str; 7] = ["ID", "FullID", "Name", "ImageName", "ImageID", "ImageFullID", "DaemonName"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, options: &[(&str, &str)]) -> Result<LogSpec> {
        let options: Vec<_> = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LogSpec::parse(Some(driver), &options)
    }

    #[test]
    fn drivers_and_options() {
        for (driver, options, expected) in [
            ("json-file", &[][..], "json-file None None"),
            ("", &[], "json-file None None"),
            ("none", &[], "none None None"),
            ("local", &[("max-size", "1m")], "local Some(1000000) None compressed"),
            ("local", &[("max-file", "1")], "local None Some(1)"),
            ("local", &[("compress", "false")], "local None None"),
            ("journald", &[("tag", "{{.Name}}")], "journald None None"),
            ("json-file", &[("max-size", "10m"), ("max-file", "3")], "json-file Some(10000000) Some(3)"),
            ("json-file", &[("mode", "blocking"), ("compress", "false")], "json-file None None"),
            ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("json-file", &[("max-file", "x")], "max-file is not a number: `x`"),
            ("json-file", &[("max-size", "x")], "invalid size: 'x'"),
            ("json-file", &[("max-size", "0")], "max-size must be a positive number"),
            ("json-file", &[("a", "b")], "unknown log opt 'a' for json-file log driver"),
            ("local", &[("labels", "b")], "unknown log opt 'labels' for local log driver"),
            ("json-file", &[("compress", "true")], "json-file None None compressed"),
            ("json-file", &[("compress", "yes")], "compress is not true or false: `yes`"),
            (
                "json-file",
                &[("compress", "1"), ("max-file", "1")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            (
                "local",
                &[("max-file", "1"), ("compress", "t")],
                "compression cannot be enabled when max file count is 1",
            ),
            ("local", &[("max-file", "1"), ("compress", "F")], "local None Some(1)"),
            ("json-file", &[("mode", "x")], "logger: logging mode not supported: x"),
            ("json-file", &[("mode", "non-blocking")], "json-file None None waits 1000000"),
            ("syslog", &[("max-buffer-size", "2k"), ("mode", "non-blocking")], "syslog None None waits 2048"),
            (
                "json-file",
                &[("max-buffer-size", "1m"), ("mode", "blocking")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                &[("mode", "non-blocking"), ("max-buffer-size", "x")],
                "error parsing option max-buffer-size: invalid size: 'x'",
            ),
            ("json-file", &[("env-regex", "(")], "invalid env-regex: `(` is not a regular expression"),
            ("json-file", &[("tag", "{{.Nope}}")], "failed to parse the log tag `{{.Nope}}`"),
            ("json-file", &[("tag", "{{.ID")], "failed to parse the log tag `{{.ID`"),
            ("none", &[("max-size", "1m")], "invalid logging opts for driver none"),
            ("syslog", &[("syslog-facility", "local7")], "syslog None None"),
            ("syslog", &[("syslog-format", "rfc1")], "Invalid syslog format"),
            ("fluentd", &[], "error looking up logging plugin fluentd: plugin \"fluentd\" not found"),
        ] {
            let log = parse(driver, options);
            let got = log.map_or_else(
                |e| e.to_string(),
                |l| {
                    let compressed = if l.is_compressed() { " compressed" } else { "" };
                    let waits = l.buffer().map_or_else(String::new, |bytes| format!(" waits {bytes}"));
                    format!("{} {:?} {:?}{compressed}{waits}", l.driver(), l.max_size, l.max_file)
                },
            );
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_is_said_with_every_line() {
        let labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into();
        let env = ["X=3", "XY=4", "Z=5", "GONE"].map(str::to_owned);
        let field = |name: &str| Some(format!("<{name}>"));
        for (options, expected) in [
            (&[][..], ""),
            (&[("labels", "a,c")], "a=1"),
            (&[("labels-regex", "^b"), ("env", "Z")], "Z=5 b=2"),
            (&[("env-regex", "^X")], "X=3 XY=4"),
            (&[("tag", "{{.Name}}/{{ .ID }}!")], "tag=<Name>/<ID>!"),
        ] {
            let log = parse("json-file", options).unwrap();
            let attributes = log.attributes(&labels, &env, &field).unwrap();
            let text = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
            assert_eq!(text, expected, "{options:?}");
        }
    }
}
