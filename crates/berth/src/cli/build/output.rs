//! `--output`: words into places.

use berth_engine::{BuildOutput, Engine};
use berth_oci::{AtPath, Error, Result};
use berth_store::Workplace;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Where results go, and what is written to standard output in the end.
pub(super) struct Outputs {
    pub(super) engine: Vec<BuildOutput>,
    /// A file that goes to standard output.
    printed: Option<(PathBuf, Workplace)>,
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
pub(super) fn parse(texts: &[String], load: bool, push: bool, engine: &Engine) -> Result<Outputs> {
    let mut outputs = Outputs { engine: Vec::new(), printed: None };
    for text in texts {
        let one = one(text, engine, &mut outputs.printed)?;
        outputs.engine.push(one);
    }
    if push {
        outputs.engine.push(BuildOutput::Registry);
    }
    if load || outputs.engine.is_empty() {
        outputs.engine.insert(0, BuildOutput::Store);
    }
    Ok(outputs)
}

fn one(text: &str, engine: &Engine, printed: &mut Option<(PathBuf, Workplace)>) -> Result<BuildOutput> {
    if !text.contains('=') {
        return match text {
            "-" => Ok(BuildOutput::Tar(stdout(engine, printed)?)),
            directory => Ok(BuildOutput::Local(directory.into())),
        };
    }
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid field '{field}' must be a key=value pair")))?;
        fields.insert(key.trim().to_lowercase(), value.to_owned());
    }
    let typ =
        fields.remove("type").ok_or_else(|| Error::invalid(format!("type is required for output {text}")))?;
    let dest = fields.remove("dest").or(fields.remove("destination"));
    let file = |printed: &mut Option<_>| match dest.as_deref() {
        Some("-") | None => stdout(engine, printed),
        Some(path) => Ok(PathBuf::from(path)),
    };
    let flag =
        |fields: &mut BTreeMap<String, String>, key: &str| fields.remove(key).is_some_and(|v| v == "true");
    let output = match typ.as_str() {
        "local" => BuildOutput::Local(
            dest.ok_or_else(|| Error::invalid("dest is required for local output"))?.into(),
        ),
        "tar" => BuildOutput::Tar(file(printed)?),
        "oci" => match fields.remove("tar").as_deref() {
            Some("false") => BuildOutput::OciDirectory(
                dest.ok_or_else(|| Error::invalid("dest is required for an OCI layout directory"))?.into(),
            ),
            _ => BuildOutput::Oci(file(printed)?),
        },
        "docker" => match dest.as_deref() {
            None => BuildOutput::Store,
            Some(_) => BuildOutput::Docker(file(printed)?),
        },
        "image" => match flag(&mut fields, "push") {
            true => BuildOutput::Registry,
            false => BuildOutput::Store,
        },
        "registry" => BuildOutput::Registry,
        "cacheonly" => BuildOutput::Nothing,
        other => {
            return Err(Error::invalid(format!("unsupported output type {other}"))
                .hint("there are local, tar, oci, docker, image, registry and cacheonly"));
        }
    };
    match fields.keys().next() {
        None => Ok(output),
        Some(key) => Err(Error::unsupported(format!("--output {text}: {key} is not supported"))),
    }
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
