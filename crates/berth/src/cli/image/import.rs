//! `berth import`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::progress::{Direction, View};
use crate::terminal;
use berth_engine::ImportOptions;
use berth_oci::{Platform, Reference};
use std::fs::File;

/// Import the contents from a tarball to create a filesystem image.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Set platform of the image
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The tarball, or where it is to be fetched from
    #[arg(value_name = "file|URL|-", required = true)]
    source: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        let name = self.name.as_deref().map(str::parse::<Reference>).transpose().client()?;
        let engine = context.engine()?;
        let options = ImportOptions {
            name,
            message: self.message.unwrap_or_else(|| format!("Imported from {}", self.source)),
            changes: self.change,
            platform: platform.unwrap_or_else(|| engine.settings().platform.clone()),
        };
        let id = match self.source.as_str() {
            url if url.starts_with("http://") || url.starts_with("https://") => {
                let view = View::new(context.settings.progress, Direction::Pull, None);
                engine.import_from(url, &options, &mut view.file(url))?
            }
            "-" => engine.import(std::io::stdin(), &options)?,
            path => {
                let file =
                    File::open(path).map_err(|error| super::cannot_open(path.as_ref(), &error)).client()?;
                engine.import(file, &options)?
            }
        };
        terminal::line(id.as_str())?;
        Ok(Exit::SUCCESS)
    }
}
