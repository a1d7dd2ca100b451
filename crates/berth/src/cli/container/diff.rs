//! `berth diff`: what a container has changed in its image's files.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::terminal;
use berth_engine::container::DifferenceKind;

/// Inspect changes to files or directories on a container's filesystem.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut text = String::new();
        for difference in engine.diff(&engine.container(&self.container)?)? {
            let letter = match difference.kind {
                DifferenceKind::Added => 'A',
                DifferenceKind::Changed => 'C',
                DifferenceKind::Deleted => 'D',
            };
            text += &format!("{letter} {}\n", difference.path.display());
        }
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}
