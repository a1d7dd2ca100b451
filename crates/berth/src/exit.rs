//! How berth ends: the one table from [`Kind`] to an exit code, and the words on stderr before it.
//!
//! Invariant: nothing else in the workspace ends the process.

use crate::settings::Persona;
use crate::terminal;
use berth_oci::{Error, Kind};

/// What a command that did its work ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) i32);

impl Exit {
    /// All went well.
    pub(crate) const SUCCESS: Self = Self(0);
    /// It did not, and the reason has been printed.
    pub(crate) const FAILURE: Self = Self(1);
}

/// The result of a command.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Why a command failed, and how to say it.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    code: Option<i32>,
    side: Side,
    help: Option<String>,
}

/// Who found the mistake: docker's command line (which speaks plainly) or its daemon (which is quoted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Engine,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, code: None, side: Side::Engine, help: None }
    }
}

impl Failure {
    /// A mistake that docker's own command line would have found: no `Error response from daemon` before it.
    pub(crate) fn client(error: Error) -> Self {
        Self { side: Side::Client, ..Self::from(error) }
    }

    /// Ends with this code instead of the one its kind has.
    #[must_use]
    pub(crate) fn with_code(mut self, code: i32) -> Self {
        self.code = Some(code);
        self
    }

    /// Points to a command's help, as `docker run` does: `Run 'docker run --help' for more information`.
    #[must_use]
    pub(crate) fn with_help(mut self, command: impl Into<String>) -> Self {
        self.help = Some(command.into());
        self
    }

    /// What went wrong, in one line.
    pub(crate) fn message(&self) -> String {
        self.error.to_string()
    }

    /// Prints it while the command goes on with something else.
    pub(crate) fn report(&self, persona: Persona) {
        self.tell(persona);
    }

    /// Prints it and answers the exit code.
    fn tell(&self, persona: Persona) -> i32 {
        terminal::complain(self.text(persona));
        if let (Persona::Berth, Some(hint)) = (persona, self.error.hint_text()) {
            terminal::complain(format!("hint: {hint}"));
        }
        if let Some(command) = &self.help {
            terminal::complain(format!(
                "\nRun '{} {command} --help' for more information",
                persona.program()
            ));
        }
        terminal::debug(|| format!("debug: {:?}", self.error));
        self.code.unwrap_or_else(|| code(self.error.kind()))
    }

    fn text(&self, persona: Persona) -> String {
        let said = match (persona, self.side) {
            (Persona::Berth, _) => format!("Error: {}", self.error),
            (Persona::Docker, Side::Client) => self.error.to_string(),
            (Persona::Docker, Side::Engine) => format!("Error response from daemon: {}", self.error),
        };
        match (persona, &self.help) {
            (Persona::Docker, Some(_)) => format!("docker: {said}"),
            _ => said,
        }
    }
}

/// Says of an error that docker's own command line would have found it.
pub(crate) trait ClientSide<T> {
    /// See [`Failure::client`].
    fn client(self) -> Result<T, Failure>;
}

impl<T> ClientSide<T> for Result<T, Error> {
    fn client(self) -> Result<T, Failure> {
        self.map_err(Failure::client)
    }
}

fn code(kind: Kind) -> i32 {
    match kind {
        Kind::Cancelled => INTERRUPTED,
        _ => 1,
    }
}

/// What a shell sees of a process that Ctrl-C ended.
pub(crate) const INTERRUPTED: i32 = 130;
/// Docker's code for an unknown flag, and for a container that the engine could not create.
pub(crate) const USAGE: i32 = 125;

/// Ends the process with what the command came to.
pub(crate) fn finish(outcome: Outcome, persona: Persona) -> ! {
    let code = match outcome {
        Ok(Exit(code)) => code,
        Err(failure) => failure.tell(persona),
    };
    end(code)
}

/// Ends the process.
pub(crate) fn end(code: i32) -> ! {
    #[expect(clippy::exit, clippy::disallowed_methods, reason = "the one place that ends the process")]
    std::process::exit(code)
}
