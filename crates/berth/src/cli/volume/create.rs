//! `berth volume create`.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::terminal;
use berth_engine::VolumeRequest;
use berth_engine::spec::{parse_label, parse_pair};

/// Create a volume.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Specify volume driver name
    #[arg(short, long, value_name = "string", default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "list", value_parser = parse_label)]
    label: Vec<(String, String)>,
    /// Set driver specific options: type, device, o
    #[arg(short, long, value_name = "map", value_parser = parse_pair)]
    opt: Vec<(String, String)>,
    /// Its name; one is made up where none is given
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let (volume, _) = context.engine()?.create_volume(VolumeRequest {
            name: self.name.filter(|name| !name.is_empty()),
            driver: Some(self.driver),
            labels: self.label.into_iter().collect(),
            options: self.opt.into_iter().collect(),
        })?;
        terminal::line(volume.name)?;
        Ok(Exit::SUCCESS)
    }
}
