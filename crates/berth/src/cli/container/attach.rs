//! `berth attach`: a running container's streams become ours.

use super::session::Session;
use super::start::ended;
use crate::cli::Context;
use crate::console::{self, DetachKeys};
use crate::exit::{Failure, Outcome};
use crate::terminal;
use berth_engine::container::Container;
use berth_oci::Error;
use berth_runtime::{Status, Streams};

/// Attach local standard input, output, and error streams to a running container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = DetachKeys::parse)]
    detach_keys: Option<DetachKeys>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, value_name = "bool", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let container = context.engine()?.container(&self.container)?;
        let refused = match container.status() {
            Status::Running => None,
            Status::Paused => Some("You cannot attach to a paused container, unpause it first"),
            Status::Restarting => {
                Some("You cannot attach to a restarting container, wait until it is running")
            }
            Status::Created | Status::Exited => {
                Some("You cannot attach to a stopped container, start it first")
            }
        };
        if let Some(why) = refused {
            return Err(Failure::client(Error::conflict(why)));
        }
        let spec = &container.document.spec;
        let stdin = !self.no_stdin && spec.open_stdin;
        if spec.tty && stdin && !terminal::stdin_is_terminal() {
            return Err(Failure::client(Error::invalid("the input device is not a TTY")));
        }
        follow(context, &container, stdin, self.detach_keys, self.sig_proxy)
    }
}

/// Attaches to a running container.
pub(super) fn follow(
    context: &Context,
    container: &Container,
    stdin: bool,
    detach_keys: Option<DetachKeys>,
    sig_proxy: bool,
) -> Outcome {
    let tty = container.document.spec.tty;
    let session = Session { stdin, tty, detach_keys: detach_keys.unwrap_or_default(), sig_proxy };
    let signals = session.take_signals()?;
    let mut connection = context.engine()?.talk(container)?;
    connection.attach(Streams { stdin, stdout: true, stderr: true })?;
    if let Some((rows, columns)) = console::size().filter(|_| tty) {
        // Its size may be another than that of whoever was here before.
        let _ = connection.input()?.resize(rows, columns);
    }
    let ending = session.run(&mut connection, &signals)?;
    Ok(ended(context, &container.id, ending)?)
}
