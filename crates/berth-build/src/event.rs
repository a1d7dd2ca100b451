//! What a build tells while it goes on.

use std::time::Duration;

/// Who listens. Several steps speak at once.
pub trait Listener: Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step has begun. Its number stays the same for all events about it.
    Started {
        /// The step.
        step: usize,
        /// What it is called: `[build 2/3] RUN make`.
        name: &'a str,
    },
    /// It says what it is doing.
    Status {
        /// The step.
        step: usize,
        /// What.
        text: &'a str,
    },
    /// Its program wrote something.
    Output {
        /// The step.
        step: usize,
        /// Whatever it was.
        bytes: &'a [u8],
    },
    /// Its result is there from before; or it is a base image, of which nothing has to be done.
    Cached {
        /// The step.
        step: usize,
    },
    /// It is done.
    Done {
        /// The step.
        step: usize,
        /// How long it took.
        elapsed: Duration,
    },
    /// It failed, and the build with it.
    Failed {
        /// The step.
        step: usize,
        /// Why.
        why: &'a str,
    },
    /// It was broken off because the build failed elsewhere.
    Cancelled {
        /// The step.
        step: usize,
    },
    /// Why a step was done anew, or not.
    Explained {
        /// The step.
        step: usize,
        /// The reason.
        why: &'a str,
    },
    /// A stage that is not looked at: nothing that is built needs it.
    Skipped {
        /// Its name.
        name: &'a str,
    },
    /// Something that its author should know.
    Warning {
        /// What.
        text: &'a str,
    },
}
