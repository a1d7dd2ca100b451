//! `berth rename`: another name for a container.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// Rename a container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME", required = true)]
    name: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        match self.name.parse().and_then(|name| engine.rename(&self.container, &name)) {
            Ok(()) => Ok(Exit::SUCCESS),
            Err(error) => {
                Failure::from(error).report(context.settings.persona);
                terminal::complain(format!("Error: failed to rename container named {}", self.container));
                Ok(Exit::FAILURE)
            }
        }
    }
}
