//! `berth container inspect`.

use super::document::document;
use crate::cli::{Context, inspect};
use crate::exit::Outcome;
use berth_oci::Result;

/// Display detailed information on one or more containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        inspect::show(context, &self.containers, self.format.as_deref(), |name| get(context, name, self.size))
    }
}

/// Docker's document about the container that `name` means.
pub(crate) fn get(context: &Context, name: &str, size: bool) -> Result<serde_json::Value> {
    let engine = context.engine()?;
    let container = engine.container(name)?;
    let mut document = document(engine, &container)?;
    if size {
        let size = engine.size(&container)?;
        document["SizeRw"] = size.writable.into();
        document["SizeRootFs"] = size.total.into();
    }
    Ok(document)
}
