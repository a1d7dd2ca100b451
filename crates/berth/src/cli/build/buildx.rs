//! `berth buildx …` and `berth builder …`.

use super::bake::BakeArgs;
use super::builders::{InspectArgs, LsArgs};
use super::cache::{DuArgs, MountCommand, PruneArgs};
use super::history::HistoryCommand;
use super::imagetools::ImagetoolsCommand;
use crate::cli::Context;
use crate::exit::Outcome;

/// Commands about builds.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum BuildxCommand {
    /// Build from a file
    #[command(visible_alias = "f")]
    Bake(Box<BakeArgs>),
    /// Start a build
    #[command(visible_alias = "b")]
    Build(Box<super::Args>),
    /// Disk usage
    Du(DuArgs),
    /// Commands to work on build records
    #[command(subcommand)]
    History(HistoryCommand),
    /// Commands to work on images in registry
    #[command(subcommand)]
    Imagetools(ImagetoolsCommand),
    /// Inspect current builder instance
    Inspect(InspectArgs),
    /// List builder instances
    Ls(LsArgs),
    /// Manage cache mounts
    #[command(subcommand)]
    Mount(MountCommand),
    /// Remove build cache
    Prune(PruneArgs),
}

impl BuildxCommand {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Bake(args) => args.run(context),
            Self::Build(args) => args.run(context),
            Self::Du(args) => args.run(context),
            Self::History(command) => command.run(context),
            Self::Imagetools(command) => command.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Ls(args) => args.run(context),
            Self::Mount(command) => command.run(context),
            Self::Prune(args) => args.run(context),
        }
    }
}

/// Commands about the builder.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Box<super::Args>),
    /// Remove build cache
    Prune(PruneArgs),
}

impl BuilderCommand {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Build(args) => args.run(context),
            Self::Prune(args) => args.run(context),
        }
    }
}
