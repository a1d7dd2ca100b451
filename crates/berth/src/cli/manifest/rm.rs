//! `berth manifest rm`.

use super::reference;
use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Delete one or more manifest lists from local storage.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The lists
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    lists: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let mut exit = Exit::SUCCESS;
        for list in &self.lists {
            if let Err(error) = context.engine()?.remove_manifest_list(&reference(list)?) {
                Failure::client(error).report(context.settings.persona);
                exit = Exit::FAILURE;
            }
        }
        Ok(exit)
    }
}
