//! The terminal: what is printed, what is asked, how wide it is.
//!
//! The only place beside [`crate::progress`] that writes to stdout or stderr. Invariant: data go to stdout,
//! everything else to stderr; a broken pipe ends the process silently (SIGPIPE keeps its default).

use berth_oci::{AtPath, Result};
use rustix::termios::{self, LocalModes, OptionalActions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

/// How much is said on stderr, in docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// Also what happens inside, and the kind of every error.
    Debug,
    /// Notes and warnings.
    #[default]
    Info,
    /// Warnings.
    Warn,
    /// Errors only.
    Error,
    /// Errors only.
    Fatal,
}

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Sets how much is said, once, before any command runs.
pub(crate) fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

fn says(level: LogLevel) -> bool {
    LEVEL.load(Ordering::Relaxed) <= level as u8
}

/// Data, as they are.
///
/// # Errors
/// Stdout cannot be written (a full disk behind it).
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()).at("stdout")
}

/// One line of data.
///
/// # Errors
/// As [`print`].
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    print(format!("{}\n", text.as_ref()))
}

/// One line on stderr, always.
pub(crate) fn complain(text: impl AsRef<str>) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Text on stderr as it is, without a newline.
pub(crate) fn complain_raw(text: impl AsRef<[u8]>) {
    let _ = io::stderr().lock().write_all(text.as_ref());
}

/// A warning on stderr.
pub(crate) fn warn(text: impl AsRef<str>) {
    if says(LogLevel::Warn) {
        complain(text);
    }
}

/// A sentence on stderr for whoever waits.
pub(crate) fn note(text: impl AsRef<str>) {
    if says(LogLevel::Info) {
        complain(text);
    }
}

/// Whether somebody wants to know everything.
pub(crate) fn is_debug() -> bool {
    says(LogLevel::Debug)
}

/// What happens inside, on stderr, for `--log-level debug`.
pub(crate) fn debug(text: impl FnOnce() -> String) {
    if says(LogLevel::Debug) {
        complain(text());
    }
}

/// Whether stdin is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether stdout is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stderr is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Asks and answers whether the user said yes; anything else, the end of stdin included, is no.
///
/// # Errors
/// Stdout cannot be written, or stdin cannot be read.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    print(format!("{question} [y/N] "))?;
    let answer = read_line()?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

/// A line from stdin, without its end; empty at the end of stdin.
///
/// # Errors
/// Stdin cannot be read.
pub(crate) fn read_line() -> Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).at("stdin")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line from the terminal, which does not show it.
///
/// # Errors
/// Stdin cannot be read.
pub(crate) fn read_secret() -> Result<String> {
    let stdin = io::stdin();
    let Ok(before) = termios::tcgetattr(&stdin) else { return read_line() };
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(io::Error::from).at("stdin")?;
    let secret = read_line();
    termios::tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(io::Error::from).at("stdin")?;
    complain("");
    secret
}
