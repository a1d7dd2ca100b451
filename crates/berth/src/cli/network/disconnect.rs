//! `berth network disconnect`.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};

/// Disconnect a container from a network.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    /// The network
    #[arg(value_name = "NETWORK", required = true)]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        context.engine()?.disconnect(&self.container, &self.network, self.force)?;
        Ok(Exit::SUCCESS)
    }
}
