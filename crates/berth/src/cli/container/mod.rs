//! `berth container …`: one file a verb; `berth run` and `berth container run` share theirs.

mod attach;
mod commit;
mod cp;
mod create;
mod describe;
mod diff;
mod document;
mod document_mounts;
mod exec;
mod export;
mod inspect;
mod isolation;
mod kill;
mod life;
mod logs;
mod ls;
mod options;
mod pause;
mod port;
mod prune;
mod read;
mod rename;
mod restart;
mod rm;
mod run;
mod session;
mod start;
mod stats;
mod stop;
mod top;
mod update;
mod wait;
mod why;

use super::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_oci::Result;

pub(crate) use attach::Args as AttachArgs;
pub(crate) use commit::Args as CommitArgs;
pub(crate) use cp::Args as CpArgs;
pub(crate) use create::Args as CreateArgs;
pub(crate) use diff::Args as DiffArgs;
pub(crate) use exec::Args as ExecArgs;
pub(crate) use export::Args as ExportArgs;
pub(crate) use inspect::{Args as InspectArgs, get as inspect_container};
pub(crate) use kill::Args as KillArgs;
pub(crate) use logs::Args as LogsArgs;
pub(crate) use ls::Args as LsArgs;
pub(crate) use pause::{PauseArgs, UnpauseArgs};
pub(crate) use port::Args as PortArgs;
pub(crate) use prune::Args as PruneArgs;
pub(crate) use rename::Args as RenameArgs;
pub(crate) use restart::Args as RestartArgs;
pub(crate) use rm::Args as RmArgs;
pub(crate) use run::Args as RunArgs;
pub(crate) use start::Args as StartArgs;
pub(crate) use stats::Args as StatsArgs;
pub(crate) use stop::Args as StopArgs;
pub(crate) use top::Args as TopArgs;
pub(crate) use update::Args as UpdateArgs;
pub(crate) use wait::Args as WaitArgs;
pub(crate) use why::Args as WhyArgs;

/// Commands about containers.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Attach local standard input, output, and error streams to a running container
    Attach(AttachArgs),
    /// Create a new image from a container's changes
    Commit(CommitArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(CpArgs),
    /// Create a new container
    Create(Box<CreateArgs>),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(DiffArgs),
    /// Execute a command in a running container
    Exec(ExecArgs),
    /// Export a container's filesystem as a tar archive
    Export(ExportArgs),
    /// Display detailed information on one or more containers
    Inspect(InspectArgs),
    /// Kill one or more running containers
    Kill(KillArgs),
    /// Fetch the logs of a container
    Logs(LogsArgs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(LsArgs),
    /// Pause all processes within one or more containers
    Pause(PauseArgs),
    /// List port mappings or a specific mapping for the container
    Port(PortArgs),
    /// Remove all stopped containers
    Prune(PruneArgs),
    /// Rename a container
    Rename(RenameArgs),
    /// Restart one or more containers
    Restart(RestartArgs),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Create and run a new container from an image
    Run(Box<RunArgs>),
    /// Start one or more stopped containers
    Start(StartArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(StatsArgs),
    /// Stop one or more running containers
    Stop(StopArgs),
    /// Display the running processes of a container
    Top(TopArgs),
    /// Unpause all processes within one or more containers
    Unpause(UnpauseArgs),
    /// Update configuration of one or more containers
    Update(UpdateArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(WaitArgs),
    /// Say why a container is as it is, and what to do about it
    Why(WhyArgs),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Attach(args) => args.run(context),
            Self::Commit(args) => args.run(context),
            Self::Cp(args) => args.run(context),
            Self::Create(args) => args.run(context),
            Self::Diff(args) => args.run(context),
            Self::Exec(args) => args.run(context),
            Self::Export(args) => args.run(context),
            Self::Inspect(args) => args.run(context),
            Self::Kill(args) => args.run(context),
            Self::Logs(args) => args.run(context),
            Self::Ls(args) => args.run(context),
            Self::Pause(args) => args.run(context),
            Self::Port(args) => args.run(context),
            Self::Prune(args) => args.run(context),
            Self::Rename(args) => args.run(context),
            Self::Restart(args) => args.run(context),
            Self::Rm(args) => args.run(context),
            Self::Run(args) => args.run(context),
            Self::Start(args) => args.run(context),
            Self::Stats(args) => args.run(context),
            Self::Stop(args) => args.run(context),
            Self::Top(args) => args.run(context),
            Self::Unpause(args) => args.run(context),
            Self::Update(args) => args.run(context),
            Self::Wait(args) => args.run(context),
            Self::Why(args) => args.run(context),
        }
    }
}

/// Does the same to each of several containers: each name is echoed as it is done, each failure told, and one
/// failure makes the whole fail, without keeping the others from their turn.
fn each(context: &Context, names: &[String], act: impl Fn(&str) -> Result<()>) -> Outcome {
    let mut exit = Exit::SUCCESS;
    for name in names {
        match act(name) {
            Ok(()) => terminal::line(name)?,
            Err(error) => {
                Failure::from(error).report(context.settings.persona);
                exit = Exit::FAILURE;
            }
        }
    }
    Ok(exit)
}
