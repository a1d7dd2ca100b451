//! `berth network …`.

mod connect;
mod create;
mod disconnect;
pub(crate) mod inspect;
mod ls;
pub(crate) mod prune;
mod rm;

use super::Context;
use crate::exit::Outcome;

/// Commands about networks.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Connect a container to a network
    Connect(connect::Args),
    /// Create a network
    Create(create::Args),
    /// Disconnect a container from a network
    Disconnect(disconnect::Args),
    /// Display detailed information on one or more networks
    Inspect(inspect::Args),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    /// Remove all unused networks
    Prune(prune::Args),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Connect(args) => args.run(context),
            Self::Create(args) => args.run(context),
            Self::Disconnect(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Ls(args) => args.run(context),
            Self::Prune(args) => args.run(context),
            Self::Rm(args) => args.run(context),
        }
    }
}
