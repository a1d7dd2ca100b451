//! The command line: one file a command, arguments and `run()`; `berth images` and `berth image ls` share theirs.
//!
//! Not here: anything a command does beyond parse, one or two calls, show. Invariant: text becomes a type in the
//! command's file, and nowhere deeper.

mod build;
mod container;
mod context;
mod help;
mod image;
mod inspect;
mod manifest;
mod network;
mod object;
pub(crate) mod oci_runtime;
mod output;
mod registry;
mod system;
mod usage;
mod volume;

pub(crate) use context::Context;

use crate::exit::{Exit, Outcome};
use crate::settings::{Persona, ProgressMode, Settings};
use crate::terminal::{self, LogLevel};
use crate::user;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Container images and containers in one program, no daemon
#[derive(Parser)]
#[command(
    name = "berth",
    disable_help_subcommand = true,
    disable_version_flag = true,
    args_override_self = true,
    infer_long_args = false
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Switches of every command.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Where images and containers live (BERTH_ROOT, /var/lib/berth; without root ~/.local/share/berth)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Where mounts and sockets live until the next boot (BERTH_RUNROOT, /run/berth; without root $XDG_RUNTIME_DIR/berth)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) runroot: Option<PathBuf>,
    /// The configuration file (BERTH_CONFIG, ~/.config/berth/config.toml without root, /etc/berth/config.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Refused: there is no daemon to connect to
    #[arg(short = 'H', long, value_name = "SOCKET")]
    pub(crate) host: Option<String>,
    /// How much is said on stderr: debug, info, warn, error, fatal
    #[arg(short = 'l', long, value_enum, value_name = "LEVEL", hide_possible_values = true)]
    pub(crate) log_level: Option<LogLevel>,
    /// The same as --log-level debug
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// How progress is shown: auto, plain, tty, json, none
    #[arg(long, global = true, value_enum, value_name = "STYLE", hide_possible_values = true)]
    pub(crate) progress: Option<ProgressMode>,
    /// Print what a command does and takes
    #[arg(long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the version and quit
    #[arg(id = "show_version", short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Subcommand)]
#[command(defer = true)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::Args>),
    /// Manage builds
    #[command(subcommand)]
    Builder(build::BuilderCommand),
    /// Docker Buildx
    #[command(subcommand)]
    Buildx(build::BuildxCommand),
    /// Copy an image between registries, the store, layouts and archives
    Copy(registry::copy::Args),
    /// Import the contents from a tarball to create a filesystem image
    Import(image::import::Args),
    /// Display system-wide information
    Info(system::info::Args),
    /// Load an image from a tar archive or STDIN
    Load(image::load::Args),
    /// Authenticate to a registry
    Login(registry::login::Args),
    /// Log out from a registry
    Logout(registry::logout::Args),
    /// Manage Docker image manifests and manifest lists
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Download an image from a registry
    Pull(image::pull::Args),
    /// Upload an image to a registry
    Push(image::push::Args),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(image::save::Args),
    /// Search a registry for images
    Search(registry::search::Args),
    /// Attach local standard input, output, and error streams to a running container
    Attach(container::AttachArgs),
    /// Manage containers
    #[command(subcommand)]
    Container(container::Command),
    /// Create a new image from a container's changes
    Commit(container::CommitArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(container::CpArgs),
    /// Create a new container
    Create(Box<container::CreateArgs>),
    /// Open a shell where a step of a build has failed
    Debug(build::DebugArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(container::DiffArgs),
    /// Get real time events
    Events(system::events::Args),
    /// Execute a command in a running container
    Exec(container::ExecArgs),
    /// Export a container's filesystem as a tar archive
    Export(container::ExportArgs),
    /// Show the history of an image
    History(image::history::Args),
    /// Manage images
    #[command(subcommand)]
    Image(image::Command),
    /// List images
    Images(image::ls::Args),
    /// Return low-level information on containers, images, networks and volumes
    Inspect(object::Args),
    /// Kill one or more running containers
    Kill(container::KillArgs),
    /// Fetch the logs of a container
    Logs(container::LogsArgs),
    /// Manage networks
    #[command(subcommand)]
    Network(network::Command),
    /// Run containers from OCI bundles, as engines call a low-level runtime
    #[command(name = "oci-runtime")]
    OciRuntime(oci_runtime::Elsewhere),
    /// Pause all processes within one or more containers
    Pause(container::PauseArgs),
    /// List port mappings or a specific mapping for the container
    Port(container::PortArgs),
    /// List containers
    Ps(container::LsArgs),
    /// Rename a container
    Rename(container::RenameArgs),
    /// Restart one or more containers
    Restart(container::RestartArgs),
    /// Remove one or more containers
    Rm(container::RmArgs),
    /// Remove one or more images
    Rmi(image::rm::Args),
    /// Create and run a new container from an image
    Run(Box<container::RunArgs>),
    /// Start one or more stopped containers
    Start(container::StartArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(container::StatsArgs),
    /// Stop one or more running containers
    Stop(container::StopArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(image::tag::Args),
    /// Display the running processes of a container
    Top(container::TopArgs),
    /// Unpause all processes within one or more containers
    Unpause(container::UnpauseArgs),
    /// Update configuration of one or more containers
    Update(container::UpdateArgs),
    /// Show the version of berth
    Version(system::version::Args),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Command),
    /// Block until one or more containers stop, then print their exit codes
    Wait(container::WaitArgs),
    /// Say why a container is as it is, and what to do about it
    Why(container::WhyArgs),
    /// Manage berth
    #[command(subcommand)]
    System(system::Command),
}

impl Command {
    /// Whether it has to do with images and containers of this machine. Who is not root becomes root of his own then.
    fn uses_the_store(&self) -> bool {
        !matches!(
            self,
            Self::Login(_) | Self::Logout(_) | Self::Search(_) | Self::Version(_) | Self::OciRuntime(_)
        )
    }
}

/// `help image ls` is `image ls --help`.
fn without_help_word(mut words: Vec<OsString>, persona: Persona) -> std::result::Result<Vec<OsString>, Exit> {
    if words.get(1).is_none_or(|word| word != "help") {
        return Ok(words);
    }
    words.remove(1);
    let root = usage::whole(tree(persona));
    let named = words.iter().skip(1).try_fold(&root, |command, word| command.find_subcommand(word));
    if named.is_none() {
        let topic: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
        terminal::complain(format!("unknown help topic: {}", topic.join(" ")));
        return Err(Exit::FAILURE);
    }
    words.push("--help".into());
    Ok(words)
}

/// Runs the command that `words` name.
pub(crate) fn run(persona: Persona, words: Vec<OsString>) -> Outcome {
    let words = match without_help_word(words, persona) {
        Ok(words) => words,
        Err(exit) => return Ok(exit),
    };
    let parsed =
        tree(persona).try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage::explain(&error, &usage::whole(tree(persona)), persona, &words),
    };
    let level = cli.global.log_level.unwrap_or_default();
    terminal::set_level(if cli.global.debug { LogLevel::Debug } else { level });
    let settings = Settings::read(persona, &cli.global)?;
    if let Some(plan) = &settings.environment.fault {
        berth_store::fault::arm(plan.parse()?);
    }
    if cli.command.uses_the_store() {
        user::become_root(&settings)?;
    }
    let context = Context::new(settings);
    dispatch(cli.command, &context)
}

fn tree(persona: Persona) -> clap::Command {
    // Help and errors are docker's (`help.rs`, `usage.rs`); clap only parses. The arguments of a command are drawn up
    // when the words name it: all of them would cost every call a millisecond.
    let tree = Cli::command().mut_args(usage::as_docker).name(persona.program()).bin_name(persona.program());
    usage::without_help(tree.version(""))
}

fn dispatch(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Build(args) => args.run(context),
        Command::Builder(command) => command.run(context),
        Command::Buildx(command) => command.run(context),
        Command::Copy(args) => args.run(context),
        Command::Import(args) => args.run(context),
        Command::Info(args) => args.run(context),
        Command::Load(args) => args.run(context),
        Command::Login(args) => args.run(context),
        Command::Logout(args) => args.run(context),
        Command::Manifest(command) => command.run(context),
        Command::Pull(args) => args.run(context),
        Command::Push(args) => args.run(context),
        Command::Save(args) => args.run(context),
        Command::Search(args) => args.run(context),
        Command::Attach(args) => args.run(context),
        Command::Container(command) => command.run(context),
        Command::Commit(args) => args.run(context),
        Command::Cp(args) => args.run(context),
        Command::Create(args) => args.run(context),
        Command::Debug(args) => args.run(context),
        Command::Diff(args) => args.run(context),
        Command::Events(args) => args.run(context),
        Command::Exec(args) => args.run(context),
        Command::Export(args) => args.run(context),
        Command::History(args) => args.run(context),
        Command::Image(command) => command.run(context),
        Command::Images(args) => args.run(context),
        Command::Inspect(args) => args.run(context),
        Command::Kill(args) => args.run(context),
        Command::Logs(args) => args.run(context),
        Command::Network(command) => command.run(context),
        Command::OciRuntime(args) => args.run(),
        Command::Pause(args) => args.run(context),
        Command::Port(args) => args.run(context),
        Command::Ps(args) => args.run(context),
        Command::Rename(args) => args.run(context),
        Command::Restart(args) => args.run(context),
        Command::Rm(args) => args.run(context),
        Command::Rmi(args) => args.run(context),
        Command::Run(args) => args.run(context),
        Command::Start(args) => args.run(context),
        Command::Stats(args) => args.run(context),
        Command::Stop(args) => args.run(context),
        Command::Tag(args) => args.run(context),
        Command::Top(args) => args.run(context),
        Command::Unpause(args) => args.run(context),
        Command::Update(args) => args.run(context),
        Command::Version(args) => args.run(context),
        Command::Volume(command) => command.run(context),
        Command::Wait(args) => args.run(context),
        Command::Why(args) => args.run(context),
        Command::System(command) => command.run(context),
    }
}

/// The version line that scripts look for.
fn version_line(persona: Persona) -> Outcome {
    terminal::line(match persona {
        Persona::Berth => {
            format!("berth version {}, build {}", system::version::VERSION, system::version::BUILD)
        }
        Persona::Docker => format!(
            "Docker version {}, build berth-{}",
            system::version::DOCKER_VERSION,
            system::version::VERSION
        ),
    })?;
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_every_command_takes_words_as_docker_does() {
        let whole = usage::whole(tree(Persona::Berth));
        assert!(whole.get_subcommands().count() > 30);
        check(&whole);
    }

    fn check(command: &clap::Command) {
        for arg in command.get_arguments().filter(|arg| !arg.is_positional() && arg.get_id() != "help") {
            let taken = match arg.get_action() {
                ArgAction::Set | ArgAction::Append => {
                    arg.is_allow_hyphen_values_set() || arg.is_require_equals_set()
                }
                action => !matches!(action, ArgAction::SetTrue),
            };
            assert!(taken, "{}: its arguments lack `mut_args(usage::as_docker)`: {arg}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
}
