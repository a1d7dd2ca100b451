//! `berth rm`: containers go.

use super::each;
use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use berth_engine::container::RemoveOptions;
use berth_oci::Kind;

/// Remove one or more containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link: NAME/ALIAS
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        if self.link {
            return each(context, &self.containers, |path| engine.remove_link(path));
        }
        let options = RemoveOptions { force: self.force, volumes: self.volumes };
        if !self.force {
            return each(context, &self.containers, |name| engine.remove(name, options));
        }
        // Forced, what is gone already is told but is no failure.
        let mut exit = Exit::SUCCESS;
        for name in &self.containers {
            match engine.remove(name, options) {
                Ok(()) => crate::terminal::line(name)?,
                Err(error) => {
                    if error.kind() != Kind::NotFound {
                        exit = Exit::FAILURE;
                    }
                    Failure::from(error).report(context.settings.persona);
                }
            }
        }
        Ok(exit)
    }
}
