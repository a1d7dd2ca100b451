//! A build that failed: why, at which step, and where that stands in the Dockerfile.

use crate::dockerfile::{Source, Span, SyntaxError};
use berth_oci::{Digest, Error};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// The instruction it happened in.
    pub place: Option<(Arc<Source>, Span)>,
    /// The step.
    pub step: Option<StepFailure>,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// What it is called.
    pub name: String,
    /// The last of what it wrote.
    pub output: Vec<u8>,
    /// The name under which its file system is kept, if it is.
    pub kept: Option<Digest>,
}

impl Failure {
    pub(crate) fn at(error: Error, source: &Arc<Source>, span: Span) -> Self {
        Self { error, place: Some((Arc::clone(source), span)), step: None }
    }

    /// The lines around the instruction, with it marked; empty where no line is meant.
    #[must_use]
    pub fn excerpt(&self) -> String {
        self.place.as_ref().map(|(source, span)| source.excerpt(&[*span])).unwrap_or_default()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, place: None, step: None }
    }
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Self {
        let span = error.spans.first().copied();
        let place = span.map(|span| (Arc::clone(&error.source), span));
        Self { place, ..Self::from(Error::invalid(error.to_string())) }
    }
}
