//! `berth create`: everything of `run` but the start.

use super::options::ContainerOptions;
use super::run;
use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Create a new container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    #[command(flatten)]
    options: ContainerOptions,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let attached = run::attached(&self.options);
        let quiet = self.options.quiet;
        let read = run::read(self.options, attached, &context.settings)?;
        let created = run::create(context, read, quiet, None)?;
        terminal::line(created.container.id)?;
        Ok(Exit::SUCCESS)
    }
}
