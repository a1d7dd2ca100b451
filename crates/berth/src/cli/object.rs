//! `berth inspect`: whatever a name means, a container first.

use super::{Context, container, image, inspect};
use crate::exit::{Failure, Outcome};
use crate::settings::Persona;
use berth_oci::{Error, Kind, Result};

/// Return low-level information on containers and images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type: container or image
    #[arg(long = "type", value_name = "string")]
    kind: Option<String>,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    names: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let (containers, images) = match self.kind.as_deref() {
            None | Some("") => (true, true),
            Some("container") => (true, false),
            Some("image") => (false, true),
            Some(other) => {
                return Err(Failure::client(
                    Error::invalid(format!(
                        "unknown type: {other:?}: must be one of \"container\", \"image\""
                    ))
                    .hint("networks and volumes of your own are not supported yet"),
                ));
            }
        };
        let get = |name: &str| -> Result<serde_json::Value, Failure> {
            match (containers, images) {
                (true, false) => Ok(container::inspect_container(context, name, self.size)?),
                (false, _) => Ok(image_document(context, name)?),
                (true, true) => any(context, name, self.size),
            }
        };
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

fn any(context: &Context, name: &str, size: bool) -> Result<serde_json::Value, Failure> {
    match container::inspect_container(context, name, size) {
        Err(error) if error.kind() == Kind::NotFound => {}
        found => return Ok(found?),
    }
    image_document(context, name).map_err(|error| match error.kind() {
        Kind::NotFound | Kind::Invalid => Failure::client(no_such_object(context.settings.persona, name)),
        _ => error.into(),
    })
}
