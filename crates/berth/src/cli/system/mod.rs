//! `berth system …`, and `info` and `version` beside it.

pub(crate) mod boot;
pub(crate) mod check;
pub(crate) mod df;
mod document;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod reset;
pub(crate) mod version;

use super::Context;
use crate::exit::Outcome;

/// Commands about berth itself.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Verify everything that is stored
    Check(check::Args),
    /// Show disk usage
    Df(df::Args),
    /// Get real time events
    Events(events::Args),
    /// Display system-wide information
    Info(info::Args),
    /// Remove unused data
    Prune(prune::Args),
    /// Remove every container, image and network of this root
    Reset(reset::Args),
    /// Start the containers whose restart policy says so: when the machine has started
    RestartContainers(boot::StartArgs),
    /// Stop all containers; those whose restart policy says so start again with the machine
    StopContainers(boot::StopArgs),
    /// Show the version of berth
    Version(version::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Check(args) => args.run(context),
            Self::Df(args) => args.run(context),
            Self::Info(args) => args.run(context),
            Self::Prune(args) => args.run(context),
            Self::Reset(args) => args.run(context),
            Self::Events(args) => args.run(context),
            Self::RestartContainers(args) => args.run(context),
            Self::StopContainers(args) => args.run(context),
            Self::Version(args) => args.run(context),
        }
    }
}
