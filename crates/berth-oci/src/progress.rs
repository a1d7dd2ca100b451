//! Progress out and cancellation back through one callback.

use crate::{Descriptor, Digest};
use std::ops::ControlFlow;

/// What happens while an image moves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The name was looked up; the copy of this manifest begins.
    Resolved {
        /// The digest the name means at the source.
        digest: &'a Digest,
    },
    /// Something happened to a blob.
    Blob {
        /// Which.
        descriptor: &'a Descriptor,
        /// What.
        state: BlobState,
    },
    /// A layer is about to be compressed; it has no digest yet.
    Packing,
    /// A sentence for the person who waits: a rate limit, a mirror that did not answer.
    Note(&'a str),
}

/// Where a blob is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobState {
    /// It is needed and its turn has not come.
    Waiting,
    /// The sink has it already.
    Exists,
    /// Bytes so far, those kept from an earlier try included.
    Transferring {
        /// Bytes so far.
        done: u64,
    },
    /// A transfer broke off and goes on after a pause.
    Retrying {
        /// Which try failed, from 1.
        attempt: u32,
        /// The pause in milliseconds.
        wait_ms: u64,
        /// Why.
        reason: String,
    },
    /// It came from another repository of the same registry without a transfer.
    Mounted {
        /// The repository.
        from: String,
    },
    /// It is there, verified.
    Done,
}

/// Whoever wants to see [`Event`]s; `Break` stops the work as soon as it can.
///
/// Called from several threads at once.
pub trait Progress: Sync {
    /// Something happened.
    fn report(&self, event: Event<'_>) -> ControlFlow<()>;
}

impl<F: Fn(Event<'_>) -> ControlFlow<()> + Sync> Progress for F {
    fn report(&self, event: Event<'_>) -> ControlFlow<()> {
        self(event)
    }
}

/// Nobody looks, nobody cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
