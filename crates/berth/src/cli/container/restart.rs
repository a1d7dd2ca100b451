//! `berth restart`: stop, then start.

use super::each;
use super::run::warn;
use super::stop::Patience;
use crate::cli::Context;
use crate::exit::Outcome;
use berth_oci::Context as _;

/// Restart one or more containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    #[command(flatten)]
    patience: Patience,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(context, &self.containers, |name| {
            let options = self.patience.options().context(|| format!("cannot restart container: {name}"))?;
            let (_, warnings) = engine.restart(name, options)?;
            warn(&warnings);
            Ok(())
        })
    }
}
