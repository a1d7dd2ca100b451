//! Our own rules: what makes builds slow, images large, and secrets public.
//!
//! They guess, so they only give advice; each guess is named in a table below. Invariant: no advice without a
//! sentence that says what to do instead.

use super::words::is_remote;
use super::{Check, Rule};
use crate::dockerfile::{Command, CommandLine, Files, Instruction, Origin, Run, Script, Span, Stage};
use berth_oci::Reference;
use std::collections::BTreeSet;

/// Tools that fetch what a project depends on, the words that make them do it, and the files that say what that is.
const INSTALLERS: &[(&str, &[&str], &str)] = &[
    ("npm", &["ci", "install", "i"], "package.json package-lock.json"),
    ("yarn", &["install"], "package.json yarn.lock"),
    ("pnpm", &["install", "i"], "package.json pnpm-lock.yaml"),
    ("pip", &["install"], "requirements.txt"),
    ("pip3", &["install"], "requirements.txt"),
    ("poetry", &["install"], "pyproject.toml poetry.lock"),
    ("uv", &["sync"], "pyproject.toml uv.lock"),
    ("pipenv", &["install", "sync"], "Pipfile Pipfile.lock"),
    ("go", &["mod"], "go.mod go.sum"),
    ("cargo", &["fetch", "vendor"], "Cargo.toml Cargo.lock"),
    ("bundle", &["install"], "Gemfile Gemfile.lock"),
    ("composer", &["install"], "composer.json composer.lock"),
    ("dotnet", &["restore"], "the *.csproj files"),
    ("mvn", &["dependency:go-offline", "dependency:resolve"], "pom.xml"),
    ("apt-get", &["install"], ""),
    ("apt", &["install"], ""),
    ("apk", &["add"], ""),
    ("dnf", &["install"], ""),
    ("yum", &["install"], ""),
];

/// Names of arguments and variables that differ in every build.
const RESTLESS: [&str; 9] = [
    "git_sha",
    "git_commit",
    "commit_sha",
    "commit",
    "build_date",
    "build_number",
    "build_id",
    "build_time",
    "timestamp",
];

/// How secrets begin, how long they are at least, and what they are.
const SECRETS: [(&str, usize, &str); 11] = [
    ("AKIA", 20, "an AWS access key"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("glpat-", 26, "a GitLab token"),
    ("npm_", 40, "an npm token"),
    ("xoxb-", 24, "a Slack token"),
    ("xoxp-", 24, "a Slack token"),
    ("sk_live_", 28, "a Stripe key"),
    ("AIza", 39, "a Google API key"),
    ("-----BEGIN", 10, "a private key"),
];

/// Images that hold far more than a program needs to run, and what does instead.
const LARGE: [(&str, &str); 12] = [
    ("golang", "a static program runs on `scratch` or a distroless image"),
    ("rust", "`debian:stable-slim`, or `scratch` for a static program"),
    ("gcc", "`debian:stable-slim`"),
    ("maven", "an image with a JRE only, such as `eclipse-temurin:21-jre`"),
    ("gradle", "an image with a JRE only, such as `eclipse-temurin:21-jre`"),
    ("buildpack-deps", "`debian:stable-slim`"),
    ("node", "the `-slim` variant of the same version"),
    ("python", "the `-slim` variant of the same version"),
    ("ruby", "the `-slim` variant of the same version"),
    ("php", "the `-alpine` variant of the same version"),
    ("perl", "the `-slim` variant of the same version"),
    ("openjdk", "an image with a JRE only, such as `eclipse-temurin:21-jre`"),
];

/// Below this a base image is not large, whatever it is called.
const LARGE_BYTES: u64 = 250_000_000;

impl Check<'_> {
    pub(super) fn advise(&mut self, origins: &[Origin], wanted: &BTreeSet<usize>) {
        let file = self.file;
        for &index in wanted {
            let stage = &file.stages[index];
            self.order(stage);
            for instruction in &stage.instructions {
                self.package_list(instruction);
                self.secret_values(instruction);
            }
        }
        if let Some(&last) = wanted.iter().next_back() {
            self.large_base(origins, last);
        }
    }

    /// `apt-get update` in a step of its own.
    fn package_list(&mut self, instruction: &Instruction) {
        let Some(run) = plain_run(instruction) else { return };
        for (tool, update, install) in
            [("apt-get", "update", "install"), ("apt", "update", "install"), ("apk", "update", "add")]
        {
            let calls = calls(run);
            let has = |word: &str| calls.iter().any(|call| call.is(tool, word));
            if has(update) && !has(install) && !has("upgrade") && !has("dist-upgrade") && !has("build-dep") {
                let detail = format!(
                    "`{tool} {update}` stands alone: its list comes from the cache long after it is out of date; put \
                     it into the step that runs `{tool} {install}`"
                );
                self.warn(Rule::PackageListAlone, instruction.span, detail);
            }
        }
    }

    /// Everything copied, or a restless argument, above a step that is expensive and does not need it.
    fn order(&mut self, stage: &Stage) {
        let mut everything: Option<Span> = None;
        let mut restless: Vec<(String, Span)> = Vec::new();
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Copy(copy) if copy.from.is_none() && copies_everything(&copy.files) => {
                    everything.get_or_insert(instruction.span);
                }
                Command::Add(add) if copies_everything(&add.files) => {
                    everything.get_or_insert(instruction.span);
                }
                Command::Arg(args) => {
                    let names = args.iter().map(|arg| arg.name.clone()).filter(|name| is_restless(name));
                    restless.extend(names.map(|name| (name, instruction.span)));
                }
                Command::Run(run) if run.mounts.is_empty() => {
                    // One word about a COPY is enough.
                    everything = everything.filter(|copied| !self.blame_copy(run, *copied));
                    self.blame_args(&mut restless, run);
                }
                _ => {}
            }
        }
    }

    fn blame_copy(&mut self, run: &Run, copied: Span) -> bool {
        let calls = calls(run);
        let found = INSTALLERS.iter().find_map(|(tool, words, manifest)| {
            let word = words.iter().find(|word| calls.iter().any(|call| call.is(tool, word)))?;
            Some((tool, word, manifest))
        });
        let Some((tool, word, manifest)) = found else { return false };
        let instead = if manifest.is_empty() {
            format!("it needs none of the files: put `{tool} {word}` above")
        } else {
            format!("copy {manifest} first, run `{tool} {word}`, then copy the rest")
        };
        let detail = format!("Any change in the context repeats `{tool} {word}` below; {instead}");
        self.warn(Rule::CacheHostileOrder, copied, detail);
        true
    }

    /// An argument is part of the key of every RUN below it, used or not.
    fn blame_args(&mut self, restless: &mut Vec<(String, Span)>, run: &Run) {
        let text = text_of(run);
        // Whoever uses it has a reason, and what follows has it in its key anyway.
        for (name, span) in std::mem::take(restless).into_iter().filter(|(name, _)| !text.contains(name)) {
            let detail = format!(
                "{name} differs in every build and is part of every RUN below, though the next one does not use it; \
                 declare it just above the instruction that needs it"
            );
            self.warn(Rule::CacheHostileOrder, span, detail);
        }
    }

    /// Values that look like secrets, wherever they are written.
    fn secret_values(&mut self, instruction: &Instruction) {
        let text = match &instruction.command {
            Command::Run(run) => text_of(run),
            Command::Env(_) | Command::Arg(_) | Command::Label(_) => instruction.text.clone(),
            _ => return,
        };
        let Some(kind) = secret_in(&text) else { return };
        let detail = format!(
            "This looks like {kind}, and everyone who gets the image can read it; revoke it, and use \
             `RUN --mount=type=secret` instead"
        );
        self.warn(Rule::SecretValue, instruction.span, detail);
    }

    /// What the image stands on in the end.
    fn large_base(&mut self, origins: &[Origin], last: usize) {
        let mut root = last;
        while let Some(below) = origins[root].stage {
            root = below;
        }
        let origin = &origins[root];
        let Ok(reference) = origin.base.parse::<Reference>() else { return };
        let name = reference.repository().rsplit('/').next().unwrap_or_default().to_owned();
        let is_small = ["slim", "alpine", "distroless", "-jre"]
            .iter()
            .any(|word| reference.tag().is_some_and(|tag| tag.contains(word)) || name.contains(word));
        let size = self.image_of(origin).and_then(|image| image.size);
        let known = LARGE.iter().find(|(large, _)| *large == name).filter(|_| !is_small);
        if size.is_some_and(|size| size < LARGE_BYTES) {
            return;
        }
        let detail = match (known, size) {
            (Some((_, instead)), Some(size)) => {
                format!("The image stands on {}, {}; {instead} would do", origin.base, megabytes(size))
            }
            (Some((_, instead)), None) => {
                format!(
                    "The image stands on {}, which holds a whole tool chain; {instead} would do",
                    origin.base
                )
            }
            (None, Some(size)) if !is_small => format!(
                "The image stands on {}, {}; build there, and copy what is needed to run into a last stage on a \
                 smaller base",
                origin.base,
                megabytes(size)
            ),
            _ => return,
        };
        self.warn(Rule::LargeBaseImage, self.file.stages[root].span, detail);
    }
}

fn megabytes(size: u64) -> String {
    format!("{} MB", size / 1_000_000)
}

fn is_restless(name: &str) -> bool {
    let lower = name.to_lowercase();
    RESTLESS.iter().any(|restless| lower == *restless || lower.ends_with(&format!("_{restless}")))
}

fn copies_everything(files: &Files) -> bool {
    files.sources.iter().any(|source| {
        let path = source.text.trim_end_matches('/');
        !is_remote(path) && matches!(path, "." | "" | "*" | "./*")
    })
}

/// A RUN without mounts: with a cache mounted, repeating a step is cheap.
fn plain_run(instruction: &Instruction) -> Option<&Run> {
    match &instruction.command {
        Command::Run(run) if run.mounts.is_empty() => Some(run),
        _ => None,
    }
}

fn text_of(run: &Run) -> String {
    match run.script() {
        Script::Exec(words) => words.join(" "),
        Script::Shell(text) | Script::File { content: text, .. } => text.into_owned(),
    }
}

/// A program and its arguments, as far as splitting at blanks and `;&|` shows them.
struct Call {
    program: String,
    arguments: Vec<String>,
}

impl Call {
    /// The first word that is no option is the one that says what to do.
    fn is(&self, program: &str, word: &str) -> bool {
        self.program == program
            && self.arguments.iter().find(|a| !a.starts_with('-')).is_some_and(|a| a == word)
    }
}

fn calls(run: &Run) -> Vec<Call> {
    let text = match &run.line {
        CommandLine::Exec(words) => words.join(" "),
        CommandLine::Shell(_) => text_of(run),
    };
    let parts = text.split([';', '&', '|', '\n', '(', ')', '`']);
    parts.filter_map(call).collect()
}

fn call(part: &str) -> Option<Call> {
    // What stands before a program without being one: variables, and words that run another.
    let mut words = part.split_whitespace().skip_while(|word| {
        let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        is_assignment || matches!(*word, "sudo" | "exec" | "then" | "do" | "else" | "!" | "time" | "if")
    });
    let program = words.next()?.rsplit('/').next()?.to_owned();
    Some(Call { program, arguments: words.map(str::to_owned).collect() })
}

/// What kind of secret the text holds.
fn secret_in(text: &str) -> Option<&'static str> {
    for (start, length, kind) in SECRETS {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            let token =
                text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).count();
            let begins_word = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
            let is_key = start != "-----BEGIN" || text[at..].contains("PRIVATE KEY");
            if begins_word && token >= length && is_key {
                return Some(kind);
            }
        }
    }
    let has_password = text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let authority = rest.split(['/', ' ', '"', '\'', '\n']).next().unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else { return false };
        // `$TOKEN` in an address is a variable, not a secret.
        user.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.contains('$'))
    });
    has_password.then_some("a password in an address")
}
