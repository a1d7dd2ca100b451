//! `berth run`: create, start, and, in the foreground, be the container's terminal until it ends.

use super::options::{Caller, ContainerOptions, PullPolicy, Read, Stream};
use super::session::{Ending, Session};
use super::why;
use crate::cli::{Context, image};
use crate::console::{self, DetachKeys};
use crate::exit::{ClientSide, Exit, Failure, Outcome, USAGE};
use crate::settings::{Persona, Settings};
use crate::terminal;
use berth_engine::Engine;
use berth_engine::container::{
    Container, CreateRequest, Created, RemoveOptions, StartOptions, WaitCondition,
};
use berth_engine::spec::Streams;
use berth_oci::{AtPath, Context as _, Error, Kind, Reference};
use berth_runtime::Standby;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Create and run a new container from an image.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", value_parser = DetachKeys::parse)]
    detach_keys: Option<DetachKeys>,
    /// Proxy received signals to the process
    #[arg(long, value_name = "bool", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    options: ContainerOptions,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if self.detach && !self.options.attach.is_empty() {
            return Err(Failure::client(Error::invalid(
                "conflicting options: cannot specify both --attach and --detach",
            )));
        }
        let attached = if self.detach { Streams::default() } else { attached(&self.options) };
        if self.options.tty && attached.stdin && !terminal::stdin_is_terminal() {
            return Err(Failure::client(Error::invalid("the input device is not a TTY")));
        }
        let engine = context.engine()?;
        let quiet = self.options.quiet;
        let (tty, rm) = (self.options.tty, self.options.rm);
        let read = read(self.options, attached, &context.settings).map_err(refused)?;
        // Where it cannot be had yet, whoever starts the container says why.
        let standby = engine.standby().ok();
        let id = standby.as_ref().map(|standby| standby.id().to_owned());
        let created = create(context, read, quiet, id).map_err(refused)?;
        if self.detach {
            return detached(engine, &created.container, rm, standby);
        }
        let session = Session {
            stdin: attached.stdin,
            tty,
            detach_keys: self.detach_keys.unwrap_or_default(),
            sig_proxy: self.sig_proxy,
        };
        foreground(context, created.container, attached, session, standby)
    }
}

/// Docker's frame around whatever keeps `run` from starting: code 125 and where the help is.
fn refused(failure: Failure) -> Failure {
    failure.with_code(USAGE).with_help("run")
}

/// Which streams the caller attaches to: those named, or, where none is, what the flags make sensible.
pub(super) fn attached(options: &ContainerOptions) -> Streams {
    let named = |stream| options.attach.contains(&stream);
    let none = options.attach.is_empty();
    Streams {
        stdin: options.interactive || named(Stream::Stdin),
        stdout: none || named(Stream::Stdout),
        stderr: none || named(Stream::Stderr),
    }
}

/// Reads the flags where this process stands.
pub(super) fn read(
    options: ContainerOptions,
    attached: Streams,
    settings: &Settings,
) -> Result<Read, Failure> {
    let directory = std::env::current_dir().at(".").client()?;
    let caller = Caller {
        directory: &directory,
        variable: &crate::settings::caller_variable,
        platform: settings.default_platform.as_deref(),
    };
    options.read(attached, &caller)
}

/// Fetches the image if need be, makes the container, with this id where it has one already, and writes its id where
/// that was asked for.
pub(super) fn create(
    context: &Context,
    read: Read,
    quiet: bool,
    id: Option<String>,
) -> Result<Created, Failure> {
    let engine = context.engine()?;
    let id_file = read.spec.id_file.as_deref().map(new_id_file).transpose()?;
    if read.pull == PullPolicy::Always {
        image::pull::fetch(context, &read.spec.image, read.spec.platform.as_ref(), quiet)?;
    }
    let request = CreateRequest { spec: read.spec, id, name: read.name };
    let created = match engine.create(request.clone()) {
        Err(error)
            if error.kind() == Kind::NotFound
                && read.pull == PullPolicy::Missing
                && !engine.has_image(&request.spec)? =>
        {
            // An id cannot be asked for anywhere.
            let Ok(reference) = request.spec.image.parse::<Reference>() else { return Err(error.into()) };
            terminal::complain(format!(
                "Unable to find image '{}' locally",
                reference.or_latest().familiar()
            ));
            image::pull::fetch(context, &request.spec.image, request.spec.platform.as_ref(), quiet)?;
            engine.create(request)?
        }
        created => created?,
    };
    if let Some(mut file) = id_file {
        file.write_all(created.container.id.as_bytes()).context(|| "cannot write the container's id")?;
    }
    for warning in &created.warnings {
        terminal::complain(format!("WARNING: {warning}"));
    }
    Ok(created)
}

fn new_id_file(path: &Path) -> Result<File, Failure> {
    let made = File::options().write(true).create_new(true).open(path);
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::client(Error::conflict(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        ))),
        _ => {
            let told = format!("failed to create the container ID file: open {}", path.display());
            let error = Error::from(error);
            Failure::client(Error::new(error.kind(), told).caused_by(error))
        }
    })
}

fn detached(engine: &Engine, container: &Container, rm: bool, standby: Option<Standby>) -> Outcome {
    match engine.start_with(&container.id, standby) {
        Ok((_, warnings)) => {
            warn(&warnings);
            terminal::line(&container.id)?;
            Ok(Exit::SUCCESS)
        }
        Err(error) => Err(not_started(engine, container, rm, error)),
    }
}

fn foreground(
    context: &Context,
    container: Container,
    streams: Streams,
    session: Session,
    standby: Option<Standby>,
) -> Outcome {
    let engine = context.engine()?;
    if !streams.stdout && !streams.stderr {
        terminal::line(&container.id)?;
    }
    let rm = container.document.spec.auto_remove;
    let id = container.id.clone();
    let signals = session.take_signals()?;
    let options = StartOptions {
        streams: berth_runtime::Streams {
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        },
        terminal_size: if session.tty { console::size() } else { None },
    };
    let mut launch = match engine.launch(container.clone(), &options, standby) {
        Ok(launch) => launch,
        Err(error) => return Err(not_started(engine, &container, rm, error)),
    };
    match engine.begin(&mut launch) {
        Ok(warnings) => warn(&warnings),
        Err(error) => return Err(not_started(engine, &container, rm, error)),
    }
    match session.run(&mut launch.connection, &signals)? {
        Ending::Exited(exit) => {
            // Before it goes: what its monitor knows about its end.
            let ended = engine.container(&id).ok();
            if rm {
                removed(engine.remove(&id, RemoveOptions { volumes: true, ..RemoveOptions::default() }))?;
                // If the monitor has gone by itself there is nobody to tell.
                let _ = launch.connection.cleaned();
            }
            explain(ended.as_ref(), context.settings.persona);
            Ok(Exit(exit.code))
        }
        Ending::Detached => Ok(Exit::SUCCESS),
        Ending::Signal(number) => Ok(Exit(128 + number)),
        Ending::Lost => {
            let code = engine.wait(&id, WaitCondition::NotRunning)?;
            let error = engine.container(&id)?.state.and_then(|state| state.error);
            if rm {
                removed(engine.remove(&id, RemoveOptions { volumes: true, ..RemoveOptions::default() }))?;
            }
            if let Some(error) = error {
                terminal::complain(format!("{}: {error}", context.settings.persona.program()));
            }
            Ok(Exit(code))
        }
    }
}

/// What could not be done as asked.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        terminal::complain(format!("WARNING: {warning}"));
    }
}

/// A program that cannot be run ends as a shell would end: 126 or 127, and 125 for everything else.
fn not_started(engine: &Engine, container: &Container, rm: bool, error: Error) -> Failure {
    let code = berth_runtime::exit_code(&error);
    if rm {
        // The reason why it did not start is what the user wants to read, not this.
        if let Err(also) = engine.remove(&container.id, RemoveOptions { force: true, volumes: true }) {
            terminal::complain(format!("cannot remove container {}: {also}", container.short_id()));
        }
    }
    Failure::from(error).with_code(code).with_help("run")
}

/// Somebody else may have removed it already.
fn removed(result: berth_oci::Result<()>) -> berth_oci::Result<()> {
    match result {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        result => result,
    }
}

/// Docker keeps it to itself why a container was killed; whoever waits for it here is told.
fn explain(container: Option<&Container>, persona: Persona) {
    if let Some(reason) = container.and_then(why::surprise) {
        terminal::complain(format!("{}: {reason}", persona.program()));
    }
}
