//! Why a step is done anew: what is different from the build in which it was done last.
//!
//! Here: finding that build's step, comparing what both are made of, saying it. Not here: what a step is made of
//! (`key.rs`, `evidence.rs`). Invariant: the cause that is named is the first one: of a chain of steps, the one that
//! broke it.

use super::evidence::{FileLine, FileSet, StepInputs};
use super::key::Inputs;
use super::snapshot::{Link, Snapshot};
use super::step::StepName;
use super::{Shared, differences};
use crate::history::{BuildReport, Reason, ReasonKind, StepOutcome, StepReport};
use berth_oci::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// A step that is about to be done.
pub(super) struct Miss<'a> {
    pub(super) step: &'a StepName,
    pub(super) snapshot: &'a Snapshot,
    pub(super) inputs: &'a Inputs,
    pub(super) key: &'a Digest,
    pub(super) files: &'a [FileSet<'a>],
}

/// The reasons, the most telling first; never none.
pub(super) fn reasons(shared: &Shared<'_>, miss: &Miss<'_>) -> Vec<Reason> {
    let earlier = shared.recording.earlier();
    if let Some(reason) = same_key(earlier, miss.key) {
        return vec![reason];
    }
    let Some((build, old)) = last_time(earlier, miss.step) else {
        return vec![match earlier.is_empty() {
            true => reason(ReasonKind::FirstBuild, "", "nothing of this project was built before"),
            false => {
                reason(ReasonKind::NewInstruction, &miss.step.raw, "there was no such instruction before")
            }
        }];
    };
    let mut reasons = Vec::new();
    if old.text != miss.step.raw {
        let text = format!("the instruction was `{}`", short(&old.text));
        reasons.push(reason(ReasonKind::Instruction, &miss.step.raw, text));
    }
    let before = shared.store.step_inputs(&old.key).ok().flatten();
    match before.and_then(|bytes| StepInputs::parse(&bytes)) {
        Some(before) => compare(shared, miss, build, &before, &mut reasons),
        None if reasons.is_empty() => {
            let text = "what it was made of the last time is not known any more";
            reasons.push(reason(ReasonKind::Evicted, &miss.step.raw, text));
        }
        None => {}
    }
    if reasons.is_empty() {
        reasons.push(reason(ReasonKind::Option, "", "something about it is different"));
    }
    reasons
}

pub(super) fn reason(kind: ReasonKind, subject: &str, text: impl Into<String>) -> Reason {
    Reason { kind, subject: subject.to_owned(), text: text.into() }
}

/// A clause of all reasons.
pub(super) fn sentence(reasons: &[Reason]) -> String {
    const MOST: usize = 4;
    let mut texts: Vec<&str> = reasons.iter().take(MOST).map(|reason| reason.text.as_str()).collect();
    let more = format!("{} more reasons", reasons.len().saturating_sub(MOST));
    if reasons.len() > MOST {
        texts.push(&more);
    }
    texts.join("; ")
}

/// Exactly this was done before, and is not here.
fn same_key(earlier: &[BuildReport], key: &Digest) -> Option<Reason> {
    let old = earlier.iter().flat_map(|build| &build.steps).find(|step| step.key == *key)?;
    let text = match old.outcome {
        StepOutcome::Failed => "it failed the last time",
        StepOutcome::Canceled => "it was broken off the last time",
        StepOutcome::Cached | StepOutcome::Done => {
            "its result was removed from the cache: by `buildx prune`, or because the cache was full"
        }
    };
    let kind = match old.outcome {
        StepOutcome::Failed | StepOutcome::Canceled => ReasonKind::Unfinished,
        StepOutcome::Cached | StepOutcome::Done => ReasonKind::Evicted,
    };
    Some(reason(kind, &old.text, text))
}

/// The same instruction of the last build that had it; else what stood in its place.
fn last_time<'a>(earlier: &'a [BuildReport], step: &StepName) -> Option<(&'a BuildReport, &'a StepReport)> {
    let same = |old: &&StepReport| old.stage == step.stage && old.text == step.raw;
    let nearest = |build: &'a BuildReport| {
        let near = |old: &&StepReport| (old.platform != step.platform, old.number.abs_diff(step.number));
        build.steps.iter().filter(same).min_by_key(near)
    };
    let in_place = |build: &'a BuildReport| {
        build.steps.iter().find(|old| {
            old.stage == step.stage && old.number == step.number && old.operation == step.operation()
        })
    };
    let found = |find: &dyn Fn(&'a BuildReport) -> Option<&'a StepReport>| {
        earlier.iter().find_map(|build| Some((build, find(build)?)))
    };
    found(&nearest).or_else(|| found(&in_place))
}

fn compare(
    shared: &Shared<'_>,
    miss: &Miss<'_>,
    build: &BuildReport,
    before: &StepInputs,
    reasons: &mut Vec<Reason>,
) {
    let is_reworded = !reasons.is_empty();
    let (old, new) = (by_name(&before.inputs), by_name(miss.inputs));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let changed: Vec<&str> = names.into_iter().filter(|name| old.get(name) != new.get(name)).collect();
    if changed.contains(&"base") {
        reasons.push(below(shared, miss, build));
    }
    if changed.iter().any(|name| name.starts_with("files ") || name.starts_with("mount ")) {
        let lines = miss.files.iter().flat_map(FileSet::lines).collect();
        reasons.extend(files(shared, build, &before.files, lines));
    }
    let has_files = reasons.iter().any(|reason| reason.kind == ReasonKind::File);
    let arguments: BTreeSet<String> = miss.snapshot.scope.args().into_iter().map(|(name, _)| name).collect();
    for name in changed {
        let values = |of: &BTreeMap<&str, Vec<&str>>| of.get(name).map(|values| values.join(" "));
        let said = differences::Input {
            name,
            old: values(&old),
            new: values(&new),
            is_reworded,
            has_files,
            arguments: &arguments,
        };
        reasons.extend(said.reason());
    }
}

fn by_name(inputs: &Inputs) -> BTreeMap<&str, Vec<&str>> {
    let mut map: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &inputs.0 {
        map.entry(name).or_default().push(value);
    }
    map
}

/// The first thing below a step that is not as it was.
fn below(shared: &Shared<'_>, miss: &Miss<'_>, build: &BuildReport) -> Reason {
    let platform = &miss.step.platform;
    let then = |link: &Link| {
        let is_it = |old: &&StepReport| {
            old.stage == link.stage
                && old.text == link.raw
                && !old.chain.is_empty()
                && old.platform == *platform
        };
        build.steps.iter().filter(is_it).min_by_key(|old| old.number.abs_diff(link.number))
    };
    for link in &miss.snapshot.lineage {
        match then(link) {
            Some(old) if old.chain == link.chain => {}
            Some(old) if link.image.is_some() => return moved(link, old),
            None if link.image.is_some() => {
                let image = link.image.as_deref().unwrap_or_default();
                return reason(
                    ReasonKind::Base,
                    image,
                    format!("its stage starts from {image}, which it did not"),
                );
            }
            Some(_) => return broke(shared, link),
            None => {
                let text = format!("`{}`, before it, is new", short(&link.raw));
                return reason(ReasonKind::Earlier, &link.raw, text);
            }
        }
    }
    let is_gone = |old: &&StepReport| {
        old.stage == miss.step.stage
            && old.operation != "FROM"
            && !miss.snapshot.lineage.iter().any(|link| link.raw == old.text && link.stage == old.stage)
    };
    match build.steps.iter().find(is_gone) {
        Some(old) => {
            let text = format!("`{}`, before it, is gone", short(&old.text));
            reason(ReasonKind::Earlier, &old.text, text)
        }
        None => reason(ReasonKind::Earlier, "", "a layer below it is another one"),
    }
}

fn moved(link: &Link, old: &StepReport) -> Reason {
    let image = link.image.as_deref().unwrap_or_default();
    let text = match &link.digest {
        Some(new) => format!(
            "the base image {image} is another one: {} instead of {}",
            short_digest(new),
            short_digest(&old.key)
        ),
        None => format!("the base image {image} is another one"),
    };
    reason(ReasonKind::Base, image, text)
}

/// A step of this build that made something else than the last time.
fn broke(shared: &Shared<'_>, link: &Link) -> Reason {
    let cause = shared.recording.so_far(|report| {
        let is_it = |step: &&StepReport| step.stage == link.stage && step.text == link.raw;
        report.steps.iter().rfind(is_it).map(|step| sentence(&step.reasons)).filter(|text| !text.is_empty())
    });
    let because = cause.map(|cause| format!(", because {cause}")).unwrap_or_default();
    let text = format!("`{}`, before it, made something else{because}", short(&link.raw));
    reason(ReasonKind::Earlier, &link.raw, text)
}

/// Which files differ, and how.
fn files(shared: &Shared<'_>, build: &BuildReport, old: &[FileLine], new: Vec<FileLine>) -> Vec<Reason> {
    const MOST: usize = 50;
    let before: BTreeMap<&str, &FileLine> = old.iter().map(|line| (line.path.as_str(), line)).collect();
    let after: BTreeMap<&str, &FileLine> = new.iter().map(|line| (line.path.as_str(), line)).collect();
    let rules = shared.recording.so_far(|report| report.ignore.clone());
    let ignore = if rules == build.ignore { "" } else { " (the ignore file says something else)" };
    let mut reasons = Vec::new();
    for path in before.keys().chain(after.keys()).copied().collect::<BTreeSet<&str>>() {
        let text = match (before.get(path), after.get(path)) {
            (Some(old), Some(new)) => match new.difference(old) {
                Some(text) => text,
                None => continue,
            },
            (None, Some(new)) => format!("`{path}` came{}{ignore}", new.since()),
            (Some(_), None) => format!("`{path}` is gone{ignore}"),
            (None, None) => continue,
        };
        reasons.push(reason(ReasonKind::File, path, text));
    }
    // One sentence for all of them, each a subject of its own for whoever counts.
    reasons.truncate(MOST);
    reasons
}

/// An instruction in one short line.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 80;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn short_digest(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm().as_str(), &digest.hex()[..12])
}
