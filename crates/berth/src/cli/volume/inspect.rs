//! `berth volume inspect`.

use crate::cli::{Context, inspect};
use crate::exit::Outcome;
use berth_engine::Volume;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Display detailed information on one or more volumes.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// The volumes
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        inspect::show(context, &self.volumes, self.format.as_deref(), |name| {
            Ok::<_, berth_oci::Error>(document(&context.engine()?.volume(name)?))
        })
    }
}

/// Docker's document about a volume.
pub(crate) fn document(volume: &Volume) -> Value {
    let labels = volume.shown_labels();
    let created = Timestamp::from_second(volume.created.as_second()).unwrap_or(volume.created);
    let or_null = |map: &std::collections::BTreeMap<String, String>| match map.is_empty() {
        true => Value::Null,
        false => json!(map),
    };
    json!({
        "CreatedAt": created.to_string(),
        "Driver": volume.driver(),
        "Labels": or_null(&labels),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": or_null(&volume.document.options),
        "Scope": "local",
    })
}
