//! What a build tells, in BuildKit's plain lines on stderr.
//!
//! Invariant: every line says which step it belongs to, and steps that speak at once never share a line.

use crate::terminal;
use berth_build::{Event, Listener};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// See the module.
pub(super) struct View {
    mode: Mode,
    state: Mutex<State>,
}

enum Mode {
    Quiet,
    Plain { explain: bool },
}

#[derive(Default)]
struct State {
    steps: HashMap<usize, StepView>,
    /// The numbers of the steps as they are shown.
    shown: usize,
    /// Whose lines stand last.
    last: Option<usize>,
}

struct StepView {
    number: usize,
    name: String,
    started: Instant,
    /// A line that has not ended yet.
    partial: Vec<u8>,
    is_over: bool,
}

impl View {
    pub(super) fn quiet() -> Self {
        Self { mode: Mode::Quiet, state: Mutex::default() }
    }

    pub(super) fn plain(explain: bool) -> Self {
        Self { mode: Mode::Plain { explain }, state: Mutex::default() }
    }

    /// The files that were read before the build began.
    pub(super) fn loaded(&self, name: &str, size: usize, ignore: Option<&str>, warnings: &[String]) {
        if matches!(self.mode, Mode::Quiet) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, what, warnings) in [
            (
                format!("[internal] load build definition from {name}"),
                format!("transferring dockerfile: {size}B done"),
                warnings,
            ),
            (
                format!("[internal] load {}", ignore.unwrap_or(".dockerignore")),
                "transferring context: 2B done".to_owned(),
                &[],
            ),
        ] {
            state.shown += 1;
            let number = state.shown;
            let _ = writeln!(text, "#{number} {name}\n#{number} {what}");
            for warning in warnings {
                let _ = writeln!(text, "#{number} WARN: {warning}");
            }
            let _ = write!(text, "#{number} DONE 0.0s\n\n");
        }
        terminal::complain_raw(text);
    }
}

impl Listener for View {
    fn event(&self, event: Event<'_>) {
        let Mode::Plain { explain } = self.mode else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match event {
            Event::Started { step, name } => {
                state.shown += 1;
                let (number, started) = (state.shown, Instant::now());
                let view =
                    StepView { number, name: name.to_owned(), started, partial: Vec::new(), is_over: false };
                state.steps.insert(step, view);
                state.turn_to(step, &mut text);
            }
            Event::Status { step, text: status } => state.line(step, status, &mut text),
            Event::Output { step, bytes } => state.output(step, bytes, &mut text),
            Event::Cached { step } => state.end(step, "CACHED", &mut text),
            Event::Done { step, elapsed } => {
                state.end(step, &format!("DONE {:.1}s", elapsed.as_secs_f64()), &mut text);
            }
            Event::Failed { step, why } => state.end(step, &format!("ERROR: {why}"), &mut text),
            Event::Cancelled { step } => state.end(step, "CANCELED", &mut text),
            Event::Explained { step, why } if explain => state.line(step, why, &mut text),
            Event::Explained { .. } => {}
            Event::Warning { text: warning } => {
                let _ = writeln!(text, "WARN: {warning}");
            }
        }
        terminal::complain_raw(text);
    }
}

impl State {
    /// Says whose lines follow.
    fn turn_to(&mut self, step: usize, out: &mut String) {
        if self.last == Some(step) {
            return;
        }
        if let Some(view) = self.last.and_then(|last| self.steps.get(&last)) {
            if !view.is_over {
                let _ = writeln!(out, "#{} ...", view.number);
            }
            out.push('\n');
        }
        if let Some(view) = self.steps.get(&step) {
            let _ = writeln!(out, "#{} {}", view.number, view.name);
        }
        self.last = Some(step);
    }

    fn line(&mut self, step: usize, line: &str, out: &mut String) {
        self.turn_to(step, out);
        if let Some(view) = self.steps.get(&step) {
            let _ = writeln!(out, "#{} {line}", view.number);
        }
    }

    fn output(&mut self, step: usize, bytes: &[u8], out: &mut String) {
        let Some(view) = self.steps.get_mut(&step) else { return };
        view.partial.extend_from_slice(bytes);
        let Some(end) = view.partial.iter().rposition(|&b| b == b'\n') else { return };
        let whole: Vec<u8> = view.partial.drain(..=end).collect();
        let seconds = view.started.elapsed().as_secs_f64();
        for line in String::from_utf8_lossy(&whole).lines() {
            self.line(step, &format!("{seconds:.3} {line}"), out);
        }
    }

    fn end(&mut self, step: usize, word: &str, out: &mut String) {
        let rest =
            self.steps.get_mut(&step).map(|view| std::mem::take(&mut view.partial)).unwrap_or_default();
        if !rest.is_empty() {
            self.output(step, &[&rest[..], b"\n"].concat(), out);
        }
        self.line(step, word, out);
        if let Some(view) = self.steps.get_mut(&step) {
            view.is_over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_never_share_a_line() {
        let mut state = State::default();
        let mut out = String::new();
        for step in [1, 2] {
            state.shown += 1;
            let view = StepView {
                number: state.shown,
                name: format!("step {step}"),
                started: Instant::now(),
                partial: Vec::new(),
                is_over: false,
            };
            state.steps.insert(step, view);
            state.turn_to(step, &mut out);
        }
        state.output(1, b"half ", &mut out);
        state.line(2, "status", &mut out);
        state.output(1, b"line\nrest", &mut out);
        state.end(1, "DONE", &mut out);
        state.end(2, "CACHED", &mut out);
        let out = out.replace("0.000 ", "");
        assert_eq!(
            out,
            "#1 step 1\n#1 ...\n\n#2 step 2\n#2 status\n#2 ...\n\n#1 step 1\n#1 half line\n#1 rest\n#1 DONE\n\n#2 step 2\n#2 CACHED\n"
        );
    }
}
