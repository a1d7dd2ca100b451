//! `berth buildx imagetools`: images of registries, looked at and joined where they are.
//!
//! Invariant: nothing comes into the store.

mod create;
mod inspect;

use crate::cli::Context;
use crate::exit::Outcome;

/// Commands to work on images in a registry.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum ImagetoolsCommand {
    /// Create a new image based on source images
    Create(create::Args),
    /// Show details of an image in the registry
    Inspect(inspect::Args),
}

impl ImagetoolsCommand {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Create(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
        }
    }
}
