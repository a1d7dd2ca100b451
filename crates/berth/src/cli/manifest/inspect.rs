//! `berth manifest inspect`: a list in the making, or what a registry has.

use super::reference;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::terminal;
use berth_oci::{Descriptor, Manifest, Reference, Result, media_type};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Display an image manifest, or manifest list.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    /// The list or image
    #[arg(value_name = "[MANIFEST_LIST] MANIFEST", required = true, num_args = 1..=2)]
    names: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let name = reference(&self.names[0])?;
        let local = engine.find_manifest_list(&name).client()?;
        if let [_, member] = &self.names[..] {
            let member = reference(member)?;
            let list = local
                .ok_or_else(|| berth_oci::Error::not_found(format!("No such manifest: {}", name.familiar())));
            let list = list.client()?;
            let found = list.members.iter().find(|known| known.name == member).ok_or_else(|| {
                berth_oci::Error::not_found(format!("No such manifest: {}", member.familiar()))
            });
            let found = found.client()?;
            let by_digest = member.with_digest(found.descriptor.digest.clone());
            let manifest = engine.remote_manifest(&by_digest, self.insecure).client()?;
            terminal::line(pretty(&detail(&member, &found.descriptor, &manifest), "\t"))?;
            return Ok(Exit::SUCCESS);
        }
        let manifest = match local {
            Some(list) => list.manifest(),
            None => engine.remote_manifest(&name, self.insecure).client()?,
        };
        let text = match (self.verbose, manifest.index().is_some()) {
            (false, true) => pretty(&index(&manifest), "   "),
            (false, false) => pretty(&document(&manifest), "\t"),
            (true, _) => pretty(&self.details(context, &name, &manifest).client()?, "\t"),
        };
        terminal::line(text)?;
        Ok(Exit::SUCCESS)
    }

    fn details(&self, context: &Context, name: &Reference, manifest: &Manifest) -> Result<Value> {
        let engine = context.engine()?;
        if manifest.index().is_none() {
            let platform = engine.remote_platform(name, manifest, self.insecure)?;
            return Ok(detail(name, &Descriptor { platform, ..manifest.descriptor() }, manifest));
        }
        let children = manifest.children().iter().map(|child| {
            let by_digest = name.with_digest(child.digest.clone());
            Ok(detail(&by_digest, child, &engine.remote_manifest(&by_digest, self.insecure)?))
        });
        children.collect::<Result<Vec<Value>>>().map(Value::Array)
    }
}

fn document(manifest: &Manifest) -> Value {
    serde_json::from_slice(manifest.raw()).unwrap_or_default()
}

/// Docker's order of an index's fields.
fn index(manifest: &Manifest) -> Value {
    let members: Vec<Value> = manifest.children().iter().map(member).collect();
    json!({"schemaVersion": 2, "mediaType": manifest.media_type(), "manifests": members})
}

fn member(descriptor: &Descriptor) -> Value {
    let mut fields = Map::new();
    fields.insert("mediaType".to_owned(), json!(descriptor.media_type));
    fields.insert("size".to_owned(), json!(descriptor.size));
    fields.insert("digest".to_owned(), json!(descriptor.digest));
    if let Some(platform) = &descriptor.platform {
        fields.insert("platform".to_owned(), json!(platform));
    }
    Value::Object(fields)
}

fn detail(name: &Reference, descriptor: &Descriptor, manifest: &Manifest) -> Value {
    let key = match manifest.media_type() {
        media_type::DOCKER_MANIFEST => "SchemaV2Manifest",
        _ => "OCIManifest",
    };
    json!({
        "Ref": name.familiar(), "Descriptor": descriptor, "Raw": base64(manifest.raw()), key: document(manifest),
    })
}

/// RFC 4648; the only place that needs it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { letter as char } else { '=' });
        }
    }
    out
}

fn pretty(value: &Value, indent: &str) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer).expect("JSON values always serialize");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_pads() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(super::base64(bytes.as_bytes()), expected);
        }
    }
}
