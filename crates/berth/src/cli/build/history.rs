//! `berth buildx history`: builds that were run, as they are written down in the store.

use super::{explain, profile};
use crate::cli::Context;
use crate::exit::{ClientSide, Exit, Outcome};
use crate::filters::{self, Filter, Filters};
use crate::format::table::{Column, Listing, Style, aligned};
use crate::format::{human, time};
use crate::terminal;
use berth_build::history::{BuildReport, Status, chrome_trace};
use berth_oci::{AtPath, Error, Result};
use berth_store::Store;
use jiff::Timestamp;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Commands to work on build records.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum HistoryCommand {
    /// Say what the builds of a context teach
    Advice(AdviceArgs),
    /// Inspect a build record
    Inspect(InspectArgs),
    /// Print the logs of a build record
    Logs(RefArgs),
    /// List build records
    Ls(LsArgs),
    /// Remove build records
    Rm(RmArgs),
    /// Print a build record as a trace for Chrome's viewer
    Trace(RefArgs),
}

/// List build records.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct LsArgs {
    /// Provide filter values (e.g., "status=error")
    #[arg(long, value_name = "stringArray", value_parser = filters::parse)]
    filter: Vec<Filter>,
    /// Format the output
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// List records for current repository only
    #[arg(long)]
    local: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
}

/// A build record.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct RefArgs {
    /// Which: the beginning of its id, or ^N for the last but N; without one the last
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

/// Inspect a build record.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct InspectArgs {
    /// Format the output: pretty, json
    #[arg(long, value_name = "string", default_value = "pretty", hide_default_value = true)]
    format: String,
    /// Which: the beginning of its id, or ^N for the last but N; without one the last
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

/// Remove build records.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct RmArgs {
    /// Remove all build records
    #[arg(long)]
    all: bool,
    /// Which
    #[arg(value_name = "REF")]
    references: Vec<String>,
}

/// Say what the builds of a context teach.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct AdviceArgs {
    /// The context; without one that of the last build
    #[arg(value_name = "PATH")]
    context: Option<PathBuf>,
}

impl HistoryCommand {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let store = context.engine()?.store()?;
        match self {
            Self::Advice(args) => args.run(store),
            Self::Inspect(args) => args.run(store, context),
            Self::Logs(args) => args.logs(store),
            Self::Ls(args) => args.run(store),
            Self::Rm(args) => args.run(store),
            Self::Trace(args) => args.trace(store),
        }
    }
}

static LISTING: Listing<(BuildReport, bool)> = Listing {
    type_name: "*history.lsContext",
    label: None,
    columns: &[
        Column { name: "Ref", title: "BUILD ID", value: |(build, _)| build.id.as_str().into() },
        Column {
            name: "Name",
            title: "NAME",
            value: |(build, whole)| match whole {
                true => build.title().into(),
                false => human::ellipsis(&build.title(), 42).into(),
            },
        },
        Column { name: "Status", title: "STATUS", value: |(build, _)| status(build.status).into() },
        Column {
            name: "CreatedAt",
            title: "CREATED AT",
            value: |(build, _)| time::ago(build.started, Timestamp::now()).into(),
        },
        Column {
            name: "Duration",
            title: "DURATION",
            value: |(build, _)| format!("{:.1}s", build.took_ms as f64 / 1000.0).into(),
        },
    ],
};

fn status(status: Status) -> &'static str {
    match status {
        Status::Completed => "Completed",
        Status::Error => "Error",
        Status::Canceled => "Canceled",
    }
}

/// All that is known, the last one first.
fn all(store: &Store) -> Result<Vec<BuildReport>> {
    let rows = store.builds(None, usize::MAX >> 1)?;
    Ok(rows.iter().filter_map(|row| BuildReport::parse(&row.document)).collect())
}

fn one(store: &Store, reference: Option<&str>) -> Result<BuildReport> {
    let row = store.build(reference.unwrap_or("^0"))?;
    BuildReport::parse(&row.document)
        .ok_or_else(|| Error::unsupported(format!("the record {} is of another berth's making", row.id)))
}

impl LsArgs {
    fn run(self, store: &Store) -> Outcome {
        let filters = Filters::new(&self.filter, &["ref", "status"])?;
        let (refs, statuses) = (filters.values("ref"), filters.values("status"));
        let here = std::env::current_dir().at(".")?;
        let builds = all(store)?.into_iter().filter(|build| {
            (refs.is_empty() || refs.iter().any(|wanted| build.id.starts_with(wanted)))
                && (statuses.is_empty()
                    || statuses.iter().any(|s| s.eq_ignore_ascii_case(status(build.status))))
                && (!self.local || Path::new(&build.project).starts_with(&here))
        });
        if self.format.as_deref() == Some("json") {
            let lines: Vec<String> = builds.map(|build| ls_json(&build).to_string() + "\n").collect();
            terminal::print(lines.concat())?;
            return Ok(Exit::SUCCESS);
        }
        let style = Style::new(
            self.format.as_deref(),
            "{{.Ref}}\t{{.Name}}\t{{.Status}}\t{{.CreatedAt}}\t{{.Duration}}",
        );
        let rows = builds.map(|build| (build, self.no_trunc));
        terminal::print(LISTING.render(rows, &style).client()?)?;
        Ok(Exit::SUCCESS)
    }
}

fn ls_json(build: &BuildReport) -> serde_json::Value {
    json!({
        "ref": build.id, "name": build.title(), "status": status(build.status),
        "created_at": build.started.to_string(), "completed_at": ended(build).to_string(),
        "total_steps": build.steps.len(), "completed_steps": build.steps.len(), "cached_steps": build.cached(),
    })
}

fn ended(build: &BuildReport) -> Timestamp {
    build.started + std::time::Duration::from_millis(build.took_ms)
}

impl InspectArgs {
    fn run(self, store: &Store, context: &Context) -> Outcome {
        let build = one(store, self.reference.as_deref())?;
        let text = match self.format.as_str() {
            "json" => serde_json::to_string_pretty(&inspect_json(&build)).expect("it has string keys") + "\n",
            "pretty" | "" => pretty(&build, context.settings.persona.program()),
            other => {
                return Err(Error::unsupported(format!("--format {other}: there are pretty and json")))
                    .client();
            }
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

fn pretty(build: &BuildReport, program: &str) -> String {
    let mut text = format!("Name:\t\t{}\nRef:\t\t{}\n", build.title(), build.id);
    let _ = writeln!(text, "Context:\t{}\nDockerfile:\t{}", build.context, build.dockerfile);
    if let Some(target) = build.target.as_deref().filter(|target| !target.is_empty()) {
        let _ = writeln!(text, "Target:\t\t{target}");
    }
    let _ = writeln!(text, "\nStarted:\t{}", build.started.strftime("%Y-%m-%d %H:%M:%S"));
    let _ = writeln!(text, "Duration:\t{:.1}s", build.took_ms as f64 / 1000.0);
    if build.status != Status::Completed {
        let _ = writeln!(text, "Status:\t\t{}", status(build.status));
    }
    if let Some(error) = &build.error {
        let _ = writeln!(text, "Error:\t\t{}", error.lines().next().unwrap_or_default());
    }
    let (cached, count) = (build.cached(), build.steps.len());
    let share = (cached * 100).checked_div(count).unwrap_or_default();
    let _ = writeln!(text, "Build Steps:\t{count}/{count} ({share}% cached)");
    if build.no_cache {
        let _ = writeln!(text, "\nNo Cache:\ttrue");
    }
    let bases: Vec<_> = build.steps.iter().filter(|step| step.operation == "FROM").collect();
    if !bases.is_empty() {
        let mut table = "URI\tDIGEST\n".to_owned();
        for base in bases {
            let name = base.name.split_once("FROM ").map_or("", |(_, name)| name);
            let name = name.split('@').next().unwrap_or_default();
            let _ = writeln!(table, "{name}\t{}", base.key);
        }
        let _ = write!(text, "\nMaterials:\n{}", aligned(&table));
    }
    if let Some(image) = &build.image {
        let _ = write!(text, "\nImage:\t\t{image}\n");
        for name in &build.names {
            let _ = writeln!(text, "Name:\t\t{name}");
        }
    }
    text.push_str(&profile::table(build));
    for step in build.steps.iter().filter(|step| !step.reasons.is_empty()) {
        let reasons: Vec<&str> = step.reasons.iter().take(3).map(|reason| reason.text.as_str()).collect();
        let _ = writeln!(text, "{}: done because {}", step.name, reasons.join("; "));
    }
    for stage in &build.skipped {
        let _ = writeln!(text, "[{stage}]: skipped, nothing needed it");
    }
    let _ = writeln!(text, "\nPrint build logs: {program} buildx history logs {}", build.id);
    text
}

fn inspect_json(build: &BuildReport) -> serde_json::Value {
    json!({
        "Name": build.title(), "Ref": build.id, "Context": build.context, "Dockerfile": build.dockerfile,
        "Target": build.target, "Platform": build.platforms,
        "StartedAt": build.started.to_string(), "CompletedAt": ended(build).to_string(),
        // Nanoseconds, as docker's.
        "Duration": build.took_ms * 1_000_000, "Status": build.status, "Error": build.error,
        "NumCompletedSteps": build.steps.len(), "NumTotalSteps": build.steps.len(),
        "NumCachedSteps": build.cached(), "Config": {"NoCache": build.no_cache, "Pull": build.pull},
        "Image": build.image, "ImageNames": build.names, "Steps": build.steps, "SkippedStages": build.skipped,
    })
}

impl RefArgs {
    fn logs(self, store: &Store) -> Outcome {
        let build = one(store, self.reference.as_deref())?;
        let path = store.log_of_build(&build.id)?;
        let text = std::fs::read(&path).map_err(|error| {
            Error::not_found(format!("the log of {} is not kept any more", build.id)).caused_by(error)
        })?;
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }

    fn trace(self, store: &Store) -> Outcome {
        let build = one(store, self.reference.as_deref())?;
        terminal::line(chrome_trace(&build).to_string())?;
        Ok(Exit::SUCCESS)
    }
}

impl RmArgs {
    fn run(self, store: &Store) -> Outcome {
        if self.all != self.references.is_empty() {
            return Err(Error::invalid("name build records, or say --all")).client();
        }
        let ids: Vec<String> = match self.all {
            true => store.builds(None, usize::MAX >> 1)?.into_iter().map(|row| row.id).collect(),
            false => {
                let found = self.references.iter().map(|name| Ok(store.build(name)?.id));
                found.collect::<Result<_>>()?
            }
        };
        store.remove_builds(&ids)?;
        Ok(Exit::SUCCESS)
    }
}

impl AdviceArgs {
    fn run(self, store: &Store) -> Outcome {
        let builds = all(store)?;
        let project = match &self.context {
            None => builds.first().map(|build| build.project.clone()),
            Some(path) => {
                let path = path.canonicalize().at(path)?;
                let is_it = |build: &&BuildReport| {
                    build.project.rsplit_once('|').is_some_and(|(context, _)| Path::new(context) == path)
                };
                builds.iter().find(is_it).map(|build| build.project.clone())
            }
        };
        let project =
            project.ok_or_else(|| Error::not_found("nothing was built there that is still known"))?;
        let text = explain::advice(store, &project)?;
        let count = builds.iter().filter(|build| build.project == project).count();
        match text.is_empty() {
            true => terminal::line(format!("{count} builds, and nothing to be said about them."))?,
            false => terminal::print(text)?,
        }
        Ok(Exit::SUCCESS)
    }
}
