//! `berth tag`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use berth_oci::{Error, Reference};

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// What to name
    #[arg(value_name = "SOURCE_IMAGE[:TAG]", required = true)]
    source: String,
    /// Its new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]", required = true)]
    target: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let reference = |text: &str| {
            text.parse::<Reference>().map_err(|error| {
                Error::invalid(format!(
                    "Error parsing reference: \"{text}\" is not a valid repository/tag: {}",
                    error.message()
                ))
            })
        };
        // Docker complains about the source first, but an id is no reference.
        if self.source.parse::<Reference>().is_err() && !self.source.starts_with("sha256:") {
            reference(&self.source).client()?;
        }
        let target = reference(&self.target).client()?;
        context.engine()?.tag(&self.source, &target)?;
        Ok(Exit::SUCCESS)
    }
}
