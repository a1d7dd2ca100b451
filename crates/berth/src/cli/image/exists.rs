//! `berth image exists`: the exit code is the answer, as podman has it.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use berth_oci::Kind;

/// Check whether an image is here.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Name or id
    #[arg(value_name = "IMAGE", required = true)]
    image: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match context.engine()?.image(&self.image) {
            Ok(_) => Ok(Exit::SUCCESS),
            Err(error) if error.kind() == Kind::NotFound => Ok(Exit::FAILURE),
            Err(error) => Err(error)?,
        }
    }
}
