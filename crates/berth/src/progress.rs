//! Pulls and pushes as they go: bars on a terminal, docker's lines otherwise, JSON on request; and Ctrl-C back.
//!
//! Invariant: whatever is shown, the transfer hears of Ctrl-C with its next byte.

use crate::settings::ProgressMode;
use crate::terminal;
use berth_oci::{BlobState, Descriptor, Digest, Error, Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where the bytes go, which decides the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Into the store.
    Pull,
    /// To a registry: docker has a line for each layer.
    Push,
    /// Anywhere else; docker has no lines for these.
    Copy,
}

/// What shows a transfer.
pub(crate) struct View {
    direction: Direction,
    heading: Option<String>,
    look: Look,
    /// Where lines go: a command that has data of its own keeps stdout for them.
    on_stderr: bool,
}

enum Look {
    Silent,
    Lines(Mutex<Vec<Digest>>),
    Bars { all: MultiProgress, bars: Mutex<HashMap<Digest, ProgressBar>> },
    Json(Mutex<HashMap<Digest, Instant>>),
}

/// A JSON line for each blob at most this often.
const JSON_PAUSE: Duration = Duration::from_millis(100);

impl View {
    /// A view as the user wants it; `heading` is printed when the name has been looked up. From now on Ctrl-C is
    /// the transfer's business.
    pub(crate) fn new(mode: ProgressMode, direction: Direction, heading: Option<String>) -> Self {
        if let Err(error) = berth_sys::interrupt::catch() {
            terminal::warn(format!("Ctrl-C will end the transfer at once: {error}"));
        }
        let bars = || Look::Bars {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            bars: Mutex::default(),
        };
        let look = match mode {
            ProgressMode::None => Look::Silent,
            ProgressMode::Json => Look::Json(Mutex::default()),
            ProgressMode::Tty => bars(),
            ProgressMode::Auto if terminal::stderr_is_terminal() && terminal::stdout_is_terminal() => bars(),
            ProgressMode::Auto | ProgressMode::Plain => Look::Lines(Mutex::default()),
        };
        Self { direction, heading, look, on_stderr: false }
    }

    /// The same with all lines on stderr.
    pub(crate) fn on_stderr(mut self) -> Self {
        self.on_stderr = true;
        self
    }

    fn put(&self, text: impl AsRef<str>) -> berth_oci::Result<()> {
        match self.on_stderr {
            true => {
                terminal::complain(text);
                Ok(())
            }
            false => terminal::line(text),
        }
    }

    /// A view that shows nothing and still hears Ctrl-C.
    pub(crate) fn quiet(direction: Direction) -> Self {
        Self::new(ProgressMode::None, direction, None)
    }

    /// Says a line of the result: as it is, or as JSON.
    pub(crate) fn say(&self, text: &str) -> berth_oci::Result<()> {
        match &self.look {
            Look::Silent => Ok(()),
            Look::Json(_) => self.put(json!({"status": text}).to_string()),
            _ => self.put(text),
        }
    }

    /// Shows a file of the web as it comes: docker's line with its first bytes, and then how far it is.
    pub(crate) fn file(&self, url: &str) -> impl FnMut(u64, Option<u64>) -> berth_oci::Result<()> {
        let heading = format!("Downloading from {url}");
        let mut shown: Option<(ProgressBar, Instant)> = None;
        move |done, total| {
            if berth_sys::interrupt::happened() {
                return Err(Error::cancelled("the transfer was stopped"));
            }
            let (bar, time) = match &mut shown {
                Some(shown) => shown,
                None => {
                    self.say(&heading)?;
                    shown.insert((self.file_bar(total), Instant::now()))
                }
            };
            bar.set_position(done);
            let is_json = matches!(self.look, Look::Json(_));
            if is_json && (time.elapsed() >= JSON_PAUSE || Some(done) == total) {
                *time = Instant::now();
                let detail = json!({"current": done, "total": total});
                return self.put(json!({"status": "Downloading", "progressDetail": detail}).to_string());
            }
            Ok(())
        }
    }

    /// It goes when the file is there.
    fn file_bar(&self, total: Option<u64>) -> ProgressBar {
        let Look::Bars { all, .. } = &self.look else { return ProgressBar::hidden() };
        let template = if total.is_some() { "[{bar:40}] {bytes:>10}/{total_bytes}" } else { "{bytes:>10}" };
        let style =
            ProgressStyle::with_template(template).expect("the template is ours").progress_chars("=> ");
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style);
        all.add(bar.with_finish(ProgressFinish::AndClear))
    }

    fn blob(&self, descriptor: &Descriptor, state: &BlobState) {
        match &self.look {
            Look::Silent => {}
            Look::Lines(said) => self.line(said, descriptor, state),
            Look::Bars { all, bars } => {
                let mut bars = bars.lock().expect("no thread panics with this lock");
                let bar = bars.entry(descriptor.digest.clone()).or_insert_with(|| bar(all, descriptor));
                draw(bar, self.words(state), state);
            }
            Look::Json(times) => self.json_line(times, descriptor, state),
        }
    }

    /// Docker without a terminal says what became of each layer that is pushed, once, and nothing of a pull's.
    fn line(&self, said: &Mutex<Vec<Digest>>, descriptor: &Descriptor, state: &BlobState) {
        if let BlobState::Retrying { reason, wait_ms, .. } = state {
            let seconds = wait_ms.div_ceil(1000);
            terminal::note(format!("{}: {reason}; trying again in {seconds} s", descriptor.digest.short()));
        }
        let is_layer = berth_oci::media_type::layer_compression(&descriptor.media_type).is_some();
        let is_end = matches!(state, BlobState::Done | BlobState::Exists | BlobState::Mounted { .. });
        if self.direction != Direction::Push || !is_layer || !is_end {
            return;
        }
        let mut said = said.lock().expect("no thread panics with this lock");
        if !said.contains(&descriptor.digest) {
            said.push(descriptor.digest.clone());
            // A stdout that takes no line will not take the result either, which says so.
            let _ = self.put(format!("{}: {}", descriptor.digest.short(), self.words(state)));
        }
    }

    fn json_line(&self, times: &Mutex<HashMap<Digest, Instant>>, descriptor: &Descriptor, state: &BlobState) {
        let mut times = times.lock().expect("no thread panics with this lock");
        let detail = match state {
            BlobState::Transferring { done } => {
                let recent = times.get(&descriptor.digest).is_some_and(|time| time.elapsed() < JSON_PAUSE);
                if recent && *done < descriptor.size {
                    return;
                }
                times.insert(descriptor.digest.clone(), Instant::now());
                json!({"current": done, "total": descriptor.size})
            }
            _ => json!({}),
        };
        let line = json!({
            "status": self.words(state), "id": descriptor.digest.short(), "digest": descriptor.digest,
            "progressDetail": detail,
        });
        let _ = self.put(line.to_string());
    }

    /// Docker's words.
    fn words(&self, state: &BlobState) -> String {
        let is_push = self.direction == Direction::Push;
        match state {
            BlobState::Waiting => "Waiting".to_owned(),
            BlobState::Exists if is_push => "Layer already exists".to_owned(),
            BlobState::Exists => "Already exists".to_owned(),
            BlobState::Transferring { .. } if is_push => "Pushing".to_owned(),
            BlobState::Transferring { .. } => "Downloading".to_owned(),
            BlobState::Retrying { wait_ms, .. } => format!("Retrying in {} seconds", wait_ms.div_ceil(1000)),
            BlobState::Mounted { from } => format!("Mounted from {from}"),
            _ if is_push => "Pushed".to_owned(),
            _ => "Pull complete".to_owned(),
        }
    }

    fn note(&self, text: &str) {
        match &self.look {
            Look::Silent => {}
            Look::Bars { all, .. } => {
                let _ = all.println(text);
            }
            Look::Json(_) => {
                let _ = self.put(json!({"note": text}).to_string());
            }
            Look::Lines(_) => terminal::note(text),
        }
    }
}

fn bar(all: &MultiProgress, descriptor: &Descriptor) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix}: {msg:20} [{bar:40}] {bytes:>10}/{total_bytes}")
        .expect("the template is ours")
        .progress_chars("=> ");
    let bar = all.add(ProgressBar::new(descriptor.size).with_style(style));
    bar.set_prefix(descriptor.digest.short().to_owned());
    bar
}

fn draw(bar: &ProgressBar, words: String, state: &BlobState) {
    match state {
        BlobState::Transferring { done } => {
            bar.set_position(*done);
            if bar.message() != words {
                bar.set_message(words);
            }
        }
        BlobState::Done | BlobState::Exists | BlobState::Mounted { .. } => {
            bar.set_position(bar.length().unwrap_or(0));
            bar.finish_with_message(words);
        }
        _ => bar.set_message(words),
    }
}

impl Progress for View {
    fn report(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Resolved { .. } => {
                if let Some(heading) = &self.heading {
                    let _ = self.say(heading);
                }
            }
            Event::Blob { descriptor, state } => self.blob(descriptor, &state),
            Event::Note(text) => self.note(text),
            _ => {}
        }
        match berth_sys::interrupt::happened() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
