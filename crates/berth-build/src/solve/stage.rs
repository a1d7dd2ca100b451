//! A stage: its base, what the base asks of its children, then its instructions one after the other.

use super::graph::{By, FromName, Named};
use super::snapshot::{Link, Snapshot};
use super::step::StepName;
use super::{Solver, config, copy, name, run, workdir};
use crate::dockerfile::{Command, Instruction, Span, parse_trigger};
use crate::event::Event;
use crate::failure::Failure;
use crate::history::{StepOutcome, StepReport};
use crate::host::{BaseImage, Material};
use crate::request::NamedContext;
use berth_oci::{Context, Digest, Error, Kind, Platform, Reference, Result};
use std::time::Instant;

/// An instruction on its turn.
pub(crate) struct Turn<'a> {
    pub(crate) stage: usize,
    pub(crate) instruction: &'a Instruction,
    /// Whether results from before count.
    pub(crate) fresh: bool,
    pub(crate) step: StepName,
}

/// The result of a stage.
pub(super) fn evaluate(solver: &Solver<'_>, index: usize) -> Result<Snapshot, Failure> {
    let file = solver.shared.file;
    let stage = &file.stages[index];
    let at = |span: Span| {
        move |failure: Failure| match failure.place {
            Some(_) => failure,
            None => Failure { place: Some((file.source.clone(), span)), ..failure },
        }
    };
    let counted = stage.instructions.iter().filter(|i| name::is_counted(&i.command)).count();
    let (mut snapshot, triggers) = base(solver, index, counted).map_err(at(stage.span))?;
    let total = 1 + counted + triggers.iter().filter(|i| name::is_counted(&i.command)).count();
    let mut number = 1;
    let own = stage.instructions.iter().map(|instruction| (instruction, instruction.span));
    for (instruction, span) in triggers.iter().map(|trigger| (trigger, stage.span)).chain(own) {
        number += usize::from(name::is_counted(&instruction.command));
        let prefix = name::prefix(solver, index, number, total);
        let step = StepName {
            text: format!("{prefix} {}", name::shown(instruction, &snapshot, file.escape)),
            stage: name::stage(file, index),
            number,
            raw: instruction.text.clone(),
            platform: snapshot.platform.to_string(),
        };
        let turn = Turn { stage: index, instruction, fresh: is_fresh(solver, index), step };
        solver.shared.cancel.check().map_err(Failure::from)?;
        let before = snapshot.layers.len();
        obey(solver, &mut snapshot, &turn).map_err(at(span))?;
        if snapshot.layers.len() > before {
            settle(solver, &mut snapshot, turn.step);
        }
    }
    Ok(snapshot)
}

/// A step has brought layers: whoever looks for reasons later knows what they come to.
fn settle(solver: &Solver<'_>, snapshot: &mut Snapshot, step: StepName) {
    let chain = snapshot.chain();
    solver.shared.recording.settle(&step.stage, step.number, &step.platform, &chain);
    let StepName { stage, number, raw, .. } = step;
    snapshot.lineage.push(Link { stage, number, raw, chain, image: None, digest: None });
}

fn obey(solver: &Solver<'_>, snapshot: &mut Snapshot, turn: &Turn<'_>) -> Result<(), Failure> {
    match &turn.instruction.command {
        Command::Run(command) => run::run(solver, snapshot, turn, command),
        Command::Copy(command) => copy::copy(solver, snapshot, turn, command),
        Command::Add(command) => super::add::add(solver, snapshot, turn, command),
        Command::Workdir(path) => workdir::workdir(solver, snapshot, turn, path),
        command => Ok(config::apply(solver, snapshot, command)?),
    }
}

fn is_fresh(solver: &Solver<'_>, stage: usize) -> bool {
    let wanted = &solver.shared.request.no_cache;
    let name = name::stage(solver.shared.file, stage);
    wanted.all || wanted.stages.iter().any(|stage| stage.to_lowercase() == name)
}

/// What a stage starts from, and the instructions that this asks for.
fn base(solver: &Solver<'_>, index: usize, counted: usize) -> Result<(Snapshot, Vec<Instruction>), Failure> {
    let origin = &solver.graph.origins[index];
    let platform = origin.platform.clone().unwrap_or_else(|| solver.inputs.target_platform.clone());
    let named = solver.shared.request.named_context(&origin.base, &platform);
    let mut snapshot = match (named, origin.stage) {
        (Some((_, NamedContext::Image(reference))), _) => {
            image(solver, index, &Wanted::Name(reference), &platform, counted)?
        }
        (Some((name, NamedContext::Stored(digest))), _) => {
            image(solver, index, &Wanted::Stored { name, digest }, &platform, counted)?
        }
        // A directory as a base: what is in it, and nothing else.
        (Some((name, NamedContext::Directory { .. })), _) => {
            let copy = parse_trigger(&format!("COPY --from={name} / /"))?;
            return Ok((Snapshot::scratch(&platform), vec![copy]));
        }
        (None, Some(stage)) => solver.stage(stage)?.child(),
        (None, None) if origin.base == "scratch" => Snapshot::scratch(&platform),
        (None, None) => {
            let reference: Reference = origin.base.parse().map_err(|error: Error| {
                Error::invalid(format!("failed to parse stage name \"{}\": {error}", origin.base))
            })?;
            image(solver, index, &Wanted::Name(&reference.or_latest()), &platform, counted)?
        }
    };
    let texts = snapshot.image.config.on_build.take().unwrap_or_default();
    let triggers = texts.iter().map(|text| parse_trigger(text)).collect::<Result<Vec<_>, _>>();
    Ok((snapshot, triggers?))
}

/// An image that is wanted.
pub(super) enum Wanted<'a> {
    /// By its name.
    Name(&'a Reference),
    /// It is here; the name is what the build calls it.
    Stored { name: &'a str, digest: &'a Digest },
}

impl Wanted<'_> {
    /// What people call it.
    fn familiar(&self) -> String {
        match self {
            Self::Name(reference) => reference.familiar(),
            Self::Stored { name, .. } => (*name).to_owned(),
        }
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(reference) => reference.fmt(f),
            Self::Stored { name, .. } => f.write_str(name),
        }
    }
}

fn image(
    solver: &Solver<'_>,
    index: usize,
    wanted: &Wanted<'_>,
    platform: &Platform,
    counted: usize,
) -> Result<Snapshot, Failure> {
    let base = fetch(solver, wanted, platform, None)?;
    let shared = solver.shared;
    let step = shared.number();
    let name = format!("{} FROM {wanted}@{}", name::prefix(solver, index, 1, 1 + counted), base.digest);
    shared.tell(Event::Started { step, name: &name });
    shared.tell(Event::Cached { step });
    let digest = base.digest.clone();
    let mut snapshot = Snapshot::of_image(base, platform);
    let link = Link {
        stage: name::stage(shared.file, index),
        number: 1,
        raw: shared.file.stages[index].text.clone(),
        chain: snapshot.chain(),
        image: Some(wanted.familiar()),
        digest: Some(digest.clone()),
    };
    shared.recording.step(StepReport {
        name,
        stage: link.stage.clone(),
        number: 1,
        text: link.raw.clone(),
        operation: "FROM".to_owned(),
        platform: platform.to_string(),
        key: digest,
        chain: link.chain.clone(),
        outcome: StepOutcome::Cached,
        reasons: Vec::new(),
        began_ms: shared.recording.elapsed_ms(),
        took_ms: 0,
        cost_ms: 0,
        cpu_ms: None,
        bytes: 0,
    });
    snapshot.lineage.push(link);
    Ok(snapshot)
}

/// An image by name, told as a step of its own.
pub(super) fn fetch(
    solver: &Solver<'_>,
    wanted: &Wanted<'_>,
    platform: &Platform,
    written: Option<&str>,
) -> Result<BaseImage, Failure> {
    let shared = solver.shared;
    let started = Instant::now();
    let step = shared.number();
    let name = format!("[internal] load metadata for {wanted}");
    shared.tell(Event::Started { step, name: &name });
    let found = match wanted {
        Wanted::Name(reference) => shared.host.image(reference, platform, shared.request.pull),
        Wanted::Stored { digest, .. } => shared.host.stored(digest, platform),
    };
    match found {
        Ok(base) => {
            let (name, digest) = (wanted.to_string(), base.digest.clone());
            shared.note_material(Material::Image { name, platform: platform.to_string(), digest });
            shared.tell(Event::Done { step, elapsed: started.elapsed() });
            Ok(base)
        }
        Err(error) => {
            shared.tell(Event::Failed { step, why: error.message() });
            let guess = written
                .filter(|_| error.kind() == Kind::NotFound)
                .map(|written| {
                    let names = shared.file.stages.iter().filter_map(|stage| stage.name.as_deref());
                    crate::dockerfile::did_you_mean(
                        crate::dockerfile::nearest(written, names, true).as_deref(),
                    )
                })
                .unwrap_or_default();
            let hint = error.hint_text().map(str::to_owned);
            let told = Err::<(), _>(error)
                .context(|| format!("{}: failed to resolve source metadata for {wanted}", wanted.familiar()))
                .expect_err("it was an error before");
            let mut told = Error::new(told.kind(), format!("{told}{guess}"));
            if let Some(hint) = hint {
                told = told.hint(hint);
            }
            let step = crate::failure::StepFailure { name, output: Vec::new(), kept: None };
            Err(Failure { error: told, place: None, step: Some(step) })
        }
    }
}

/// The layers that `--from` names, for the platform of the stage.
pub(super) fn layers_from(
    solver: &Solver<'_>,
    snapshot: &Snapshot,
    turn: &Turn<'_>,
    from: &str,
    by: By,
) -> Result<Option<Vec<crate::host::Layer>>, Failure> {
    let shared = solver.shared;
    let named = Named { file: shared.file, request: shared.request, platform: &snapshot.platform };
    match named.from(from, turn.stage, by) {
        FromName::Stage(index) if index == turn.stage => {
            Err(Error::invalid(format!("circular dependency detected on stage: {from}")).into())
        }
        FromName::Stage(index) => Ok(Some(solver.stage(index)?.layers.clone())),
        FromName::Context(name) => match &shared.request.contexts[name] {
            NamedContext::Image(reference) => {
                Ok(Some(fetch(solver, &Wanted::Name(reference), &snapshot.platform, None)?.layers))
            }
            NamedContext::Stored(digest) => {
                Ok(Some(fetch(solver, &Wanted::Stored { name, digest }, &snapshot.platform, None)?.layers))
            }
            NamedContext::Directory { .. } => Ok(None),
        },
        FromName::Image("scratch") => Ok(Some(Vec::new())),
        FromName::Image(name) => {
            let reference: Reference = name
                .parse()
                .map_err(|error: Error| Error::invalid(format!("invalid from flag value {name}: {error}")))?;
            let wanted = reference.or_latest();
            Ok(Some(fetch(solver, &Wanted::Name(&wanted), &snapshot.platform, Some(name))?.layers))
        }
    }
}
