//! `berth volume export`.

use crate::cli::{Context, output};
use crate::exit::{ClientSide, Exit, Outcome};
use std::path::PathBuf;

/// Write a volume's files to a tar archive (to STDOUT by default).
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    /// The volume
    #[arg(value_name = "VOLUME", required = true)]
    volume: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let volume = engine.volume(&self.volume)?;
        output::write(self.output.as_deref(), "failed to export volume", |out| {
            engine.export_volume(&volume, out)
        })
        .client()?;
        Ok(Exit::SUCCESS)
    }
}
