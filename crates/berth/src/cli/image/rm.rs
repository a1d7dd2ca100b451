//! `berth rmi`.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_engine::{Removal, RemoveOptions};
use berth_oci::Kind;

/// Remove one or more images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Leave the content to the next prune
    #[arg(long)]
    no_prune: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let options = RemoveOptions { force: self.force, keep_content: self.no_prune };
        let mut exit = Exit::SUCCESS;
        let mut failures = Vec::new();
        for image in &self.images {
            match context.engine()?.remove_image(image, options) {
                Ok(removals) => terminal::print(removals.iter().map(line).collect::<String>())?,
                Err(error) => {
                    // What is gone already is no reason to fail, if force was asked for.
                    if !(self.force && error.kind() == Kind::NotFound) {
                        exit = Exit::FAILURE;
                    }
                    failures.push(Failure::from(error));
                }
            }
        }
        for failure in &failures {
            failure.report(context.settings.persona);
        }
        Ok(exit)
    }
}

fn line(removal: &Removal) -> String {
    match removal {
        Removal::Untagged(name) => format!("Untagged: {}\n", name.familiar()),
        Removal::Deleted(target) => format!("Deleted: {target}\n"),
    }
}
