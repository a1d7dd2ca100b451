//! `berth manifest push`.

use super::reference;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::terminal;

/// Push a manifest list to a repository.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    /// The list
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    list: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let list = reference(&self.list)?;
        let engine = context.engine()?;
        let pushed = engine.push_manifest_list(&list, self.insecure).client()?;
        for member in &pushed.members {
            terminal::line(format!(
                "Pushed ref {}@{member} with digest: {member}",
                pushed.repository.name()
            ))?;
        }
        terminal::line(pushed.digest.as_str())?;
        if self.purge {
            engine.remove_manifest_list(&list).client()?;
        }
        Ok(Exit::SUCCESS)
    }
}
