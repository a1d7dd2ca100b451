//! `berth buildx bake`: several builds described in a file.
//!
//! Not here: reading the files (`berth_build::bake`), building (`super::Args`). Invariant: a target is built with
//! exactly the flags that its options are the words of.

use super::Args;
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::settings::caller_variable;
use crate::terminal;
use berth_build::bake::{Bake, BakeFile, DEFAULT_FILES, Plan, Target};
use berth_oci::{AtPath, Error, Platform, Result};
use clap::{Args as _, FromArgMatches as _};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Build from a file
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct BakeArgs {
    /// Allow build to access specified resources
    #[arg(long, value_name = "stringArray")]
    allow: Vec<String>,
    /// Build definition file
    #[arg(short, long, value_name = "stringArray")]
    file: Vec<PathBuf>,
    /// List targets
    #[arg(long, value_name = "string", value_parser = ["targets"])]
    list: Option<String>,
    /// Shorthand for "--set=*.output=type=docker"
    #[arg(long)]
    load: bool,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Print the options without building
    #[arg(long)]
    print: bool,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pull: bool,
    /// Shorthand for "--set=*.output=type=registry"
    #[arg(long)]
    push: bool,
    /// Override target value (e.g., "targetpattern.key=value")
    #[arg(long, value_name = "stringArray")]
    set: Vec<String>,
    /// Set a variable value (e.g., "name=value")
    #[arg(long, value_name = "stringArray")]
    var: Vec<String>,
    /// What is built
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl BakeArgs {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let files = self.files().client()?;
        let lookup = |name: &str| self.variable(name);
        let bake = Bake::read(&files, &lookup).client()?;
        if self.list.is_some() {
            return list(&bake);
        }
        let plan = bake.plan(&self.targets, &self.overrides(), &lookup).client()?;
        if self.print {
            let text = serde_json::to_string_pretty(&plan.json()).expect("text has a JSON form");
            terminal::line(text)?;
            return Ok(Exit::SUCCESS);
        }
        self.build(&plan, context)
    }

    fn files(&self) -> Result<Vec<BakeFile>> {
        let mut files = Vec::new();
        for name in &self.file {
            let text = if name == Path::new("-") {
                let mut text = String::new();
                std::io::stdin().lock().read_to_string(&mut text).at("stdin")?;
                text
            } else {
                std::fs::read_to_string(name).at(name)?
            };
            files.push(BakeFile { name: name.to_string_lossy().into_owned(), text });
        }
        if !self.file.is_empty() {
            return Ok(files);
        }
        for name in DEFAULT_FILES {
            match std::fs::read_to_string(name) {
                Ok(text) => files.push(BakeFile { name: name.to_owned(), text }),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).at(name),
            }
        }
        if files.is_empty() {
            return Err(Error::not_found("couldn't find a bake definition")
                .hint(format!("name it with -f, or call it one of: {}", DEFAULT_FILES.join(", "))));
        }
        Ok(files)
    }

    /// `--var`, what bake itself sets, the environment.
    fn variable(&self, name: &str) -> Option<String> {
        let given = self.var.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        match (given, name) {
            (Some(value), _) => Some(value.to_owned()),
            (None, "BAKE_LOCAL_PLATFORM") => Some(Platform::host().to_string()),
            (None, "BAKE_CMD_CONTEXT") => Some("cwd://".to_owned()),
            (None, name) => caller_variable(name),
        }
    }

    fn overrides(&self) -> Vec<String> {
        let switches =
            [(self.no_cache, "no-cache"), (self.pull, "pull"), (self.load, "load"), (self.push, "push")];
        let switches = switches.iter().filter(|(given, _)| *given).map(|(_, key)| format!("*.{key}=true"));
        switches.chain(self.set.iter().cloned()).collect()
    }

    /// One after the other, those that others stand on first; steps that they share are done once.
    fn build(&self, plan: &Plan, context: &Context) -> Outcome {
        let mut links = Vec::new();
        let outcome = in_order(plan).into_iter().try_for_each(|target| {
            let flags = flags(target, &self.allow, &mut links)?;
            let parsed = Args::augment_args(clap::Command::new("build"))
                .try_get_matches_from(std::iter::once("build".to_owned()).chain(flags.words));
            let parsed = parsed.and_then(|matches| Args::from_arg_matches(&matches));
            let args = parsed.map_err(|error| {
                Failure::client(Error::invalid(format!(
                    "target {}: {}",
                    target.name,
                    error.to_string().trim_end()
                )))
            })?;
            let outcome = args.run(context)?;
            drop(flags.inline);
            match outcome {
                Exit::SUCCESS => Ok(()),
                Exit(code) => {
                    Err(Failure::client(Error::invalid(format!("target {} failed", target.name)))
                        .with_code(code))
                }
            }
        });
        for name in links {
            // An image without a name is what `image prune` takes; a failed build may have made none.
            if let Ok(reference) = name.parse() {
                let _ = context.engine()?.untag(&name, &[reference]);
            }
        }
        outcome.map(|()| Exit::SUCCESS)
    }
}

fn list(bake: &Bake) -> Outcome {
    terminal::line("TARGET\tDESCRIPTION")?;
    for name in bake.names() {
        let group = bake.groups().iter().find(|group| group.name == name);
        let target = bake.targets().iter().find(|target| target.name == name);
        let description = match (group, target) {
            (Some(group), _) => group.description.clone().unwrap_or_else(|| group.targets.join(", ")),
            (None, Some(target)) => target.description.clone().unwrap_or_default(),
            (None, None) => String::new(),
        };
        terminal::line(format!("{name}\t{description}"))?;
    }
    Ok(Exit::SUCCESS)
}

/// The targets, each behind those it takes as contexts.
fn in_order(plan: &Plan) -> Vec<&Target> {
    fn visit<'p>(target: &'p Target, plan: &'p Plan, order: &mut Vec<&'p Target>) {
        if order.iter().any(|seen| seen.name == target.name) {
            return;
        }
        let links = target.contexts.values().filter_map(|value| value.strip_prefix("target:"));
        for linked in links.filter_map(|name| plan.targets.get(name)) {
            visit(linked, plan, order);
        }
        order.push(target);
    }
    let mut order = Vec::new();
    plan.targets.values().for_each(|target| visit(target, plan, &mut order));
    order
}

/// A target as words of the command line.
struct Flags {
    words: Vec<String>,
    /// The file of a Dockerfile that is written in the bake file; it goes with this.
    inline: Option<Inline>,
}

/// A file that is removed again.
struct Inline(PathBuf);

impl Drop for Inline {
    fn drop(&mut self) {
        // Whoever tidies up temporary files finds it otherwise.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The name under which a target is handed on as a context.
fn link_name(target: &str) -> String {
    format!("berth-bake/{}:{}", target.to_lowercase(), std::process::id())
}

fn flags(target: &Target, allow: &[String], links: &mut Vec<String>) -> std::result::Result<Flags, Failure> {
    let mut words: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: &str| words.push(format!("--{name}={value}"));
    let each = |list: &[String]| list.to_vec();
    for (name, values) in [
        ("tag", each(&target.tags)),
        ("annotation", each(&target.annotations)),
        ("platform", each(&target.platforms)),
        ("secret", each(&target.secret)),
        ("ssh", each(&target.ssh)),
        ("no-cache-filter", each(&target.no_cache_filter)),
        ("ulimit", each(&target.ulimits)),
        ("allow", [each(&target.entitlements), each(allow)].concat()),
        ("attest", each(&target.attest)),
        ("cache-from", each(&target.cache_from)),
        ("cache-to", each(&target.cache_to)),
    ] {
        values.iter().for_each(|value| flag(name, value));
    }
    if target.is_linked {
        let name = link_name(&target.name);
        flag("tag", &name);
        flag("output", "type=docker");
        links.push(name);
    } else {
        target.output.iter().for_each(|value| flag("output", value));
    }
    let pairs = |name: &str, map: &std::collections::BTreeMap<String, String>, between: &str| {
        map.iter().map(|(key, value)| format!("--{name}={key}{between}{value}")).collect::<Vec<_>>()
    };
    for (name, value) in [
        ("target", &target.target),
        ("network", &target.network),
        ("shm-size", &target.shm_size),
        ("call", &target.call),
    ] {
        if let Some(value) = value {
            flag(name, value);
        }
    }
    words.extend(pairs("build-arg", &target.args, "="));
    words.extend(pairs("label", &target.labels, "="));
    words.extend(pairs("add-host", &target.extra_hosts, ":"));
    for (name, value) in &target.contexts {
        let value = match value.strip_prefix("target:") {
            Some(linked) => format!("docker-image://{}", link_name(linked)),
            None => value.clone(),
        };
        words.push(format!("--build-context={name}={value}"));
    }
    words.extend(target.pull.filter(|pull| *pull).map(|_| "--pull".to_owned()));
    words.extend(target.no_cache.filter(|no_cache| *no_cache).map(|_| "--no-cache".to_owned()));
    let context = target.context.clone().unwrap_or_else(|| ".".to_owned());
    let inline =
        target.dockerfile_inline.as_deref().map(|text| inline(&target.name, text)).transpose().client()?;
    let dockerfile = match &inline {
        Some(Inline(path)) => path.clone(),
        None => Path::new(&context).join(target.dockerfile.as_deref().unwrap_or("Dockerfile")),
    };
    words.push(format!("--file={}", dockerfile.display()));
    words.push(context);
    Ok(Flags { words, inline })
}

fn inline(target: &str, text: &str) -> Result<Inline> {
    let path = std::env::temp_dir().join(format!("berth-bake-{}-{target}.Dockerfile", std::process::id()));
    // Nobody else may have put something there.
    let mut file = std::fs::File::create_new(&path).at(&path)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).at(&path)?;
    Ok(Inline(path))
}
