//! `berth buildx imagetools inspect`.

use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::format::template::{self, Options, Template};
use crate::terminal;
use berth_engine::Engine;
use berth_oci::{Descriptor, Manifest, Reference, Result};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// No config and no statement is larger, in bytes.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// Show details of an image in the registry.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Format the output using the given Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show original, unformatted JSON manifest
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// The image
    #[arg(value_name = "NAME")]
    name: Reference,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let name = self.name.clone().or_latest();
        let manifest = engine.remote_manifest(&name, false)?;
        if self.raw {
            terminal::print(manifest.raw())?;
            return Ok(Exit::SUCCESS);
        }
        let Some(format) = &self.format else {
            terminal::print(text(&name, &manifest))?;
            return Ok(Exit::SUCCESS);
        };
        let parsed = Template::parse(format).client()?;
        let data = data(engine, &name, &manifest, format)?;
        terminal::line(parsed.render(&template::Value::from_json(&data), Options::default()).client()?)?;
        Ok(Exit::SUCCESS)
    }
}

/// As people read it.
fn text(name: &Reference, manifest: &Manifest) -> String {
    let mut text = format!(
        "Name:      {name}\nMediaType: {}\nDigest:    {}\n",
        manifest.media_type(),
        manifest.digest()
    );
    if manifest.children().is_empty() {
        return text;
    }
    text.push_str("           \nManifests: \n");
    for child in manifest.children() {
        let by_digest = name.name_only().with_digest(child.digest.clone());
        let _ = writeln!(text, "  Name:        {by_digest}\n  MediaType:   {}", child.media_type);
        if let Some(platform) = &child.platform {
            let _ = writeln!(text, "  Platform:    {platform}");
        }
        if !child.annotations.is_empty() {
            text.push_str("  Annotations: \n");
            for (key, value) in &child.annotations {
                let _ = writeln!(text, "    {key}: {value}");
            }
        }
        text.push_str("               \n");
    }
    text
}

/// What a template sees; configs and statements are fetched only where it asks for them.
fn data(engine: &Engine, name: &Reference, manifest: &Manifest, format: &str) -> Result<Value> {
    let mut data = Map::new();
    data.insert("Name".to_owned(), name.to_string().into());
    let mut about: Value = serde_json::from_slice(manifest.raw()).unwrap_or_default();
    about["digest"] = manifest.digest().to_string().into();
    about["size"] = manifest.raw().len().into();
    about["mediaType"] = manifest.media_type().into();
    data.insert("Manifest".to_owned(), about);
    if format.contains(".Image") {
        data.insert("Image".to_owned(), per_platform(name, manifest, |at, child| config(engine, at, child))?);
    }
    for (field, kind, inner) in
        [("Provenance", "https://slsa.dev/provenance/", "SLSA"), ("SBOM", "https://spdx.dev/", "SPDX")]
    {
        if format.contains(&format!(".{field}")) {
            let found = per_platform(name, manifest, |at, child| {
                let statement = statement(engine, at, manifest, child, kind)?;
                Ok(statement.map(|predicate| json!({ inner: predicate })))
            })?;
            data.insert(field.to_owned(), found);
        }
    }
    Ok(Value::Object(data))
}

/// Of one image the value itself, of several one for each platform.
fn per_platform(
    name: &Reference,
    manifest: &Manifest,
    mut get: impl FnMut(&Reference, &Descriptor) -> Result<Option<Value>>,
) -> Result<Value> {
    let is_image =
        |child: &&Descriptor| child.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
    let images: Vec<&Descriptor> = manifest.children().iter().filter(is_image).collect();
    if manifest.index().is_none() {
        return Ok(get(name, &manifest.descriptor())?.unwrap_or(Value::Null));
    }
    let mut all = Map::new();
    for child in &images {
        if let Some(value) = get(name, child)? {
            let platform =
                child.platform.as_ref().map_or_else(|| child.digest.to_string(), ToString::to_string);
            all.insert(platform, value);
        }
    }
    match (images.len(), all.values().next()) {
        (1, Some(only)) => Ok(only.clone()),
        _ => Ok(Value::Object(all)),
    }
}

fn config(engine: &Engine, name: &Reference, child: &Descriptor) -> Result<Option<Value>> {
    let manifest = at(engine, name, child)?;
    let Some(image) = manifest.image() else { return Ok(None) };
    let bytes = engine.remote_document(name, &image.config, DOCUMENT_LIMIT)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// What is attested of an image.
fn statement(
    engine: &Engine,
    name: &Reference,
    root: &Manifest,
    child: &Descriptor,
    kind: &str,
) -> Result<Option<Value>> {
    let is_about =
        |entry: &&Descriptor| entry.annotation("vnd.docker.reference.digest") == Some(child.digest.as_str());
    let Some(entry) = root.children().iter().find(is_about) else { return Ok(None) };
    let attestation = at(engine, name, entry)?;
    let layers = attestation.image().map(|image| image.layers.clone()).unwrap_or_default();
    let is_of_kind = |layer: &&Descriptor| {
        layer.annotation("in-toto.io/predicate-type").is_some_and(|own| own.starts_with(kind))
    };
    let Some(layer) = layers.iter().find(is_of_kind) else { return Ok(None) };
    let bytes = engine.remote_document(name, layer, DOCUMENT_LIMIT)?;
    let statement: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(statement.get("predicate").cloned())
}

fn at(engine: &Engine, name: &Reference, child: &Descriptor) -> Result<Manifest> {
    engine.remote_manifest(&name.name_only().with_digest(child.digest.clone()), false)
}
