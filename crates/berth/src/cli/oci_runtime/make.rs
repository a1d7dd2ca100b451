//! `create` and `run`.

use super::Context;
use super::foreground;
use crate::exit::{Exit, Outcome};
use berth_oci::{Error, Result};
use berth_runtime::oci::{Child, Create};
use std::path::PathBuf;

/// What both take.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct Common {
    /// The directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// The configuration's file, if it is not the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A socket that gets the other end of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// A file for the number of the container's first process
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// How many descriptors after the standard three are for the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Enter the root by moving it, for machines that run from a ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// Leave the container in the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// The container's name
    id: String,
}

/// `create`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct CreateArgs {
    #[command(flatten)]
    common: Common,
}

/// `run`
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(super) struct RunArgs {
    /// Return when the program runs
    #[arg(short, long)]
    detach: bool,
    /// Leave the container's state when it has ended
    #[arg(long)]
    keep: bool,
    /// Leave orphans of the container to whoever adopts them
    #[arg(long)]
    no_subreaper: bool,
    #[command(flatten)]
    common: Common,
}

impl Common {
    /// Sockets that systemd has opened for us are the container's, too; if they really came along.
    fn preserved(&self) -> u32 {
        let sockets = crate::settings::listening_sockets();
        self.preserve_fds + if check_open(sockets).is_ok() { sockets } else { 0 }
    }

    fn create(&self, context: &Context) -> Result<Child> {
        let environment = match crate::settings::listening_sockets() {
            0 => Vec::new(),
            count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
        };
        context.log.debug(|| format!("creating {} from {}", self.id, self.bundle.display()));
        let child = context.runtime.create(&Create {
            id: &self.id,
            bundle: &self.bundle,
            config: self.config.as_deref(),
            console_socket: self.console_socket.as_deref(),
            pid_file: self.pid_file.as_deref(),
            preserved: self.preserved(),
            environment,
            says_ready: crate::settings::notify_socket().is_some(),
            new_keyring: !self.no_new_keyring,
            no_pivot: self.no_pivot,
        })?;
        child.warnings.iter().for_each(|warning| context.log.warn(warning));
        Ok(child)
    }
}

/// A descriptor that is not there would be one of ours by the time it is handed over.
pub(super) fn check_open(count: u32) -> Result<()> {
    match (3..count.saturating_add(3))
        .find(|number| !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists())
    {
        Some(number) => {
            Err(Error::invalid(format!("descriptor {number} is to be preserved, but is not open")))
        }
        None => Ok(()),
    }
}

impl CreateArgs {
    pub(super) fn preserved(&self) -> u32 {
        self.common.preserved()
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        let child = self.common.create(context)?;
        if child.terminal.is_some() {
            context.runtime.delete(&self.common.id, true)?;
            return Err(Error::invalid("a container with a terminal needs --console-socket").into());
        }
        Ok(Exit::SUCCESS)
    }
}

impl RunArgs {
    pub(super) fn preserved(&self) -> u32 {
        self.common.preserved()
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        if !self.no_subreaper && !self.detach {
            foreground::adopt_orphans()?;
        }
        let id = &self.common.id;
        let signals = foreground::Signals::take()?;
        let child = self.common.create(context)?;
        if self.detach && child.terminal.is_some() {
            context.runtime.delete(id, true)?;
            return Err(Error::invalid("a detached container with a terminal needs --console-socket").into());
        }
        let readiness = match context.start(id) {
            Ok(readiness) => readiness,
            Err(error) => {
                context.runtime.delete(id, true)?;
                return Err(error.into());
            }
        };
        if self.detach {
            context.tell_when_ready(id, readiness);
            return Ok(Exit::SUCCESS);
        }
        let code =
            foreground::accompany(child, &signals, readiness, |complaint| context.log.warn(complaint))?;
        if !self.keep {
            context.runtime.delete(id, true)?.iter().for_each(|warning| context.log.warn(warning));
        }
        Ok(Exit(code))
    }
}
