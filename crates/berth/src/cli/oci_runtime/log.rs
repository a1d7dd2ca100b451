//! The log that an engine asked for. docker reads the last error of it and shows that to its user.

use crate::terminal;
use berth_oci::{Context, Result};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// `time=… level=… msg=…`
    Text,
    /// One object a line.
    Json,
}

/// Where warnings and errors go besides stderr.
pub(super) struct Log {
    path: Option<PathBuf>,
    format: Format,
    debug: bool,
}

impl Log {
    /// Looks at once whether it can be written, as runc does. It does not stay open: `--preserve-fds` gives the container
    /// what is open under certain numbers.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn new(path: Option<PathBuf>, format: Format, debug: bool) -> Result<Self> {
        if let Some(path) = &path {
            open(path).context(|| format!("cannot open the log `{}`", path.display()))?;
        }
        Ok(Self { path, format, debug })
    }

    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
    }

    /// To the log, or to stderr when there is none.
    pub(super) fn warn(&self, message: &str) {
        match self.path {
            Some(_) => self.write("warning", message),
            None => terminal::warn(format!("warning: {message}")),
        }
    }

    pub(super) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write("debug", &message());
        }
    }

    fn write(&self, level: &str, message: &str) {
        let Some(path) = &self.path else { return };
        let line = line(self.format, level, message, &jiff::Timestamp::now().to_string());
        let written = open(path).and_then(|mut f| f.write_all(line.as_bytes()));
        if let Err(error) = written {
            terminal::complain(format!("cannot write the log `{}`: {error}", path.display()));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

fn line(format: Format, level: &str, message: &str, time: &str) -> String {
    match format {
        Format::Json => {
            format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": time }))
        }
        Format::Text => format!("time={time:?} level={level} msg={message:?}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_engines_read() {
        for (format, expected) in [
            (Format::Json, "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"time\":\"t\"}\n"),
            (Format::Text, "time=\"t\" level=error msg=\"a \\\"b\\\"\"\n"),
        ] {
            assert_eq!(line(format, "error", "a \"b\"", "t"), expected);
        }
    }
}
