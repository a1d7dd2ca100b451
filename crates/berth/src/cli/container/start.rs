//! `berth start`: containers that were made or have ended run (again).

use super::run::warn;
use super::session::{Ending, Session};
use crate::cli::Context;
use crate::console::{self, DetachKeys};
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;
use berth_engine::container::{StartOptions, WaitCondition};
use berth_oci::Error;
use berth_runtime::Streams;

/// Start one or more stopped containers.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = DetachKeys::parse)]
    detach_keys: Option<DetachKeys>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match (self.attach || self.interactive, &self.containers[..]) {
            (true, [name]) => self.attached(context, name),
            (true, _) => Err(Failure::client(Error::invalid(
                "you cannot start and attach multiple containers at once",
            ))),
            (false, _) => self.detached(context),
        }
    }

    fn detached(&self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut failed = Vec::new();
        for name in &self.containers {
            match engine.start(name) {
                Ok((_, warnings)) => {
                    warn(&warnings);
                    terminal::line(name)?;
                }
                Err(error) => {
                    Failure::from(error).report(context.settings.persona);
                    failed.push(name.as_str());
                }
            }
        }
        if failed.is_empty() {
            return Ok(Exit::SUCCESS);
        }
        terminal::complain(format!("Error: failed to start containers: {}", failed.join(", ")));
        Ok(Exit::FAILURE)
    }

    fn attached(&self, context: &Context, name: &str) -> Outcome {
        let engine = context.engine()?;
        let container = engine.container(name)?;
        let spec = &container.document.spec;
        let stdin = self.interactive && spec.open_stdin;
        if spec.tty && stdin && !terminal::stdin_is_terminal() {
            return Err(Failure::client(Error::invalid("the input device is not a TTY")));
        }
        if container.is_running() {
            return super::attach::follow(context, &container, stdin, self.detach_keys.clone(), true);
        }
        let session = Session {
            stdin,
            tty: spec.tty,
            detach_keys: self.detach_keys.clone().unwrap_or_default(),
            sig_proxy: true,
        };
        let signals = session.take_signals()?;
        let options = StartOptions {
            streams: Streams { stdin, stdout: true, stderr: true },
            terminal_size: if session.tty { console::size() } else { None },
        };
        let mut launch = engine.launch(container, &options, None)?;
        warn(&engine.begin(&mut launch)?);
        let ending = session.run(&mut launch.connection, &signals)?;
        Ok(ended(context, &launch.container.id, ending)?)
    }
}

/// The code to end with.
pub(super) fn ended(context: &Context, id: &str, ending: Ending) -> berth_oci::Result<Exit> {
    Ok(match ending {
        Ending::Exited(exit) => Exit(exit.code),
        Ending::Detached => Exit::SUCCESS,
        Ending::Signal(number) => Exit(128 + number),
        Ending::Lost => Exit(context.engine()?.wait(id, WaitCondition::NotRunning)?),
    })
}
