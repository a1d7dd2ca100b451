//! `berth logout`.

use super::DOCKER_HUB;
use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::terminal;

/// Log out from a registry.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The registry; Docker Hub where none is given
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let server = self.server.as_deref().unwrap_or(DOCKER_HUB);
        let shown = if server == DOCKER_HUB { "https://index.docker.io/v1/" } else { server };
        terminal::line(format!("Removing login credentials for {shown}"))?;
        if !context.engine()?.logout(server)? {
            terminal::note(format!("There were none for {shown}."));
        }
        Ok(Exit::SUCCESS)
    }
}
