//! `berth system …`, and `version` beside it.

pub(crate) mod version;

use super::Context;
use crate::exit::Outcome;

/// Commands about berth itself.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Show the version of berth
    Version(version::Args),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Version(args) => args.run(context),
        }
    }
}
