//! `berth pause` and `berth unpause`: containers freeze, and go on.

use super::each;
use crate::cli::Context;
use crate::exit::Outcome;

/// Pause all processes within one or more containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct PauseArgs {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Unpause all processes within one or more containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct UnpauseArgs {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl PauseArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(context, &self.containers, |name| engine.pause(name))
    }
}

impl UnpauseArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(context, &self.containers, |name| engine.unpause(name))
    }
}
