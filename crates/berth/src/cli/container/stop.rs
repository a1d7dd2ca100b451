//! `berth stop`: the polite signal, some patience, then SIGKILL.

use super::each;
use crate::cli::Context;
use crate::exit::Outcome;
use berth_engine::container::StopOptions;
use berth_engine::spec::Signal;
use berth_oci::{Context as _, Result};

/// Stop one or more running containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    #[command(flatten)]
    patience: Patience,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// What `stop` and `restart` both take.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct Patience {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "time", value_name = "int")]
    timeout: Option<i64>,
}

impl Patience {
    pub(super) fn options(&self) -> Result<StopOptions> {
        let signal = self.signal.as_deref().map(str::parse::<Signal>).transpose()?;
        Ok(StopOptions { signal, timeout: self.timeout })
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(context, &self.containers, |name| {
            let options = self.patience.options().context(|| format!("cannot stop container: {name}"))?;
            engine.stop(name, options)
        })
    }
}
