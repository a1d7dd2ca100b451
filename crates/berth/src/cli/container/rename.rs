//! `berth rename`: another name for a container.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::Persona;
use crate::terminal;
use berth_engine::spec::ContainerName;
use berth_oci::Error;

/// Rename a container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME", required = true)]
    name: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        if self.container.is_empty() || self.name.is_empty() {
            let prefix = if context.settings.persona == Persona::Docker { "Error: " } else { "" };
            let refused = format!("{prefix}Neither old nor new names may be empty");
            return Err(Failure::client(Error::invalid(refused)));
        }
        let renamed = engine.container(&self.container).and_then(|container| {
            let name = self.name.parse::<ContainerName>().map_err(|error| {
                let told = error.message().replacen('(', "(/", 1);
                Error::invalid(format!("Error when allocating new name: {told}"))
            })?;
            engine.rename(&container.id, &name)
        });
        match renamed {
            Ok(()) => Ok(Exit::SUCCESS),
            Err(error) => {
                Failure::from(error).report(context.settings.persona);
                terminal::complain(format!("Error: failed to rename container named {}", self.container));
                Ok(Exit::FAILURE)
            }
        }
    }
}
