//! How a build that failed says so: the step's last words, the lines of the Dockerfile, then one sentence.

use crate::exit::Failure;
use crate::settings::Persona;
use crate::terminal;
use berth_oci::{Error, Kind};
use std::path::Path;

/// Prints everything but the last sentence, which is the answer.
pub(super) fn told(failure: berth_build::Failure, log: &Path, persona: Persona) -> Failure {
    if failure.error.kind() == Kind::Cancelled {
        return Failure::from(Error::cancelled("failed to solve: Canceled: context canceled"));
    }
    if let Some(step) = &failure.step {
        let mut text = format!("------\n > {}:\n", step.name);
        text.push_str(&String::from_utf8_lossy(&step.output));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("------");
        terminal::complain(text);
    }
    let excerpt = failure.excerpt();
    if !excerpt.is_empty() {
        terminal::complain(excerpt.trim_end());
    }
    if let Some(kept) = failure.step.as_ref().and_then(|step| step.kept.as_ref()) {
        let step = &kept.hex()[..12];
        terminal::complain(format!("Step {step} is kept for a day. Look around in it: berth debug {step}"));
    }
    terminal::complain(format!("The whole log is in {}", log.display()));
    let error = failure.error;
    let frame = match persona {
        Persona::Berth => "failed to solve",
        Persona::Docker => "ERROR: failed to build: failed to solve",
    };
    let mut told = Error::new(error.kind(), format!("{frame}: {error}"));
    if let Some(hint) = error.hint_text() {
        told = told.hint(hint);
    }
    Failure::client(told)
}
