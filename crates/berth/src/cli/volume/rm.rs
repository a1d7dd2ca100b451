//! `berth volume rm`.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_oci::Kind;

/// Remove one or more volumes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    /// The volumes
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
}

impl Args {
    /// Runs it: one failure makes the whole fail, without keeping the others from their turn.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut exit = Exit::SUCCESS;
        for name in &self.volumes {
            match engine.remove_volume(name) {
                Ok(()) => terminal::line(name)?,
                // Forced, what is not there is as good as removed.
                Err(error) if self.force && error.kind() == Kind::NotFound => terminal::line(name)?,
                Err(error) => {
                    Failure::from(error).report(context.settings.persona);
                    exit = Exit::FAILURE;
                }
            }
        }
        Ok(exit)
    }
}
