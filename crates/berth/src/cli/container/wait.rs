//! `berth wait`: until containers have ended; prints their exit codes.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_engine::container::WaitCondition;

/// Block until one or more containers stop, then print their exit codes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// What to wait for: not-running, next-exit or removed
    #[arg(long, value_name = "string", default_value = "not-running", value_parser = condition)]
    condition: WaitCondition,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

fn condition(text: &str) -> Result<WaitCondition, String> {
    match text {
        "not-running" => Ok(WaitCondition::NotRunning),
        "next-exit" => Ok(WaitCondition::NextExit),
        "removed" => Ok(WaitCondition::Removed),
        _ => Err("must be one of not-running, next-exit, removed".to_owned()),
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut exit = Exit::SUCCESS;
        for name in &self.containers {
            match engine.wait(name, self.condition) {
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
