//! A build as it is written down: what it says goes to its log, what its steps come to into its report.
//!
//! Invariant: a build never fails because it cannot be written down.

use super::plain::PlainText;
use super::{BuildReport, Status, StepReport};
use crate::event::{Event, Listener};
use crate::failure::Failure;
use crate::request::BuildRequest;
use berth_oci::{Digest, Kind, Result};
use berth_store::{BuildRow, HistoryLimits, Store};
use jiff::Timestamp;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// See the module. Passes on what it hears.
pub struct Recording<'a> {
    store: &'a Store,
    listener: &'a dyn Listener,
    clock: Instant,
    log_path: PathBuf,
    log: Mutex<Log>,
    report: Mutex<BuildReport>,
    earlier: OnceLock<Vec<BuildReport>>,
}

struct Log {
    text: PlainText,
    /// `None`: it cannot be written.
    file: Option<File>,
}

/// So many builds of the past are looked at.
const EARLIER: usize = 20;

impl<'a> Recording<'a> {
    /// Begins.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn begin(store: &'a Store, listener: &'a dyn Listener, request: &BuildRequest) -> Result<Self> {
        let started = Timestamp::now();
        let unique = format!("{} {} {}", request.project, started.as_nanosecond(), std::process::id());
        let id = Digest::of(unique.as_bytes()).hex()[..25].to_owned();
        let log_path = store.log_of_build(&id)?;
        let file = File::create(&log_path).ok();
        let report = BuildReport {
            id,
            project: request.project.clone(),
            context: request.context_name.clone(),
            dockerfile: request.dockerfile_name.clone(),
            target: request.target.clone(),
            platforms: request.platforms.iter().map(ToString::to_string).collect(),
            no_cache: request.no_cache.all,
            pull: request.pull,
            ignore: request.context.ignore.as_ref().map(|ignore| ignore.rules()).unwrap_or_default(),
            started,
            took_ms: 0,
            status: Status::Completed,
            error: None,
            image: None,
            names: Vec::new(),
            steps: Vec::new(),
            skipped: Vec::new(),
        };
        Ok(Self {
            store,
            listener,
            clock: Instant::now(),
            log_path,
            log: Mutex::new(Log { text: PlainText::new(true), file }),
            report: Mutex::new(report),
            earlier: OnceLock::new(),
        })
    }

    /// Where everything is that the build says.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Milliseconds since the beginning.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn step(&self, step: StepReport) {
        self.with(|report| report.steps.push(step));
    }

    /// What all layers together are after a step that has just been done.
    pub(crate) fn settle(&self, stage: &str, number: usize, platform: &str, chain: &str) {
        self.with(|report| {
            let is_it = |step: &&mut StepReport| {
                step.stage == stage && step.number == number && step.platform == platform
            };
            if let Some(step) = report.steps.iter_mut().rev().find(is_it) {
                chain.clone_into(&mut step.chain);
            }
        });
    }

    pub(crate) fn skip(&self, stage: &str) {
        self.with(|report| report.skipped.push(stage.to_owned()));
    }

    /// What is known of this build so far.
    pub(crate) fn so_far<T>(&self, look: impl FnOnce(&BuildReport) -> T) -> T {
        look(&self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Earlier builds of the project, the last one first.
    pub(crate) fn earlier(&self) -> &[BuildReport] {
        self.earlier.get_or_init(|| {
            let project = self.so_far(|report| report.project.clone());
            let rows = self.store.builds(Some(&project), EARLIER).unwrap_or_default();
            rows.iter().filter_map(|row| BuildReport::parse(&row.document)).collect()
        })
    }

    /// Ends; the report is in the store.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn finish(
        self,
        image: Option<Digest>,
        names: Vec<String>,
        failure: Option<&Failure>,
    ) -> Result<BuildReport> {
        let took_ms = self.elapsed_ms();
        let mut report = self.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        (report.took_ms, report.image, report.names) = (took_ms, image, names);
        if let Some(failure) = failure {
            let is_canceled = failure.error.kind() == Kind::Cancelled;
            report.status = if is_canceled { Status::Canceled } else { Status::Error };
            report.error = Some(failure.error.to_string());
        }
        let document = serde_json::to_string(&report).expect("a report has string keys");
        let (id, project) = (report.id.clone(), report.project.clone());
        let row = BuildRow { id, project, started: report.started, document };
        let limits = HistoryLimits::default();
        self.store.put_build(&row, &limits)?;
        if report.steps.len() > report.cached() {
            self.store.bound_history(&limits)?;
        }
        Ok(report)
    }

    fn with(&self, change: impl FnOnce(&mut BuildReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Listener for Recording<'_> {
    fn event(&self, event: Event<'_>) {
        {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let text = log.text.event(event);
            let is_written = log.file.as_mut().is_none_or(|file| file.write_all(text.as_bytes()).is_ok());
            if !is_written {
                // A full disk ends the log, not the build.
                log.file = None;
            }
        }
        self.listener.event(event);
    }
}
