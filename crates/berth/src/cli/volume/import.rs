//! `berth volume import`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use berth_oci::AtPath;
use std::fs::File;

/// Put the files of a tar archive into a volume.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The volume
    #[arg(value_name = "VOLUME", required = true)]
    volume: String,
    /// The archive
    #[arg(value_name = "file|-", required = true)]
    source: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let volume = engine.volume(&self.volume)?;
        match self.source.as_str() {
            "-" => engine.import_volume(&volume, &mut std::io::stdin())?,
            path => engine.import_volume(&volume, &mut File::open(path).at(path).client()?)?,
        }
        Ok(Exit::SUCCESS)
    }
}
