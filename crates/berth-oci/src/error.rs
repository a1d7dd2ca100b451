//! The one error type of the workspace: a kind for machines, a message and a hint for people.
//!
//! Each edge (exit code, HTTP status, distribution error code) maps [`Kind`] once; nobody matches on text.

use std::error::Error as StdError;
use std::path::Path;
use std::{fmt, io};

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The thing is not there.
    NotFound,
    /// A name is taken, or a state forbids the request.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// We may not: rights, policy.
    Denied,
    /// A remote wants other credentials, or any.
    Unauthorized,
    /// A remote did not answer, or not in time.
    Unavailable,
    /// This machine or this build cannot do it.
    Unsupported,
    /// Bytes do not match their digest, size or format.
    Corrupt,
    /// The caller stopped it.
    Cancelled,
    /// A bug, or the machine failed us (disk full, I/O error).
    Internal,
}

/// An error: what went wrong, with which thing, and what to do next.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(#[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(Kind::$kind, message)
        })*
    };
}

impl Error {
    /// An error of `kind`; the message says what, and with which thing.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    constructors! {
        not_found => NotFound, conflict => Conflict, invalid => Invalid, denied => Denied,
        unauthorized => Unauthorized, unavailable => Unavailable, unsupported => Unsupported,
        corrupt => Corrupt, cancelled => Cancelled, internal => Internal,
    }

    /// Adds the next step a person can take.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message alone, without its causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The next step, the outermost of the chain.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// Message and causes, joined by `: `.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

/// An [`Error`] that travelled through [`io::Error`] (a `Read` in the middle) comes out as it went in; any
/// other I/O error gets its kind from the operating system's.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let kind = kind_of(&error);
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => Self::new(kind, describe(&error)).with_disk_hint(&error),
        }
    }
}

/// So that a `Read` can carry our error to whoever reads.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

impl Error {
    fn with_disk_hint(self, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => self.hint(
                "the disk is full: `berth system df` shows what berth keeps, `berth system prune` frees it",
            ),
            io::ErrorKind::ReadOnlyFilesystem => self.hint("the file system is mounted read-only"),
            _ => self,
        }
    }
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Kind::Corrupt,
        io::ErrorKind::TimedOut
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Kind::Unavailable,
        io::ErrorKind::Unsupported => Kind::Unsupported,
        _ => Kind::Internal,
    }
}

/// The operating system's words without Rust's `(os error N)`.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

/// Adds what we were doing, keeping kind and hint.
pub trait Context<T> {
    /// `doing` names the act and the thing: "cannot pull `nginx`".
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| {
            let mut error = error.into();
            let hint = error.0.hint.take();
            Error(Box::new(Inner {
                kind: error.kind(),
                message: doing().into(),
                hint,
                source: Some(Box::new(error)),
            }))
        })
    }
}

/// Names the path in an I/O error: `fs::read(path).at(path)?`.
pub trait AtPath<T> {
    /// "cannot access `path`: …".
    fn at(self, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> AtPath<T> for std::result::Result<T, E> {
    fn at(self, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(Into::into).context(|| format!("cannot access `{}`", path.as_ref().display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_through_io() {
        let io: io::Error = Error::cancelled("pull was cancelled").hint("run it again").into();
        let error = Error::from(io);
        assert_eq!((error.kind(), error.hint_text()), (Kind::Cancelled, Some("run it again")));
    }

    #[test]
    fn a_path_is_named_and_the_number_is_not() {
        let error = std::fs::read("/nonexistent/x").at("/nonexistent/x").unwrap_err();
        assert_eq!(error.to_string(), "cannot access `/nonexistent/x`: no such file or directory");
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
