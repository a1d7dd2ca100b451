//! `berth manifest create`.

use super::reference;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::terminal;
use berth_oci::Reference;

/// Create a local manifest list for annotating and pushing to a registry.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// The list
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    list: String,
    /// Its images
    #[arg(value_name = "MANIFEST", required = true)]
    members: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let list = reference(&self.list)?;
        let members: Result<Vec<Reference>, Failure> =
            self.members.iter().map(|name| reference(name)).collect();
        context.engine()?.create_manifest_list(&list, &members?, self.amend, self.insecure).client()?;
        terminal::line(format!("Created manifest list {}", list.familiar()))?;
        Ok(Exit::SUCCESS)
    }
}
