//! `--output`: words into places.

use super::fields::Fields;
use super::packing::packing;
use berth_engine::{Annotated, BuildAnnotation, BuildOutput, Engine, ImageForm, OutputPlace};
use berth_oci::{AtPath, Error, Platform, Reference, Result};
use berth_store::{Packing, Workplace};
use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Where results go, and what is written to standard output in the end.
pub(super) struct Outputs {
    pub(super) engine: Vec<BuildOutput>,
    /// A file that goes to standard output.
    printed: Option<(PathBuf, Workplace)>,
}

/// What outputs are read with.
pub(super) struct Words<'a> {
    /// `--output`.
    pub(super) texts: &'a [String],
    /// `--load`.
    pub(super) load: bool,
    /// `--push`.
    pub(super) push: bool,
    /// Whether there is a moment that nothing is younger than.
    pub(super) has_epoch: bool,
}

impl Outputs {
    /// Prints what is to be printed.
    pub(super) fn finish(&self) -> Result<()> {
        let Some((path, _place)) = &self.printed else { return Ok(()) };
        let mut file = File::open(path).at(path)?;
        std::io::copy(&mut file, &mut std::io::stdout().lock()).at("stdout").map(drop)
    }
}

/// Reads the flags; none means the store.
pub(super) fn parse(words: &Words<'_>, engine: &Engine) -> Result<Outputs> {
    let mut outputs = Outputs { engine: Vec::new(), printed: None };
    for text in words.texts {
        let one = one(text, words, engine, &mut outputs.printed)?;
        outputs.engine.push(one);
    }
    let is_push = |output: &BuildOutput| matches!(output.to, OutputPlace::Registry { .. });
    if words.push && !outputs.engine.iter().any(is_push) {
        outputs.engine.push(OutputPlace::Registry { by_digest: false }.into());
    }
    if words.load || outputs.engine.is_empty() {
        outputs.engine.insert(0, OutputPlace::Store.into());
    }
    Ok(outputs)
}

fn one(
    text: &str,
    words: &Words<'_>,
    engine: &Engine,
    printed: &mut Option<(PathBuf, Workplace)>,
) -> Result<BuildOutput> {
    if !text.contains('=') {
        return match text {
            "-" => Ok(OutputPlace::Tar(stdout(engine, printed)?).into()),
            directory => Ok(OutputPlace::Local { directory: directory.into(), split: true }.into()),
        };
    }
    let mut fields = Fields::read("--output", text)?;
    let typ =
        fields.take("type").ok_or_else(|| Error::invalid(format!("type is required for output {text}")))?;
    let dest = fields.take("dest").or(fields.take("destination"));
    let file = |printed: &mut Option<_>| match dest.as_deref() {
        Some("-") | None => stdout(engine, printed),
        Some(path) => Ok(PathBuf::from(path)),
    };
    let directory = |what: &str| {
        dest.clone().map(PathBuf::from).ok_or_else(|| Error::invalid(format!("dest is required for {what}")))
    };
    let to = match typ.as_str() {
        "local" => OutputPlace::Local {
            directory: directory("local output")?,
            split: fields.switch("platform-split")?.unwrap_or(true),
        },
        "tar" => OutputPlace::Tar(file(printed)?),
        "oci" => match fields.switch("tar")? {
            Some(false) => OutputPlace::OciDirectory(directory("an OCI layout directory")?),
            _ => OutputPlace::Oci(file(printed)?),
        },
        "docker" => match dest.as_deref() {
            None => OutputPlace::Store,
            Some(_) => OutputPlace::Docker(file(printed)?),
        },
        "image" | "registry" => {
            let by_digest = fields.switch("push-by-digest")?.unwrap_or(false);
            match fields.switch("push")?.unwrap_or(typ == "registry") || by_digest {
                true => OutputPlace::Registry { by_digest },
                false => OutputPlace::Store,
            }
        }
        "cacheonly" => OutputPlace::Nothing,
        other => {
            return Err(Error::invalid(format!("unsupported output type {other}"))
                .hint("there are local, tar, oci, docker, image, registry and cacheonly"));
        }
    };
    let output = match &to {
        OutputPlace::Local { .. } | OutputPlace::Tar(_) | OutputPlace::Nothing => to.into(),
        _ => image(to, words, &mut fields)?,
    };
    fields.finish()?;
    Ok(output)
}

/// What is said of an image's form.
fn image(to: OutputPlace, words: &Words<'_>, fields: &mut Fields<'_>) -> Result<BuildOutput> {
    let names = fields.take("name").unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty()).map(|name| name.parse::<Reference>());
    let names = names.map(|name| name.map(Reference::or_latest)).collect::<Result<Vec<_>>>()?;
    let is_stored = to == OutputPlace::Store;
    let (packing, force) = (packing(fields)?, fields.switch("force-compression")?.unwrap_or(false));
    let docker_types = fields.switch("oci-mediatypes")? == Some(false);
    if is_stored && (packing.is_some_and(|packing| packing != Packing::Plain) || docker_types || force) {
        return Err(Error::unsupported("compression and media types are for images that leave this machine")
            .hint("layers lie in the store as plain tars; add push=true, or a type=oci with dest=…"));
    }
    // Layers lie unpacked in the store as soon as they are there.
    if is_stored {
        fields.switch("unpack")?;
    }
    if fields.switch("rewrite-timestamp")? == Some(true) && !words.has_epoch {
        return Err(Error::invalid("rewrite-timestamp=true needs SOURCE_DATE_EPOCH").hint(
            "--build-arg SOURCE_DATE_EPOCH=SECONDS; layers that are made with it hold nothing younger",
        ));
    }
    let form = match is_stored {
        true => ImageForm::STORED,
        false => ImageForm { packing: Some(packing.unwrap_or_default()), force, docker_types },
    };
    Ok(BuildOutput { to, form, names, annotations: annotations(fields)? })
}

/// `annotation.key=`, `annotation-index.key=`, `annotation[linux/arm64].key=`.
fn annotations(fields: &mut Fields<'_>) -> Result<Vec<BuildAnnotation>> {
    let found = fields.take_all(|key| key.starts_with("annotation"));
    let read = found.iter().map(|(name, value)| {
        let unknown = || Error::invalid(format!("--output: {name} is no annotation"));
        let rest = name.strip_prefix("annotation").unwrap_or_default();
        let (kind, rest) = match rest.strip_prefix('-') {
            Some(rest) => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
            None => ("manifest", rest),
        };
        let (platform, rest) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (platform, rest) = rest.split_once(']').ok_or_else(unknown)?;
                (Some(platform.parse::<Platform>()?), rest)
            }
            None => (None, rest),
        };
        let key = rest.strip_prefix('.').filter(|key| !key.is_empty()).ok_or_else(unknown)?;
        Ok(BuildAnnotation::new(kind.parse::<Annotated>()?, platform, key, value))
    });
    read.collect()
}

/// A file that is printed at the end.
fn stdout(engine: &Engine, printed: &mut Option<(PathBuf, Workplace)>) -> Result<PathBuf> {
    if std::io::stdout().is_terminal() {
        return Err(Error::invalid("dest file is required for this output when stdout is a terminal")
            .hint("name one with dest=, or redirect stdout"));
    }
    let place = engine.store()?.workplace()?;
    let path = place.directory()?.join("output");
    *printed = Some((path.clone(), place));
    Ok(path)
}
