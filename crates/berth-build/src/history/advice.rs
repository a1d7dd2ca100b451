//! What many builds of a project teach: which instruction stands in the wrong place, and what that has cost.
//!
//! Here: mistakes that only the past shows; those that a Dockerfile's text shows are [`crate::check`]'s. Invariant:
//! every figure is a sum of times that were measured; nothing is guessed.

use super::{BuildReport, ReasonKind, StepOutcome, StepReport};
use std::collections::{BTreeMap, BTreeSet};

/// Something to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The instruction, image or option that it is about.
    pub subject: String,
    /// What it has cost in these builds, in milliseconds.
    pub cost_ms: u64,
    /// One sentence for people.
    pub text: String,
}

/// An instruction has to have been done anew so often for anybody to care.
const OFTEN: usize = 3;
/// Less than this is not worth a sentence, in milliseconds of all builds together.
const WORTH: u64 = 5_000;

/// What these builds of one project teach, the costliest first.
#[must_use]
pub fn advise(builds: &[BuildReport]) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(left_in(builds));
    all.extend(copied_early(builds));
    all.extend(declared_early(builds));
    all.extend(moving_bases(builds));
    all.extend(without_cache(builds));
    all.extend(evicted(builds));
    all.sort_by(|a, b| b.cost_ms.cmp(&a.cost_ms).then_with(|| a.subject.cmp(&b.subject)));
    all
}

/// One build in which one step was done anew because of files: the files, and what followed from it.
struct Miss<'a> {
    files: BTreeSet<&'a str>,
    /// The steps below it that had to be done again only because of it.
    followers: Vec<&'a StepReport>,
    own_ms: u64,
}

impl Miss<'_> {
    /// Whether nobody wants any of its files in an image.
    fn is_junk(&self) -> bool {
        self.files.iter().all(|file| junk(file).is_some())
    }
}

/// `COPY` and `ADD` by stage and text: in how many builds each was reached, and its misses.
fn copies(builds: &[BuildReport]) -> BTreeMap<(&str, &str), (usize, Vec<Miss<'_>>)> {
    let mut copies: BTreeMap<(&str, &str), (usize, Vec<Miss<'_>>)> = BTreeMap::new();
    for build in builds {
        for step in build.steps.iter().filter(|step| matches!(step.operation.as_str(), "COPY" | "ADD")) {
            let (reached, misses) = copies.entry((&step.stage, &step.text)).or_default();
            *reached += 1;
            let files: BTreeSet<&str> = subjects(step, ReasonKind::File).collect();
            if step.outcome == StepOutcome::Done && !files.is_empty() {
                misses.push(Miss { files, followers: followers(build, &step.text), own_ms: step.took_ms });
            }
        }
    }
    copies
}

/// The steps that were done only because the one with that text made something else.
fn followers<'a>(build: &'a BuildReport, text: &str) -> Vec<&'a StepReport> {
    let only_because = |step: &&StepReport| {
        step.outcome == StepOutcome::Done
            && !step.reasons.is_empty()
            && step.reasons.iter().all(|reason| reason.kind == ReasonKind::Earlier && reason.subject == text)
    };
    build.steps.iter().filter(only_because).collect()
}

fn subjects(step: &StepReport, kind: ReasonKind) -> impl Iterator<Item = &str> {
    step.reasons.iter().filter(move |reason| reason.kind == kind).map(|reason| reason.subject.as_str())
}

/// Files that nobody wants in an image, and whose changes spoil the cache.
fn left_in(builds: &[BuildReport]) -> Vec<Advice> {
    let mut all = Vec::new();
    for ((_, text), (reached, misses)) in copies(builds) {
        let spoiled: Vec<&Miss<'_>> = misses.iter().filter(|miss| miss.is_junk()).collect();
        let cost_ms = spoiled.iter().map(|miss| miss.own_ms + total(&miss.followers)).sum();
        if spoiled.len() < OFTEN || cost_ms < WORTH {
            continue;
        }
        let patterns: BTreeSet<&str> =
            spoiled.iter().flat_map(|miss| miss.files.iter().filter_map(|file| junk(file))).collect();
        let patterns = patterns.into_iter().collect::<Vec<_>>().join("`, `");
        all.push(Advice {
            subject: text.to_owned(),
            cost_ms,
            text: format!(
                "`{text}` was done anew in {} of {reached} builds because of nothing but `{patterns}`; a line in \
                 .dockerignore for each would have saved {}",
                spoiled.len(),
                duration(cost_ms)
            ),
        });
    }
    all
}

/// The pattern that leaves a file out which does not belong into an image.
fn junk(path: &str) -> Option<&'static str> {
    const DIRECTORIES: [&str; 9] = [
        ".git",
        "node_modules",
        "__pycache__",
        ".idea",
        ".vscode",
        ".venv",
        ".pytest_cache",
        ".mypy_cache",
        ".terraform",
    ];
    const ENDINGS: [&str; 6] = [".log", ".swp", ".pyc", ".tmp", ".DS_Store", "~"];
    const ANY_ENDING: [&str; 6] = ["**/*.log", "**/*.swp", "**/*.pyc", "**/*.tmp", "**/.DS_Store", "**/*~"];
    let found = DIRECTORIES.iter().find(|directory| path.split('/').any(|part| part == **directory));
    found.copied().or_else(|| ENDINGS.iter().position(|end| path.ends_with(end)).map(|at| ANY_ENDING[at]))
}

/// A copy that changes often and stands above work that could do without it.
fn copied_early(builds: &[BuildReport]) -> Vec<Advice> {
    let mut all = Vec::new();
    for ((_, text), (reached, mut misses)) in copies(builds) {
        misses.retain(|miss| !miss.is_junk());
        if misses.len() < OFTEN || misses.len() * 3 < reached {
            continue;
        }
        let Some((run, cost_ms)) = movable(&misses) else { continue };
        let files: BTreeSet<&str> = misses.iter().flat_map(|miss| miss.files.iter().copied()).collect();
        let names = files.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        let more = if files.len() > 3 { ", …" } else { "" };
        let count = plural(files.len(), "file");
        let manifests = match manifests_of(&run) {
            Some(manifests) => format!(" (copy {manifests} alone before it)"),
            None => String::new(),
        };
        all.push(Advice {
            subject: text.to_owned(),
            cost_ms,
            text: format!(
                "`{text}` missed {} of {reached} builds because of {count} ({names}{more}); below `{run}` it would \
                 have saved {}{manifests}",
                misses.len(),
                duration(cost_ms)
            ),
        });
    }
    all
}

/// The step below which a copy should stand: an installation of dependencies, else the costliest; and what all
/// steps up to it have cost.
fn movable(misses: &[Miss<'_>]) -> Option<(String, u64)> {
    let mut runs: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    for step in misses.iter().flat_map(|miss| miss.followers.iter()).filter(|step| step.operation == "RUN") {
        *runs.entry((step.number, &step.text)).or_default() += step.took_ms;
    }
    let installs = runs.iter().filter(|((_, text), _)| manifests_of(text).is_some());
    let (at, text) = match installs.max_by_key(|(_, cost)| **cost) {
        Some((run, _)) => *run,
        None => *runs.iter().max_by_key(|(_, cost)| **cost)?.0,
    };
    let cost = runs.iter().filter(|((number, _), _)| *number <= at).map(|(_, cost)| cost).sum();
    (cost >= WORTH).then(|| (text.to_owned(), cost))
}

/// What an installation of dependencies reads.
fn manifests_of(run: &str) -> Option<&'static str> {
    const INSTALLERS: [(&str, &str); 12] = [
        ("npm ci", "package.json and package-lock.json"),
        ("npm install", "package.json and package-lock.json"),
        ("yarn install", "package.json and yarn.lock"),
        ("pnpm install", "package.json and pnpm-lock.yaml"),
        ("pip install -r", "requirements.txt"),
        ("poetry install", "pyproject.toml and poetry.lock"),
        ("uv sync", "pyproject.toml and uv.lock"),
        ("bundle install", "Gemfile and Gemfile.lock"),
        ("go mod download", "go.mod and go.sum"),
        ("cargo fetch", "Cargo.toml and Cargo.lock"),
        ("composer install", "composer.json and composer.lock"),
        ("mvn dependency:", "pom.xml"),
    ];
    INSTALLERS.iter().find(|(command, _)| run.contains(command)).map(|(_, manifests)| *manifests)
}

/// A variable that changes often and is known to steps that never ask for it.
fn declared_early(builds: &[BuildReport]) -> Vec<Advice> {
    let mut all = Vec::new();
    for kind in [ReasonKind::Argument, ReasonKind::Environment] {
        let names: BTreeSet<&str> =
            builds.iter().flat_map(|build| &build.steps).flat_map(|step| subjects(step, kind)).collect();
        all.extend(names.into_iter().filter_map(|name| declared_early_one(builds, kind, name)));
    }
    all
}

fn declared_early_one(builds: &[BuildReport], kind: ReasonKind, name: &str) -> Option<Advice> {
    let (mut changed, mut cost_ms) = (0, 0);
    let mut steps: BTreeMap<&str, u64> = BTreeMap::new();
    for build in builds {
        let of_it = |step: &&StepReport| {
            let others = step.reasons.iter().filter(|r| (r.kind, r.subject.as_str()) != (kind, name));
            step.outcome == StepOutcome::Done
                && subjects(step, kind).any(|subject| subject == name)
                && others.clone().all(|reason| reason.kind == ReasonKind::Earlier)
        };
        let spoiled: Vec<&StepReport> = build.steps.iter().filter(of_it).collect();
        changed += usize::from(!spoiled.is_empty());
        // Whoever uses it has to be done anew, wherever it is declared.
        for step in spoiled.into_iter().filter(|step| !step.text.contains(name)) {
            let cost = step.took_ms + total(&followers(build, &step.text));
            cost_ms += cost;
            *steps.entry(&step.text).or_default() += cost;
        }
    }
    let (text, _) = steps.into_iter().max_by_key(|(_, cost)| *cost)?;
    if changed < OFTEN || cost_ms < WORTH {
        return None;
    }
    let word = if kind == ReasonKind::Argument { "ARG" } else { "ENV" };
    Some(Advice {
        subject: format!("{word} {name}"),
        cost_ms,
        text: format!(
            "`{word} {name}` had another value in {changed} of {} builds, and `{text}`, which does not use it, was \
             done anew each time; below that step it would have saved {}",
            builds.len(),
            duration(cost_ms)
        ),
    })
}

/// A base image whose name means another image every few days.
fn moving_bases(builds: &[BuildReport]) -> Vec<Advice> {
    let mut found: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for build in builds {
        let mut moved: BTreeMap<&str, u64> = BTreeMap::new();
        for step in build.steps.iter().filter(|step| step.outcome == StepOutcome::Done) {
            for image in subjects(step, ReasonKind::Base) {
                *moved.entry(image).or_default() += step.took_ms;
            }
        }
        for (image, cost) in moved {
            let entry = found.entry(image).or_default();
            (entry.0, entry.1) = (entry.0 + 1, entry.1 + cost);
        }
    }
    let often = found.into_iter().filter(|(_, (moved, cost))| *moved >= OFTEN && *cost >= WORTH);
    let advice = often.map(|(image, (moved, cost_ms))| Advice {
        subject: image.to_owned(),
        cost_ms,
        text: format!(
            "the base image {image} was another one in {moved} of {} builds, which took {} to do again; name it by \
             digest, and move it when you want to",
            builds.len(),
            duration(cost_ms)
        ),
    });
    advice.collect()
}

/// Work that would have been known.
fn without_cache(builds: &[BuildReport]) -> Vec<Advice> {
    let asked: Vec<&BuildReport> = builds.iter().filter(|build| build.no_cache).collect();
    let known = |build: &BuildReport, step: &StepReport| {
        let at = builds.iter().position(|other| other.id == build.id).unwrap_or_default();
        builds[at + 1..].iter().flat_map(|earlier| &earlier.steps).any(|earlier| earlier.key == step.key)
    };
    let spoiled = asked.iter().flat_map(|build| {
        build.steps.iter().filter(|step| step.outcome == StepOutcome::Done && known(build, step))
    });
    let cost_ms = spoiled.map(|step| step.took_ms).sum();
    if asked.len() < OFTEN || cost_ms < WORTH {
        return Vec::new();
    }
    let text = format!(
        "--no-cache was given to {} of {} builds, and {} went into steps whose inputs had not changed; \
         --no-cache-filter STAGE does one stage anew, --pull asks for newer base images",
        asked.len(),
        builds.len(),
        duration(cost_ms)
    );
    vec![Advice { subject: "--no-cache".to_owned(), cost_ms, text }]
}

/// Results that were removed and then missed.
fn evicted(builds: &[BuildReport]) -> Vec<Advice> {
    let is_evicted = |step: &&StepReport| {
        step.outcome == StepOutcome::Done
            && step.reasons.iter().any(|reason| reason.kind == ReasonKind::Evicted)
    };
    let steps: Vec<&StepReport> =
        builds.iter().flat_map(|build| build.steps.iter().filter(is_evicted)).collect();
    let cost_ms = total(&steps);
    if steps.len() < OFTEN || cost_ms < WORTH {
        return Vec::new();
    }
    let text = format!(
        "{} were done again only because their results had been removed, which took {}; keep more: --max-cache, \
         or `buildx prune` with --reserved-space",
        plural(steps.len(), "step"),
        duration(cost_ms)
    );
    vec![Advice { subject: "cache".to_owned(), cost_ms, text }]
}

fn total(steps: &[&StepReport]) -> u64 {
    steps.iter().map(|step| step.took_ms).sum()
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `6 minutes`, `40 seconds`, `1.5 hours`.
fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        0..=119 => plural(seconds as usize, "second"),
        120..=7199 => plural((seconds / 60) as usize, "minute"),
        _ => format!("{:.1} hours", seconds as f64 / 3600.0),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Reason, Status};
    use super::*;
    use berth_oci::Digest;
    use jiff::Timestamp;

    /// A step that was found.
    pub(in super::super) fn step(stage: &str, number: usize, text: &str, seconds: u64) -> StepReport {
        StepReport {
            name: format!("[{stage} {number}] {text}"),
            stage: stage.to_owned(),
            number,
            text: text.to_owned(),
            operation: text.split(' ').next().unwrap().to_owned(),
            platform: "linux/amd64".to_owned(),
            key: Digest::of(text.as_bytes()),
            chain: String::new(),
            outcome: StepOutcome::Cached,
            reasons: Vec::new(),
            began_ms: 0,
            took_ms: seconds * 1000,
            cost_ms: seconds * 1000,
            cpu_ms: None,
            bytes: 0,
        }
    }

    /// The same, done for a reason.
    pub(in super::super) fn done(step: StepReport, reasons: &[(ReasonKind, &str)]) -> StepReport {
        let reasons = reasons.iter().map(|(kind, subject)| Reason {
            kind: *kind,
            subject: (*subject).to_owned(),
            text: String::new(),
        });
        StepReport { outcome: StepOutcome::Done, reasons: reasons.collect(), ..step }
    }

    pub(in super::super) fn report(number: i64, steps: Vec<StepReport>) -> BuildReport {
        BuildReport {
            id: format!("build{number}"),
            project: "/site|Dockerfile".to_owned(),
            context: "/site".to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            platforms: Vec::new(),
            no_cache: false,
            pull: false,
            ignore: Vec::new(),
            started: Timestamp::from_second(1_000_000 + number).unwrap(),
            took_ms: 0,
            status: Status::Completed,
            error: None,
            image: None,
            names: Vec::new(),
            steps,
            skipped: Vec::new(),
        }
    }

    #[test]
    fn durations_are_rounded_for_people() {
        for (ms, text) in
            [(1, "1 second"), (61_000, "61 seconds"), (360_000, "6 minutes"), (9_000_000, "2.5 hours")]
        {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn what_happens_seldom_or_costs_little_is_not_mentioned() {
        let build = |number: i64, seconds: u64| {
            let copy = done(step("0", 2, "COPY . .", 0), &[(ReasonKind::File, "a.js")]);
            let run = done(step("0", 3, "RUN make", seconds), &[(ReasonKind::Earlier, "COPY . .")]);
            report(number, vec![copy, run])
        };
        for (builds, seconds, expected) in [(2, 100, 0), (3, 1, 0), (3, 2, 1)] {
            let builds: Vec<_> = (0..builds).map(|number| build(number, seconds)).collect();
            assert_eq!(advise(&builds).len(), expected, "{seconds}");
        }
    }
}
