//! `berth load`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::progress::{Direction, View};
use crate::terminal;
use berth_oci::{Error, Platform, Platforms};
use std::path::PathBuf;

/// Load an image from a tar archive or STDIN.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only the image for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        let platforms = platform.map_or(Platforms::Available, Platforms::One);
        let engine = context.engine()?;
        let archive = match &self.input {
            Some(path) => {
                std::fs::metadata(path).map_err(|error| super::cannot_open(path, &error)).client()?;
                engine.open_archive(path)?
            }
            None if terminal::stdin_is_terminal() => {
                return Err(Failure::client(Error::invalid("requested load from stdin, but stdin is empty")));
            }
            None => engine.read_archive(std::io::stdin())?,
        };
        let view = match self.quiet {
            true => View::quiet(Direction::Copy),
            false => View::new(context.settings.progress, Direction::Copy, None),
        };
        engine.load(&archive, &platforms, &view, |loaded| {
            for name in &loaded.names {
                terminal::line(format!("Loaded image: {}", name.familiar()))?;
            }
            match loaded.names.is_empty() {
                true => terminal::line(format!("Loaded image ID: {}", loaded.target)),
                false => Ok(()),
            }
        })?;
        Ok(Exit::SUCCESS)
    }
}
