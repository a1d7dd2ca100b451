//! What a build tells, in BuildKit's plain lines on stderr.
//!
//! Not here: the lines themselves (`berth_build::history::PlainText`). Invariant: a quiet build says nothing.

use crate::terminal;
use berth_build::history::PlainText;
use berth_build::{Event, Listener};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// See the module.
pub(super) struct View {
    /// `None`: it is quiet.
    text: Option<Mutex<PlainText>>,
}

impl View {
    pub(super) fn quiet() -> Self {
        Self { text: None }
    }

    pub(super) fn plain(explain: bool) -> Self {
        Self { text: Some(Mutex::new(PlainText::new(explain))) }
    }

    /// The files that were read before the build began.
    pub(super) fn loaded(&self, name: &str, size: usize, ignore: Option<&str>, warnings: &[String]) {
        let Some(lines) = &self.text else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
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
            let number = lines.number();
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
        let Some(lines) = &self.text else { return };
        // What is said by several at once must come in the order in which it was put together.
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        terminal::complain_raw(lines.event(event));
    }
}
