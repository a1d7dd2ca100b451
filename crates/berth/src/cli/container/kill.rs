//! `berth kill`: a signal for containers that run.

use super::each;
use crate::cli::Context;
use crate::exit::Outcome;
use berth_engine::spec::Signal;
use berth_oci::Context as _;

/// Kill one or more running containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string", default_value = "KILL")]
    signal: String,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(context, &self.containers, |name| {
            let sent = self.signal.parse::<Signal>().and_then(|signal| engine.kill(name, signal));
            sent.context(|| format!("cannot kill container: {name}"))
        })
    }
}
