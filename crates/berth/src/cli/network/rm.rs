//! `berth network rm`.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::Persona;
use crate::terminal;
use berth_oci::Kind;

/// Remove one or more networks.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    /// The networks
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut exit = Exit::SUCCESS;
        for name in &self.networks {
            match engine.remove_network(name) {
                Ok(_) => terminal::line(name)?,
                Err(error) if self.force && error.kind() == Kind::NotFound => {}
                Err(error) => {
                    Failure::from(error).report(context.settings.persona);
                    exit = Exit::FAILURE;
                }
            }
        }
        // Docker's command line says this of this command only.
        if exit == Exit::FAILURE && context.settings.persona == Persona::Docker {
            terminal::complain("exit status 1");
        }
        Ok(exit)
    }
}
