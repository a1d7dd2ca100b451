//! `berth oci-runtime`: the command line that engines expect of a low-level runtime, on any bundle.
//!
//! Here: its words, its log file, its exit codes. Not here: what they do (`berth_runtime::oci`), and anything of
//! images. Invariant: an error is said twice, on stderr for people and in the log for the engine that called.

mod args;
mod events;
mod exec;
mod foreground;
mod log;
mod make;
mod update;
mod verbs;

use crate::exit::{Exit, Failure, Outcome};
use berth_runtime::oci::{Readiness, Runtime};
use clap::{Parser, Subcommand};
use log::{Format, Log};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Run containers from OCI bundles, as engines call a low-level runtime
#[derive(Parser)]
#[command(name = "berth oci-runtime", disable_version_flag = true, subcommand_required = true)]
struct Cli {
    /// The directory with the containers' state
    #[arg(long, value_name = "DIR", default_value = "/run/berth-oci")]
    root: PathBuf,
    /// The file that errors and warnings are appended to
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How they are written there
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Also write what is done
    #[arg(long)]
    debug: bool,
    /// Leave cgroups to systemd: the same as --cgroup-manager systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes cgroups
    #[arg(long, value_enum, value_name = "WHO", default_value = "cgroupfs")]
    cgroup_manager: CgroupManager,
    /// Whether the caller is an ordinary user: false, or auto; true is refused, because containers are root's here
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    rootless: String,
    /// Print the version and quit
    #[arg(short = 'v', long, exclusive = true)]
    version: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a container and let its program wait for `start`
    Create(make::CreateArgs),
    /// Let the program of a container run
    Start(args::Id),
    /// Print the state of a container
    State(args::Id),
    /// Send a signal to a container
    Kill(verbs::KillArgs),
    /// Remove a container that has stopped
    Delete(verbs::DeleteArgs),
    /// Make a container, run it and remove it
    Run(make::RunArgs),
    /// Run a further process in a container
    Exec(exec::Args),
    /// Stop all processes of a container where they are
    Pause(args::Id),
    /// Let a paused container go on
    Resume(args::Id),
    /// List the processes of a container
    Ps(verbs::PsArgs),
    /// List containers
    List(verbs::ListArgs),
    /// Change the limits of a container
    Update(update::Args),
    /// Tell what a container uses, and when its memory runs out
    Events(events::Args),
    /// Write a bundle's configuration to begin with
    Spec(verbs::SpecArgs),
    /// Print what this runtime understands
    Features,
}

/// Who makes the cgroups of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CgroupManager {
    /// We do, as directories.
    Cgroupfs,
    /// systemd does, as units.
    Systemd,
}

/// What every command needs.
struct Context {
    runtime: Runtime,
    log: Log,
}

impl Context {
    fn start(&self, id: &str) -> berth_oci::Result<Option<Readiness>> {
        let manager = crate::settings::notify_socket();
        let started = self.runtime.start(id, manager.as_deref())?;
        started.complaints.iter().for_each(|complaint| self.log.warn(complaint));
        Ok(started.readiness)
    }

    /// Stays until the container's program is ready, if it is to say so. It runs, whatever its service manager does.
    fn tell_when_ready(&self, id: &str, readiness: Option<Readiness>) {
        let told = readiness.map_or(Ok(()), |readiness| self.runtime.tell_when_ready(id, readiness));
        if let Err(error) = told {
            self.log.warn(&error.to_string());
        }
    }

    fn start_alone(&self, id: &str) -> berth_oci::Result<()> {
        self.tell_when_ready(id, self.start(id)?);
        Ok(())
    }
}

/// Whether the words are for us: `berth oci-runtime …`, or a link to berth with a runtime's name.
pub(crate) fn words_for_us(words: &[OsString]) -> Option<Vec<OsString>> {
    let program = words.first().map(Path::new).and_then(Path::file_name)?.to_str()?;
    if ["berth-oci-runtime", "runc", "crun"].contains(&program) {
        return Some(words.to_vec());
    }
    (words.get(1)? == "oci-runtime").then(|| words[1..].to_vec())
}

/// Runs the command; `all` are the words that this process was started with.
pub(crate) fn run(words: &[OsString], all: &[OsString]) -> Outcome {
    if asks_for_version(words) {
        return verbs::version();
    }
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return args::explain(&error),
    };
    let log = Log::new(cli.log, cli.log_format, cli.debug)?;
    if cli.version {
        return verbs::version();
    }
    let by_systemd = cli.systemd_cgroup || cli.cgroup_manager == CgroupManager::Systemd;
    let context = Context { runtime: Runtime::new(cli.root).with_systemd(by_systemd), log };
    let result = refuse(&cli.rootless)
        .and_then(|()| protect(&cli.command, all))
        .map_err(Failure::from)
        .and_then(|()| dispatch(cli.command, &context));
    result.inspect_err(|failure| context.log.error(&failure.message()))
}

/// Among the options, wherever it stands: then no command is needed.
fn asks_for_version(words: &[OsString]) -> bool {
    let takes_a_value = ["--root", "--log", "--log-format", "--cgroup-manager", "--rootless"];
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        match word {
            "--version" | "-v" => return true,
            word if takes_a_value.contains(&word) => drop(words.next()),
            word if word.starts_with('-') => {}
            _ => return false,
        }
    }
    false
}

fn refuse(rootless: &str) -> berth_oci::Result<()> {
    match rootless {
        "auto" | "false" => Ok(()),
        "true" => {
            Err(berth_oci::Error::unsupported("`--rootless true`: this runtime makes root's containers only")
                .hint("leave the option out, and run the engine as root"))
        }
        other => Err(berth_oci::Error::invalid(format!("`--rootless {other}` is none of true, false, auto"))),
    }
}

/// What enters a container must not let it get at this program's file. Before that we open nothing: a descriptor that
/// is to be handed on, but is not there, would be one of ours.
fn protect(command: &Command, all: &[OsString]) -> berth_oci::Result<()> {
    let preserved = match command {
        Command::Create(args) => args.preserved(),
        Command::Run(args) => args.preserved(),
        Command::Exec(args) => args.preserved(),
        _ => return Ok(()),
    };
    make::check_open(preserved)?;
    berth_runtime::oci::protect_program(all)
}

fn dispatch(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Create(args) => args.run(context),
        Command::Start(args) => done(context.start_alone(&args.id)),
        Command::State(args) => verbs::state(&args.id, context),
        Command::Kill(args) => args.run(context),
        Command::Delete(args) => args.run(context),
        Command::Run(args) => args.run(context),
        Command::Exec(args) => args.run(context),
        Command::Pause(args) => done(context.runtime.pause(&args.id)),
        Command::Resume(args) => done(context.runtime.resume(&args.id)),
        Command::Ps(args) => args.run(context),
        Command::List(args) => args.run(context),
        Command::Update(args) => args.run(context),
        Command::Events(args) => args.run(context),
        Command::Spec(args) => args.run(),
        Command::Features => verbs::features(),
    }
}

fn done(result: berth_oci::Result<()>) -> Outcome {
    Ok(result.map(|()| Exit::SUCCESS)?)
}

/// The command among berth's own, for its help; its words are looked for before all others.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Elsewhere {
    /// create, start, state, kill, delete, run, exec, pause, resume, ps, list, update, events, spec or features
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Elsewhere {
    pub(crate) fn run(self) -> Outcome {
        let _ = self.words;
        Err(Failure::client(
            berth_oci::Error::invalid("`oci-runtime` comes first, and has options of its own")
                .hint("berth oci-runtime --root DIR COMMAND"),
        ))
    }
}
