//! `berth port`: where on the host a container's ports are reached.

use crate::cli::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::Persona;
use crate::terminal;
use berth_engine::spec::parse_expose;
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
        let wanted = parse_expose(port)
            .map_err(|_| Failure::client(Error::invalid(format!("invalid port `{port}`"))))?;
        let fits = |one: &&Published| {
            wanted.iter().any(|w| (w.port, w.protocol) == (one.container_port, one.protocol))
        };
        let places: Vec<String> = published.iter().filter(fits).map(place).collect();
        if places.is_empty() {
            let message = format!("No public port '{port}' published for {}", self.container);
            return Err(Failure::client(Error::not_found(match context.settings.persona {
                Persona::Docker => format!("Error: {message}"),
                Persona::Berth => message,
            })));
        }
        terminal::line(places.join("\n"))?;
        Ok(Exit::SUCCESS)
    }
}

fn place(port: &Published) -> String {
    port.place()
}
