//! What a build tells as text: BuildKit's plain lines.
//!
//! Invariant: every line says which step it belongs to, and steps that speak at once never share a line.

use crate::event::Event;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub struct PlainText {
    explain: bool,
    steps: HashMap<usize, StepText>,
    /// The numbers of the steps as they are shown.
    shown: usize,
    /// Whose lines stand last.
    last: Option<usize>,
}

#[derive(Debug)]
struct StepText {
    number: usize,
    name: String,
    started: Instant,
    /// A line that has not ended yet.
    partial: Vec<u8>,
    is_over: bool,
}

impl PlainText {
    /// With reasons, or without.
    #[must_use]
    pub fn new(explain: bool) -> Self {
        Self { explain, ..Self::default() }
    }

    /// The number of something that is told beside the steps.
    pub fn number(&mut self) -> usize {
        self.shown += 1;
        self.shown
    }

    /// The lines that an event adds.
    #[must_use]
    pub fn event(&mut self, event: Event<'_>) -> String {
        let mut text = String::new();
        match event {
            Event::Started { step, name } => {
                self.start(step, name);
                self.turn_to(step, &mut text);
            }
            Event::Status { step, text: status } => self.line(step, status, &mut text),
            Event::Output { step, bytes } => self.output(step, bytes, &mut text),
            Event::Cached { step } => self.end(step, "CACHED", &mut text),
            Event::Done { step, elapsed } => {
                self.end(step, &format!("DONE {:.1}s", elapsed.as_secs_f64()), &mut text);
            }
            Event::Failed { step, why } => self.end(step, &format!("ERROR: {why}"), &mut text),
            Event::Cancelled { step } => self.end(step, "CANCELED", &mut text),
            Event::Skipped { name } if self.explain => {
                let (number, gap) = (self.number(), if self.last.take().is_some() { "\n" } else { "" });
                let _ = writeln!(
                    text,
                    "{gap}#{number} {name}\n#{number} SKIPPED because nothing that is built needs it\n"
                );
            }
            Event::Explained { step, why } if self.explain => self.line(step, why, &mut text),
            Event::Explained { .. } | Event::Skipped { .. } => {}
            Event::Warning { text: warning } => {
                let _ = writeln!(text, "WARN: {warning}");
            }
        }
        text
    }

    fn start(&mut self, step: usize, name: &str) {
        let (number, started) = (self.number(), Instant::now());
        let text = StepText { number, name: name.to_owned(), started, partial: Vec::new(), is_over: false };
        self.steps.insert(step, text);
    }

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
    use std::time::Duration;

    #[test]
    fn steps_never_share_a_line() {
        let mut text = PlainText::new(false);
        let elapsed = Duration::from_millis(1200);
        let events = [
            Event::Started { step: 1, name: "step 1" },
            Event::Started { step: 2, name: "step 2" },
            Event::Output { step: 1, bytes: b"half " },
            Event::Status { step: 2, text: "status" },
            Event::Explained { step: 2, why: "not shown" },
            Event::Output { step: 1, bytes: b"line\nrest" },
            Event::Done { step: 1, elapsed },
            Event::Cached { step: 2 },
        ];
        let out: String = events.into_iter().map(|event| text.event(event)).collect();
        let is_time = |word: &&str| word.contains('.') && word.trim().parse::<f64>().is_ok();
        assert_eq!(
            out.split_inclusive(' ').filter(|word| !is_time(word)).collect::<String>(),
            "#1 step 1\n#1 ...\n\n#2 step 2\n#2 status\n#2 ...\n\n#1 step 1\n#1 half line\n#1 rest\n#1 DONE 1.2s\n\n#2 step 2\n#2 CACHED\n"
        );
    }
}
