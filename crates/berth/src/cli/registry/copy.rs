//! `berth copy`: images between registries, the store, layouts and archives.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::progress::{Direction, View};
use crate::terminal;
use berth_engine::Place;
use berth_oci::{Platform, Platforms};

/// Copy an image between registries, the store, layouts and archives.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
#[command(
    long_about = "Copy an image, digests unchanged.\n\nPlaces:\n  NAME, docker://NAME           a registry\n  store:NAME                    the images that are here\n  oci:DIR[:TAG]                 an OCI layout directory\n  oci-archive:FILE[:TAG]        the same in a tar\n  docker-archive:FILE[:NAME]    what `docker save` writes"
)]
pub(crate) struct Args {
    /// Copy only the image for this platform, under its own digest
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    /// From where
    #[arg(value_name = "SOURCE", required = true)]
    source: String,
    /// To where
    #[arg(value_name = "DESTINATION", required = true)]
    destination: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        let platforms = platform.map_or(Platforms::All, Platforms::One);
        let (from, to): (Place, Place) = (self.source.parse().client()?, self.destination.parse().client()?);
        let view = match self.quiet {
            true => View::quiet(Direction::Copy),
            false => View::new(context.settings.progress, Direction::Copy, None),
        };
        let digest = context.engine()?.copy(&from, &to, &platforms, &view)?;
        terminal::line(digest.as_str())?;
        Ok(Exit::SUCCESS)
    }
}
