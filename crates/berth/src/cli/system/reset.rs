//! `berth system reset`.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Remove every container, volume, image and network of this root.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let root = context.settings.root.display();
        let question = format!(
            "WARNING! This will remove all containers, running ones too, all volumes, all images and the network of `{root}`.\n\
             Are you sure you want to continue?"
        );
        if !self.force && !terminal::confirm(&question)? {
            return Ok(Exit::SUCCESS);
        }
        let reset = context.engine()?.reset()?;
        if context.settings.user.is_some() {
            berth_runtime::rootless::end(&context.settings.runroot)?;
        }
        terminal::line(format!(
            "Removed {} containers, {} volumes and {} images",
            reset.containers, reset.volumes, reset.images
        ))?;
        Ok(Exit::SUCCESS)
    }
}
