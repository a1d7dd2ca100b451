//! What is wrong with a Dockerfile, and where.
//!
//! Invariant: the message is BuildKit's where BuildKit has one; the excerpt names file, line and column.

use super::source::{Position, Source, Span};
use super::suggest::did_you_mean;
use std::fmt;
use std::sync::Arc;

/// A mistake in a Dockerfile, with its place.
#[derive(Clone, Debug)]
pub struct SyntaxError {
    /// The file it is in.
    pub source: Arc<Source>,
    /// The lines it concerns; empty for the file as a whole.
    pub spans: Vec<Span>,
    /// The very place, where it is known.
    pub position: Option<Position>,
    /// What is wrong, without the suggestion.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl SyntaxError {
    /// The lines around the mistake, with it marked.
    #[must_use]
    pub fn excerpt(&self) -> String {
        match self.position {
            Some(position) => self.source.excerpt_at(&self.spans, position),
            None => self.source.excerpt(&self.spans),
        }
    }
}

/// The message and the suggestion, in one line.
impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.message, did_you_mean(self.suggestion.as_deref()))
    }
}

impl std::error::Error for SyntaxError {}

impl From<SyntaxError> for berth_oci::Error {
    fn from(error: SyntaxError) -> Self {
        let hint = error.excerpt();
        let ours = Self::invalid(error.to_string());
        if hint.is_empty() { ours } else { ours.hint(hint) }
    }
}

/// A mistake inside one instruction, before its place in the file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
    /// Bytes of the instruction's joined text.
    pub(crate) range: Option<(usize, usize)>,
    /// The message says nothing about lines: BuildKit finds the mistake before it counts instructions, or after.
    pub(crate) bare: bool,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None, range: None, bare: false }
    }

    pub(crate) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    pub(crate) fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Says where, unless somebody closer already did.
    pub(crate) fn at(mut self, offset: usize, length: usize) -> Self {
        self.range = self.range.or(Some((offset, length)));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.message, did_you_mean(self.suggestion.as_deref()))
    }
}
