//! Building images: the Dockerfile language, and everything between a Dockerfile and an image.
//!
//! Here: [`dockerfile`], the language, with [`ignore`] files and [`check`]s; and [`build()`], which does what it says
//! over a store. Not here: starting processes and registries, for which a [`Host`] is asked; printing, the environment.
//! Invariant: what a Dockerfile says is decided by its text, the arguments and the platform alone.

mod amend;
pub mod bake;
mod cancel;
pub mod check;
mod copy;
pub mod dockerfile;
mod event;
mod failure;
mod files;
pub mod git_ref;
pub mod glob;
mod go_format;
pub mod history;
mod host;
pub mod ignore;
mod mounts;
mod request;
mod solve;
mod survey;

pub use amend::amend;
pub use cancel::Cancel;
pub use event::{Event, Listener};
pub use failure::{Failure, StepFailure};
pub use host::{
    BaseImage, GitAccess, GitCommit, Host, KnownStep, Layer, Material, Step, StepExit, StepMount,
    StepMountSource, StepNetwork, WebFile,
};
pub use mounts::{CacheMount, CacheMountUse};
pub use request::{
    BuildRequest, ContextSource, Entitlements, NamedContext, NetworkChoice, NoCache, context_name,
};
pub use solve::{Built, BuiltImage, FailedStep, KeptMount, KeptSource, build};
pub use survey::{RuleEffect, Survey, survey};

#[cfg(test)]
mod testing;
