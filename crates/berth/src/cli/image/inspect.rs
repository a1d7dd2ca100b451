//! `berth image inspect`, in the shape of docker's API 1.51.

use crate::cli::{Context, inspect};
use crate::exit::{ClientSide, Outcome};
use berth_engine::ImageDetails;
use berth_oci::{ImageConfig, Platform, Reference, Result};
use berth_store::PlatformImage;
use serde_json::{Map, Value, json};

/// Display detailed information on one or more images.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format output using a Go template, or 'json'
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Inspect the image for the given platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose().client()?;
        inspect::show(context, &self.images, self.format.as_deref(), |name| -> Result<Value> {
            Ok(document(&context.engine()?.inspect_image(name, platform.as_ref())?))
        })
    }
}

/// Docker's document about an image.
pub(crate) fn document(details: &ImageDetails) -> Value {
    let record = &details.record;
    let id = record.target.as_str();
    let tags: Vec<String> =
        record.names.iter().filter(|n| n.tag().is_some()).map(Reference::familiar).collect();
    let empty = ImageConfig::default();
    let config = details.image.as_ref().map_or(&empty, |image| &image.config);
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
    put("Id", json!(id));
    put("RepoTags", json!(tags));
    put("RepoDigests", json!(digests(details)));
    put("Parent", json!(""));
    put("Comment", json!(comment(config)));
    put("Created", json!(config.created.as_deref().unwrap_or("0001-01-01T00:00:00Z")));
    put("DockerVersion", json!(config.docker_version.as_deref().unwrap_or_default()));
    put("Author", json!(config.author.as_deref().unwrap_or_default()));
    put("Architecture", json!(config.architecture));
    if let Some(variant) = &config.variant {
        put("Variant", json!(variant));
    }
    put("Os", json!(config.os));
    if let Some(version) = &config.os_version {
        put("OsVersion", json!(version));
    }
    put("Size", json!(details.content_size));
    put("GraphDriver", json!({"Data": null, "Name": "overlayfs"}));
    put("RootFS", json!({"Type": "layers", "Layers": config.rootfs.diff_ids}));
    put("Metadata", json!({"LastTagTime": record.tagged_at.to_string()}));
    put("Descriptor", json!(details.descriptor()));
    put("Config", details.image.as_ref().map_or(Value::Null, runtime_config));
    Value::Object(document)
}

/// What registries call the image: what they got in a push, or else the image's own digest.
fn digests(details: &ImageDetails) -> Vec<String> {
    let record = &details.record;
    let mut repositories: Vec<&str> = record.names.iter().map(Reference::familiar_name).collect();
    let pushes = &details.pushes;
    repositories.extend(pushes.iter().map(Reference::familiar_name));
    repositories.sort();
    repositories.dedup();
    let of = |repository: &str| {
        let pushed: Vec<String> = pushes
            .iter()
            .filter(|name| name.familiar_name() == repository)
            .map(Reference::familiar)
            .collect();
        if pushed.is_empty() { vec![format!("{repository}@{}", record.target)] } else { pushed }
    };
    repositories.into_iter().flat_map(of).collect()
}

/// The comment of the image, or of its last step.
fn comment(config: &ImageConfig) -> &str {
    let last = || config.history.last().and_then(|step| step.comment.as_deref());
    config.comment.as_deref().filter(|text| !text.is_empty()).or_else(last).unwrap_or_default()
}

/// The `config` part with docker's defaults for what it does not say, sorted as docker sorts it.
fn runtime_config(image: &PlatformImage) -> Value {
    let raw: Value = serde_json::from_slice(&image.raw_config).unwrap_or_default();
    let mut fields: Vec<(String, Value)> = Vec::new();
    for (key, default) in [
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Env", Value::Null),
        ("Labels", Value::Null),
        ("OnBuild", Value::Null),
        ("User", json!("")),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
    ] {
        let value = raw["config"].get(key).filter(|value| !value.is_null()).cloned().unwrap_or(default);
        fields.push((key.to_owned(), value));
    }
    for key in ["ArgsEscaped", "ExposedPorts", "Healthcheck", "Shell", "StopSignal"] {
        let value = raw["config"].get(key).filter(|value| !matches!(value, Value::Null | Value::Bool(false)));
        fields.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Value::Object(fields.into_iter().collect())
}
