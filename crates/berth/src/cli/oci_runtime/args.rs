//! Words that several commands share, and what is said about words that make no sense.

use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_oci::Error;
use clap::error::ErrorKind;

/// A container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct Id {
    /// The container's name
    pub(super) id: String,
}

/// Help goes to stdout; mistakes are errors.
pub(super) fn explain(error: &clap::Error) -> Outcome {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            terminal::print(error.to_string())?;
            Ok(Exit::SUCCESS)
        }
        _ => {
            let text = error.to_string();
            Err(Failure::from(Error::invalid(text.trim_start_matches("error: ").trim_end().to_owned())))
        }
    }
}
