//! The short commands.

use super::Context;
use crate::exit::{Exit, Outcome};
use crate::format::table::{Spacing, aligned_with};
use crate::terminal;
use berth_oci::{AtPath, Context as _, Error, Result};
use berth_runtime::oci::{SPECIFICATION, View, default_spec, default_spec_for, features as supported};
use regex::Regex;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// How a list is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Columns.
    #[default]
    Table,
    /// One document.
    Json,
}

/// `kill`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct KillArgs {
    /// Also to the other processes
    #[arg(short, long)]
    all: bool,
    /// The container's name
    id: String,
    /// A name or a number
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

impl KillArgs {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let signal: berth_engine::spec::Signal = self.signal.parse()?;
        super::done(context.runtime.kill(&self.id, signal.number(), self.all))
    }
}

/// `delete`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct DeleteArgs {
    /// Kill it first when it still runs
    #[arg(short, long)]
    force: bool,
    /// The name is a regular expression: all containers that it fits
    #[arg(long)]
    regex: bool,
    /// The container's name
    id: String,
}

impl DeleteArgs {
    pub(super) fn run(self, context: &Context) -> Outcome {
        for id in self.ids(context)? {
            let complaints = context.runtime.delete(&id, self.force)?;
            complaints.iter().for_each(|complaint| context.log.warn(complaint));
        }
        Ok(Exit::SUCCESS)
    }

    fn ids(&self, context: &Context) -> Result<Vec<String>> {
        if !self.regex {
            return Ok(vec![self.id.clone()]);
        }
        let wanted = Regex::new(&self.id)
            .map_err(|e| Error::invalid(format!("`{}` is no regular expression", self.id)).caused_by(e))?;
        let names = context.runtime.list()?.into_iter().map(|view| view.id);
        Ok(names.filter(|name| wanted.is_match(name)).collect())
    }
}

fn document(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map_err(|e| Error::internal("cannot write a document").caused_by(e))
}

/// `state`
pub(super) fn state(id: &str, context: &Context) -> Outcome {
    terminal::line(document(&context.runtime.state(id)?)?)?;
    Ok(Exit::SUCCESS)
}

/// `list`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct ListArgs {
    /// How it is shown
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Names alone
    #[arg(short, long)]
    quiet: bool,
}

impl ListArgs {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let views = context.runtime.list()?;
        let text = match (self.quiet, self.format) {
            (true, _) => views.iter().map(|view| format!("{}\n", view.id)).collect(),
            (false, Format::Json) => {
                format!("{}\n", serde_json::to_string(&views).map_err(|e| Error::internal(e.to_string()))?)
            }
            (false, Format::Table) => table(&views),
        };
        terminal::print(text)?;
        Ok(Exit::SUCCESS)
    }
}

fn table(views: &[View]) -> String {
    let row = |v: &View| {
        let bundle = v.bundle.display();
        format!("{}\t{}\t{}\t{bundle}\t{}\t{}\n", v.id, v.pid, v.status.word(), v.created, v.owner)
    };
    let rows: String = std::iter::once("ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n".to_owned())
        .chain(views.iter().map(row))
        .collect();
    aligned_with(&rows, Spacing { least: 12, padding: 1 })
}

/// `ps`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct PsArgs {
    /// How it is shown
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// The container's name
    id: String,
    /// What the program `ps` is asked for
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    ps: Vec<String>,
}

impl PsArgs {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let pids = context.runtime.processes(&self.id)?;
        if self.format == Format::Json {
            terminal::line(serde_json::to_string(&pids).map_err(|e| Error::internal(e.to_string()))?)?;
            return Ok(Exit::SUCCESS);
        }
        let arguments = if self.ps.is_empty() { vec!["-ef".to_owned()] } else { self.ps };
        let output = Command::new("ps").args(&arguments).output().context(|| "cannot run `ps`")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::invalid(format!("`ps {}` failed: {said}", arguments.join(" "))).into());
        }
        terminal::print(only(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
        Ok(Exit::SUCCESS)
    }
}

/// The heading, and the lines about these processes.
fn only(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Error::invalid("`ps` was not asked for the column PID"))?;
    let is_ours = |line: &&str| {
        let number = line.split_whitespace().nth(column).and_then(|field| field.parse().ok());
        number.is_some_and(|number| pids.contains(&number))
    };
    Ok(std::iter::once(heading).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

/// `spec`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct SpecArgs {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a container of an ordinary user: the caller
    #[arg(long)]
    rootless: bool,
}

impl SpecArgs {
    pub(super) fn run(self) -> Outcome {
        let path = self.bundle.join("config.json");
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let text = document(&if self.rootless { default_spec_for(uid, gid) } else { default_spec() })?;
        let mut file = File::options().write(true).create_new(true).open(&path).at(&path)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).at(&path)?;
        Ok(Exit::SUCCESS)
    }
}

/// `features`
pub(super) fn features() -> Outcome {
    terminal::line(document(&supported(crate::cli::system::version::VERSION))?)?;
    Ok(Exit::SUCCESS)
}

/// `--version`
pub(super) fn version() -> Outcome {
    let version = crate::cli::system::version::VERSION;
    terminal::line(format!("berth oci-runtime version {version}\nspec: {SPECIFICATION}"))?;
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_processes_are_left_out() {
        let text = "UID PID PPID\nroot 1 0\nroot 12 1\nweb 2 1\n";
        assert_eq!(only(text, &[2, 12]).unwrap(), "UID PID PPID\nroot 12 1\nweb 2 1\n");
        assert!(only("USER COMMAND\n", &[1]).is_err());
    }
}
