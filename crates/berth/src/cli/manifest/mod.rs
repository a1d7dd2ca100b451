//! `berth manifest …`: lists of images for several platforms, made here and kept at a registry.

mod annotate;
mod create;
mod inspect;
mod push;
mod rm;

use super::Context;
use crate::exit::{ClientSide, Failure, Outcome};
use berth_oci::Reference;

/// Commands about manifests and manifest lists.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Add additional information to a local image manifest
    Annotate(annotate::Args),
    /// Create a local manifest list for annotating and pushing to a registry
    Create(create::Args),
    /// Display an image manifest, or manifest list
    Inspect(inspect::Args),
    /// Push a manifest list to a repository
    Push(push::Args),
    /// Delete one or more manifest lists from local storage
    Rm(rm::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Annotate(args) => args.run(context),
            Self::Create(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Push(args) => args.run(context),
            Self::Rm(args) => args.run(context),
        }
    }
}

/// A name on the command line.
fn reference(text: &str) -> Result<Reference, Failure> {
    Ok(text.parse::<Reference>().client()?.or_latest())
}
