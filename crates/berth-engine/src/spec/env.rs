//! Environment variables as docker reads them: `-e NAME=value`, `-e NAME`, and files of such lines.
//!
//! Not here: the caller's environment (the binary hands in a look-up) and files (it hands in their bytes).
//! Invariant: the name of an [`EnvVar`] is not empty and has no `=`.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest line of an environment or label file, in bytes: docker's reader stops there.
const LINE_LIMIT: usize = 64 * 1024;

/// A variable to set, or, without a value, one to take away from what the image sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvVar {
    name: String,
    value: Option<String>,
}

impl EnvVar {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value; none takes the variable away.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// A variable named without a value takes the caller's, where the caller has one.
    #[must_use]
    pub fn or_from(mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        if self.value.is_none() {
            self.value = lookup(&self.name);
        }
        self
    }
}

impl fmt::Display for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for EnvVar {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(Error::invalid(format!("invalid environment variable: {text}")));
        }
        if text.contains('\0') {
            return Err(Error::invalid(format!("environment variable `{name}` contains a null byte")));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

impl TryFrom<String> for EnvVar {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<EnvVar> for String {
    fn from(variable: EnvVar) -> Self {
        variable.to_string()
    }
}

/// Reads a file of variables: one a line, `#` comments, nothing is unquoted, trailing blanks belong to the
/// value. A name alone takes the caller's value; where the caller has none the line says nothing.
///
/// # Errors
/// A line is not UTF-8, has no name, has blanks in its name, or is longer than 64 KiB.
pub fn parse_env_file(bytes: &[u8], lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<EnvVar>> {
    let pairs = parse_key_value_lines(bytes)?.into_iter();
    let known = pairs.filter_map(|(name, value)| Some((value.or_else(|| lookup(&name))?, name)));
    known.map(|(value, name)| format!("{name}={value}").parse()).collect()
}

/// The lines of a `--env-file` or `--label-file`: names, and values where there is a `=`.
pub(crate) fn parse_key_value_lines(bytes: &[u8]) -> Result<Vec<(String, Option<String>)>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() >= LINE_LIMIT {
            return Err(Error::invalid(format!("line {number} is too long: the limit is 64 KiB")));
        }
        let text = str::from_utf8(line)
            .map_err(|_| Error::invalid(format!("invalid utf8 bytes at line {number}: {line:?}")))?;
        pairs.extend(parse_line(text.trim_start())?);
    }
    Ok(pairs)
}

fn parse_line(line: &str) -> Result<Option<(String, Option<String>)>> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (line, None),
    };
    if name.is_empty() {
        return Err(Error::invalid(format!("no variable name on line '{line}'")));
    }
    if name.contains([' ', '\t']) {
        return Err(Error::invalid(format!("variable '{name}' contains whitespaces")));
    }
    Ok(Some((name.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn a_variable_on_the_command_line() {
        for (text, expected) in [
            ("A=1", "A=1"),
            ("A=", "A="),
            ("A=b=c", "A=b=c"),
            ("A= x ", "A= x "),
            ("A='x'", "A='x'"),
            ("HOME", "HOME=/root"),
            ("NOBODY_SET_THIS", "NOBODY_SET_THIS"),
            ("a b=1", "a b=1"),
            ("=x", "invalid environment variable: =x"),
            ("", "invalid environment variable: "),
        ] {
            let got = text.parse::<EnvVar>().map(|v| v.or_from(&caller).to_string());
            assert_eq!(got.unwrap_or_else(|e| e.to_string()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_of_variables() {
        for (text, expected) in [
            (&b"A=1\nB=2"[..], "A=1|B=2"),
            (b"\xef\xbb\xbfA=1\r\n\r\nB=x y \n", "A=1|B=x y "),
            (b"# c\n  # c\n\t A=1", "A=1"),
            (b"A='q' # no comment\nB=\"q\"", "A='q' # no comment|B=\"q\""),
            (b"HOME\nNOBODY_SET_THIS\nE=", "HOME=/root|E="),
            (b"A=1\nA=2", "A=1|A=2"),
            (b"X Y=1", "variable 'X Y' contains whitespaces"),
            (b"X =1", "variable 'X ' contains whitespaces"),
            (b"HOME ", "variable 'HOME ' contains whitespaces"),
            (b"=1", "no variable name on line '=1'"),
            (b"A=1\nB=\xff", "invalid utf8 bytes at line 2: [66, 61, 255]"),
            (b"", ""),
        ] {
            let got = parse_env_file(text, &caller)
                .map(|vars| vars.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"));
            assert_eq!(
                got.unwrap_or_else(|e| e.to_string()),
                expected,
                "{:?}",
                String::from_utf8_lossy(text)
            );
        }
        let long = [b"A=", vec![b'x'; LINE_LIMIT].as_slice()].concat();
        assert!(parse_env_file(&long, &caller).unwrap_err().to_string().contains("line 1 is too long"));
    }
}
