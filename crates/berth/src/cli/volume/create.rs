//! `berth volume create`.

use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::terminal;
use berth_engine::VolumeRequest;
use berth_engine::spec::parse_label;

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
    #[arg(short, long, value_name = "map")]
    opt: Vec<String>,
    /// Its name; one is made up where none is given
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

/// Without a value it is an option all the same, and the driver says what it thinks of it.
fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let (volume, _) = context.engine()?.create_volume(VolumeRequest {
            name: self.name.filter(|name| !name.is_empty()),
            driver: Some(self.driver),
            labels: self.label.into_iter().collect(),
            options: self.opt.iter().map(|text| pair(text)).collect(),
        })?;
        terminal::line(volume.name)?;
        Ok(Exit::SUCCESS)
    }
}
