//! `berth image untag`: takes names away and keeps the image, as podman has it.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use berth_oci::{Reference, Result};

/// Remove names from an image and keep the image.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Name or id
    #[arg(value_name = "IMAGE", required = true)]
    image: String,
    /// The names to take away; all of them where none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let names: Result<Vec<Reference>> = self.names.iter().map(|name| name.parse()).collect();
        context.engine()?.untag(&self.image, &names.client()?)?;
        Ok(Exit::SUCCESS)
    }
}
