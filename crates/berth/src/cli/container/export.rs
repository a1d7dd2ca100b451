//! `berth export`: a container's file system as a tar.

use crate::cli::{Context, output};
use crate::exit::{ClientSide, Exit, Outcome};
use std::path::PathBuf;

/// Export a container's filesystem as a tar archive.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let container = engine.container(&self.container)?;
        output::write(self.output.as_deref(), "failed to export container", |out| {
            engine.export(&container, out)
        })
        .client()?;
        Ok(Exit::SUCCESS)
    }
}
