//! `berth inspect`: whatever a name means: a container, an image, a network, in this order.

use super::{Context, container, image, inspect, network};
use crate::exit::{Failure, Outcome};
use crate::settings::Persona;
use berth_oci::{Error, Kind, Result};

/// Return low-level information on containers, images, networks and volumes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type: container, image, network or volume
    #[arg(long = "type", value_name = "string")]
    kind: Option<String>,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    names: Vec<String>,
}

/// What may be asked for; nothing is whatever the name means.
const KINDS: [&str; 5] = ["", "container", "image", "network", "volume"];

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let get = |name: &str| -> Result<serde_json::Value, Failure> {
            match self.kind.as_deref() {
                None | Some("") => any(context, name, self.size),
                Some("container") => Ok(container::inspect_container(context, name, self.size)?),
                Some("image") => Ok(image_document(context, name)?),
                Some("network") => Ok(network::inspect::get(context, name)?),
                Some(_) => Ok(volume_document(context, name)?),
            }
        };
        if let Some(other) = self.kind.as_deref().filter(|kind| !KINDS.contains(kind)) {
            return Err(Failure::client(Error::invalid(format!(
                "unknown type: {other:?}: must be one of \"container\", \"image\", \"network\", \"volume\""
            ))));
        }
        inspect::show(context, &self.names, self.format.as_deref(), get)
    }
}

/// Docker's command line says this itself, with a word before it that ours puts before every error.
fn no_such_object(persona: Persona, name: &str) -> Error {
    Error::not_found(match persona {
        Persona::Docker => format!("Error: No such object: {name}"),
        Persona::Berth => format!("No such object: {name}"),
    })
}

fn image_document(context: &Context, name: &str) -> Result<serde_json::Value> {
    Ok(image::inspect::document(&context.engine()?.inspect_image(name, None)?))
}

fn volume_document(context: &Context, name: &str) -> Result<serde_json::Value> {
    Ok(super::volume::document(&context.engine()?.volume(name)?))
}

fn any(context: &Context, name: &str, size: bool) -> Result<serde_json::Value, Failure> {
    match container::inspect_container(context, name, size) {
        Err(error) if error.kind() == Kind::NotFound => {}
        found => return Ok(found?),
    }
    match image_document(context, name) {
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Invalid) => {}
        found => return Ok(found?),
    }
    match network::inspect::get(context, name) {
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Invalid) => {}
        found => return Ok(found?),
    }
    volume_document(context, name).map_err(|error| match error.kind() {
        Kind::NotFound | Kind::Invalid => Failure::client(no_such_object(context.settings.persona, name)),
        _ => error.into(),
    })
}
