//! `berth port`: where on the host a container's ports are reached.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::Persona;
use crate::terminal;
use berth_engine::spec::port_number;
use berth_oci::Error;
use berth_runtime::net::Published;

/// List port mappings or a specific mapping for the container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    /// One of its ports
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let container = engine.container(&self.container)?;
        let mut published = container.published();
        published.sort_by_key(|port| (port.container_port, port.protocol, port.host_ip, port.host_port));
        let Some(port) = &self.port else {
            for one in &published {
                terminal::line(format!("{}/{} -> {}", one.container_port, one.protocol, place(one)))?;
            }
            return Ok(Exit::SUCCESS);
        };
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let said = |message: String| match context.settings.persona {
            Persona::Docker => format!("Error: {message}"),
            Persona::Berth => message,
        };
        let number = port_number(number).map_err(|why| {
            Failure::client(Error::invalid(said(format!("invalid port ({number}): {why}"))))
        })?;
        let fits = |one: &&Published| {
            one.container_port == number && one.protocol.to_string() == protocol.to_ascii_lowercase()
        };
        let places: Vec<String> = published.iter().filter(fits).map(place).collect();
        if places.is_empty() {
            let message = format!("No public port '{port}' published for {}", self.container);
            return Err(Failure::client(Error::not_found(said(message))));
        }
        terminal::line(places.join("\n"))?;
        Ok(Exit::SUCCESS)
    }
}

fn place(port: &Published) -> String {
    port.place()
}
