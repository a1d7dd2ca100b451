//! `berth system restart-containers` and `stop-containers`: what the units in `contrib/systemd` call.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_engine::container::Container;
use berth_oci::{Error, Result};

/// Start the containers whose restart policy says so: when the machine has started.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct StartArgs {}

/// Stop all containers; those whose restart policy says so start again with the machine.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct StopArgs {}

impl StartArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        tell(context, context.engine()?.start_with_machine()?)
    }
}

impl StopArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        tell(context, context.engine()?.stop_with_machine()?)
    }
}

/// Each name on a line; a failure keeps no other from its turn.
fn tell(context: &Context, results: Vec<(Container, Option<Error>)>) -> Outcome {
    let mut exit = Exit::SUCCESS;
    for (container, error) in results {
        let told: Result<()> = match error {
            None => terminal::line(&container.name),
            Some(error) => {
                Failure::from(error).report(context.settings.persona);
                exit = Exit::FAILURE;
                Ok(())
            }
        };
        told?;
    }
    Ok(exit)
}
