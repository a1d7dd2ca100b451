//! `berth exec`: a further process in a running container.

use super::read::read_env;
use super::session::{Ending, Session};
use crate::cli::Context;
use crate::console::{self, DetachKeys};
use crate::exit::{ClientSide, Exit, Failure, Outcome};
use crate::settings::Persona;
use crate::terminal;
use berth_engine::container::ExecSpec;
use berth_engine::spec::{EnvVar, Signal};
use berth_oci::{Error, Kind};
use std::path::PathBuf;

/// Execute a command in a running container.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = DetachKeys::parse)]
    detach_keys: Option<DetachKeys>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<EnvVar>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND [ARG...]", required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

/// Docker's code is 1 for what is wrong with the container, and a shell's for what is wrong with the program; of the
/// latter its runtime tells on the output of the process that there is not.
fn not_started(context: &Context, error: Error, detach: bool) -> Outcome {
    let code = match berth_runtime::exit_code(&error) {
        125 => 1,
        code => code,
    };
    let is_of_program = matches!(error.kind(), Kind::NotFound | Kind::Denied)
        && !error.message().starts_with("unable to find");
    match (context.settings.persona, is_of_program) {
        (Persona::Docker, true) => {
            let told =
                format!("OCI runtime exec failed: exec failed: unable to start container process: {error}");
            match detach {
                true => Err(Failure::from(Error::new(error.kind(), told))),
                false => terminal::line(told).map(|()| Exit(code)).map_err(Failure::from),
            }
        }
        _ if error.kind() == Kind::Conflict => Err(error.into()),
        _ => Err(Failure::from(error).with_code(code)),
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let stdin = self.interactive && !self.detach;
        if self.tty && stdin && !terminal::stdin_is_terminal() {
            return Err(Failure::client(Error::invalid("the input device is not a TTY")));
        }
        let engine = context.engine()?;
        let container = engine.container(&self.container)?;
        let spec = ExecSpec {
            command: self.command,
            env: read_env(self.env, &self.env_file, &crate::settings::caller_variable).client()?,
            user: self.user,
            working_dir: self.workdir,
            tty: self.tty,
            stdin,
            privileged: self.privileged,
            terminal_size: if self.tty { console::size() } else { None },
        };
        let session = Session {
            stdin,
            tty: self.tty,
            detach_keys: self.detach_keys.unwrap_or_default(),
            // Docker's exec keeps signals to itself: Ctrl-C ends the client, and the process goes on.
            sig_proxy: false,
        };
        let signals = session.take_signals()?;
        let (mut connection, started) = match engine.exec(&container, &spec) {
            Ok(running) => running,
            Err(error) => return not_started(context, error, self.detach),
        };
        super::run::warn(&started.warnings);
        if self.detach {
            return Ok(Exit::SUCCESS);
        }
        match session.run(&mut connection, &signals)? {
            Ending::Exited(exit) => Ok(Exit(exit.code)),
            Ending::Detached => Ok(Exit::SUCCESS),
            Ending::Signal(number) => Ok(Exit(128 + number)),
            // With its monitor the whole container was killed, and this process in it.
            Ending::Lost => {
                let lost = Error::unavailable(format!("container {}'s monitor was killed", container.name));
                Err(Failure::from(lost).with_code(128 + Signal::KILL.number()))
            }
        }
    }
}
