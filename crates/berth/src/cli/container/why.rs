//! `berth why`: why a container is as it is, and what to do about it; and the one line of it that others show.
//!
//! Not here: finding the cause (`berth-engine`). Invariant: what is only likely is called so.

use super::describe::{command, status};
use crate::cli::Context;
use crate::exit::{Exit, Outcome};
use crate::format::human;
use crate::terminal;
use berth_engine::container::{Cause, Container, Diagnosis};
use berth_engine::spec::Signal;
use berth_runtime::{Asked, HealthStatus, OutOfMemory};
use jiff::Timestamp;
use serde_json::json;

/// Say why a container is as it is, and what to do about it.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct Args {
    /// Print it as JSON
    #[arg(long, value_name = "string", value_parser = ["json"])]
    format: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER", required = true)]
    container: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let diagnosis = context.engine()?.why(&self.container)?;
        match self.format {
            Some(_) => terminal::line(document(&diagnosis).to_string())?,
            None => terminal::print(text(&diagnosis))?,
        }
        Ok(Exit::SUCCESS)
    }
}

fn document(diagnosis: &Diagnosis) -> serde_json::Value {
    let container = &diagnosis.container;
    let state = container.state.as_ref();
    json!({
        "Id": container.id,
        "Name": container.name,
        "Status": status(container, Timestamp::now()),
        "ExitCode": state.and_then(|s| s.exit_code),
        "Reason": reason(container, &diagnosis.cause),
        "Advice": advice(diagnosis),
        "Circumstances": state.map(|s| &s.circumstances),
        "LastLines": diagnosis.last_lines,
    })
}

fn text(diagnosis: &Diagnosis) -> String {
    let container = &diagnosis.container;
    let mut out = format!(
        "{} ({}): {}\n  {}\n",
        container.name,
        container.short_id(),
        status(container, Timestamp::now()),
        reason(container, &diagnosis.cause)
    );
    let mut add = |title: &str, text: &str| out += &format!("{title:<11}{text}\n");
    add("command", &command(container));
    add("image", &container.document.spec.image);
    if let Some(state) = container.state.as_ref().filter(|state| state.restarts > 0) {
        add("restarts", &format!("{} (policy {})", state.restarts, container.document.spec.restart));
    }
    if let Some(health) = container.health() {
        let streak = match health.status {
            HealthStatus::Healthy => String::new(),
            _ => format!(", {} failures in a row", health.failing_streak),
        };
        add("health", &format!("{}{streak}", health.status.as_str()));
    }
    if let Some(probe) = &diagnosis.failed_probe {
        add("check", &format!("code {}: {}", probe.code, probe.output.trim_end()));
    }
    if !diagnosis.last_lines.is_empty() {
        out += "last output\n";
        for line in &diagnosis.last_lines {
            out += &format!("  | {line}\n");
        }
    }
    for advice in advice(diagnosis) {
        out += &format!("next: {advice}\n");
    }
    out
}

/// For the foreground: an end that nobody asked for and that the code alone does not explain.
pub(super) fn surprise(container: &Container) -> Option<String> {
    match container.cause() {
        cause @ (Cause::OutOfMemory(_) | Cause::Overran | Cause::Unhealthy | Cause::Lost(_)) => {
            Some(reason(container, &cause))
        }
        _ => None,
    }
}

/// For `inspect`: what docker says there, and what it could have said.
pub(super) fn error(container: &Container) -> String {
    let told = container.state.as_ref().and_then(|state| state.error.clone());
    told.or_else(|| surprise(container)).unwrap_or_default()
}

/// The cause, as one sentence.
fn reason(container: &Container, cause: &Cause) -> String {
    let state = container.state.as_ref();
    match cause {
        Cause::NeverStarted => "it has not been started yet".to_owned(),
        Cause::Runs => match container.health().map(|h| h.status) {
            Some(HealthStatus::Unhealthy) => "it runs, and its health check fails".to_owned(),
            _ => "it runs".to_owned(),
        },
        Cause::Paused => "its processes are frozen".to_owned(),
        Cause::NotStarted { error, .. } => format!("its program could not be started: {error}"),
        Cause::OutOfMemory(memory) => out_of_memory(container, memory),
        Cause::Overran => format!(
            "it was stopped because it had run as long as --max-runtime allows ({:?})",
            container.document.spec.max_runtime.unwrap_or_default()
        ),
        Cause::Unhealthy => "it was killed because its health check called it unhealthy".to_owned(),
        Cause::Asked { asked, killed } => requested(asked, *killed),
        Cause::Signal(number) => format!(
            "{} ended it; berth did not send it, so it came from another program, from the container itself or from the kernel",
            signal(*number)
        ),
        Cause::Lost(error) => error.clone(),
        Cause::MissingLibrary(name) => {
            format!("its program needs the shared library {name}, which is not there")
        }
        Cause::WentToBackground { program, .. } => {
            format!("probably {program} went to the background: a container ends when its first process does")
        }
        Cause::NothingToRead => {
            "probably the shell had nothing to read: a container without -i has no standard input".to_owned()
        }
        Cause::ShellFailed(127) => "code 127: a shell did not find the command that it was to run".to_owned(),
        Cause::ShellFailed(_) => {
            "code 126: a shell could not execute the command that it was to run".to_owned()
        }
        Cause::Succeeded => "its program did its work and ended with code 0".to_owned(),
        Cause::Failed(code) if *code > 128 => {
            format!("its program ended with code {code}, as shells say of {}", signal(code - 128))
        }
        Cause::Failed(code) => match state.and_then(|s| s.error.as_deref()) {
            Some(error) => format!("its program ended with code {code}; {error}"),
            None => format!("its program ended with code {code} by itself"),
        },
    }
}

fn out_of_memory(container: &Container, memory: &OutOfMemory) -> String {
    let process = match (&memory.process, memory.pid) {
        (Some(name), Some(pid)) => format!("{name} (pid {pid})"),
        _ => "a process of this container".to_owned(),
    };
    let more =
        if memory.kills > 1 { format!(", the last of {} processes", memory.kills) } else { String::new() };
    let peak = memory.peak.map(|peak| format!("; it had {} at most", human::binary_size(peak)));
    let limit = memory.limit.or(container.document.spec.resources.memory);
    let which = match limit.filter(|_| !memory.beyond) {
        Some(limit) => format!("it reached its memory limit of {} (--memory)", human::binary_size(limit)),
        None => "the machine was out of memory".to_owned(),
    };
    format!("the kernel killed {process}{more}: {which}{}", peak.unwrap_or_default())
}

fn requested(asked: &Asked, killed: bool) -> String {
    let who = match asked.command.is_empty() {
        true => format!("process {}", asked.pid),
        false => format!("`{}` (pid {}, user {})", asked.command, asked.pid, asked.uid),
    };
    match killed {
        true => format!(
            "{who} asked it to end with {}; it did not do so in time and was killed",
            signal(asked.signal)
        ),
        false => format!("{who} sent {}", signal(asked.signal)),
    }
}

fn signal(number: i32) -> String {
    number
        .to_string()
        .parse::<Signal>()
        .map_or_else(|_| format!("signal {number}"), |known| known.to_string())
}

/// What to do next.
fn advice(diagnosis: &Diagnosis) -> Vec<String> {
    let Diagnosis { container, cause, .. } = diagnosis;
    let name = &container.name;
    let one = |text: String| vec![text];
    if let Some(peculiarity) = &diagnosis.peculiarity {
        return one(peculiarity.clone());
    }
    match cause {
        Cause::NeverStarted => one(format!("`berth start {name}`")),
        Cause::Paused => one(format!("`berth unpause {name}`")),
        Cause::NotStarted { hint, .. } => hint.clone().into_iter().collect(),
        Cause::OutOfMemory(memory) if memory.beyond => {
            one("give the other containers limits (--memory), or the machine more memory".to_owned())
        }
        Cause::OutOfMemory(_) => one(format!(
            "give it more (`berth update --memory … {name}`, `run --memory …`), or find out what it needs it for (`berth stats {name}`)"
        )),
        Cause::Asked { killed: true, .. } => one(
            "a program that is the first of its container ignores signals it does not handle: handle them, choose another with --stop-signal, or use --init"
                .to_owned(),
        ),
        Cause::MissingLibrary(_) => one("install the package with that library in the image, or link the program statically".to_owned()),
        Cause::WentToBackground { instead: Some(instead), .. } => one(format!("keep it in the foreground: {instead}")),
        Cause::WentToBackground { .. } => {
            one("run the program itself in the foreground instead of the command that starts it".to_owned())
        }
        Cause::NothingToRead => one("`berth run -it …` for a shell to type in, `-d … sleep infinity` to keep it".to_owned()),
        Cause::ShellFailed(_) => one(format!("look at the command (`berth inspect {name}`) and at what the image has")),
        Cause::Lost(_) => one(format!("`berth start {name}`")),
        Cause::Unhealthy | Cause::Failed(_) | Cause::Signal(_) => one(format!("`berth logs {name}` has all of its output")),
        Cause::Runs | Cause::Overran | Cause::Asked { .. } | Cause::Succeeded => Vec::new(),
    }
}
