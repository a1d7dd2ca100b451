//! `berth wait`: until containers have ended; prints their exit codes.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// Block until one or more containers stop, then print their exit codes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut exit = Exit::SUCCESS;
        for name in &self.containers {
            match engine.wait(name) {
                Ok(code) => terminal::line(code.to_string())?,
                Err(error) => {
                    Failure::from(error).report(context.settings.persona);
                    exit = Exit::FAILURE;
                }
            }
        }
        Ok(exit)
    }
}
