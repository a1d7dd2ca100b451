//! `berth volume …`: one file a verb.

mod create;
mod export;
mod import;
mod inspect;
mod ls;
mod prune;
mod rm;

use super::Context;
use crate::exit::Outcome;

pub(crate) use inspect::document;

/// Manage volumes.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Create a volume
    Create(create::Args),
    /// Write a volume's files to a tar archive (to STDOUT by default)
    Export(export::Args),
    /// Put the files of a tar archive into a volume
    Import(import::Args),
    /// Display detailed information on one or more volumes
    Inspect(inspect::Args),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Remove unused local volumes
    Prune(prune::Args),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Create(args) => args.run(context),
            Self::Export(args) => args.run(context),
            Self::Import(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Ls(args) => args.run(context),
            Self::Prune(args) => args.run(context),
            Self::Rm(args) => args.run(context),
        }
    }
}
