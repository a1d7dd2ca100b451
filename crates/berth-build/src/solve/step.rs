//! One step: looked up by its key, done if nobody has done it, once for all processes.

use super::evidence::{FileSet, StepInputs};
use super::explain::{Miss, reason, reasons, sentence};
use super::key::{Inputs, Record};
use super::snapshot::Snapshot;
use super::stage::Turn;
use super::{Shared, Solver};
use crate::event::Event;
use crate::failure::{Failure, StepFailure};
use crate::history::{Reason, ReasonKind, StepOutcome, StepReport};
use crate::host::Layer;
use berth_oci::{Digest, Error, Kind, Result};
use berth_store::{NewStep, StepLock, Workplace};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How a step is called.
#[derive(Clone, Debug)]
pub(crate) struct StepName {
    /// For people: `[build 2/3] RUN make`.
    pub(crate) text: String,
    /// Its stage's name, or number.
    pub(crate) stage: String,
    /// Its place among the steps of the stage.
    pub(crate) number: usize,
    /// The instruction as it was written.
    pub(crate) raw: String,
    /// For what it is done.
    pub(crate) platform: String,
}

impl StepName {
    /// `RUN`, `COPY`, …
    pub(super) fn operation(&self) -> String {
        self.raw.split_whitespace().next().unwrap_or_default().to_uppercase()
    }
}

/// What a step is made of.
pub(super) struct Made<'a> {
    /// Everything its result depends on.
    pub(super) inputs: &'a Inputs,
    /// The files behind that, for whoever asks what changed.
    pub(super) files: &'a [FileSet<'a>],
}

/// How often a process looks whether another one is done with a step.
const PATIENCE: Duration = Duration::from_millis(20);

/// A step while it is done.
pub(crate) struct Doing<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) name: &'a StepName,
    pub(crate) number: usize,
    pub(crate) place: &'a Workplace,
    tail: &'a Mutex<Vec<u8>>,
    noted: &'a Mutex<Noted>,
}

/// What a step leaves beside its layers.
#[derive(Default)]
struct Noted {
    cpu: Option<Duration>,
    /// The failed step's name in the store.
    kept: Option<Digest>,
}

/// This much of what a failed step wrote is told again at the end.
const TAIL: usize = 8 << 10;

impl Doing<'_> {
    /// What the step's program wrote.
    pub(crate) fn output(&self, bytes: &[u8]) {
        self.shared.tell(Event::Output { step: self.number, bytes });
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }

    /// Processor time of the step's program.
    pub(crate) fn used(&self, cpu: Option<Duration>) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).cpu = cpu;
    }

    /// The step has failed, and its file system is kept under this name.
    pub(crate) fn kept(&self, key: Digest) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).kept = Some(key);
    }
}

/// What a step came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) layers: Vec<Layer>,
    pub(crate) made: Timestamp,
}

impl From<Record> for Outcome {
    fn from(record: Record) -> Self {
        Self { layers: record.layers, made: record.made }
    }
}

/// The layers of a step: from before, or made by `work`.
pub(super) fn perform(
    solver: &Solver<'_>,
    snapshot: &Snapshot,
    turn: &Turn<'_>,
    made: &Made<'_>,
    work: &(dyn Fn(&Doing<'_>) -> Result<Vec<Layer>> + Sync),
) -> Result<Outcome, Failure> {
    let shared = solver.shared;
    let key = made.inputs.key();
    if !turn.fresh
        && let Some(record) = known(shared, &key)?
    {
        return Ok(found(shared, turn, &key, record));
    }
    let number = shared.number();
    shared.tell(Event::Started { step: number, name: &turn.step.text });
    let lock = lock(shared, &key)?;
    if !turn.fresh
        && let Some(record) = known(shared, &key)?
    {
        // Another process did it while we waited.
        return Ok(cached(shared, turn, number, &key, record));
    }
    let began_ms = shared.recording.elapsed_ms();
    let miss = Miss { step: &turn.step, snapshot, inputs: made.inputs, key: &key, files: made.files };
    let reasons = match turn.fresh {
        true => vec![reason(ReasonKind::NoCache, &turn.step.raw, "it was asked for without cache")],
        false => reasons(shared, &miss),
    };
    if shared.request.explain {
        let why = format!("MISS because {}", sentence(&reasons));
        shared.tell(Event::Explained { step: number, why: &why });
    }
    let mut report = report(turn, &key, began_ms, reasons);
    shared.store.put_step_inputs(&key, &StepInputs::new(made.inputs, made.files).document())?;
    let (done, noted, elapsed) = carry_out(shared, turn, number, work);
    report.took_ms = milliseconds(elapsed);
    (report.cost_ms, report.cpu_ms) = (report.took_ms, noted.cpu.map(milliseconds));
    let layers = match done {
        Ok(layers) => layers,
        Err(failure) => {
            let is_cancelled = failure.error.kind() == Kind::Cancelled;
            report.outcome = if is_cancelled { StepOutcome::Canceled } else { StepOutcome::Failed };
            shared.recording.step(report);
            return Err(failure);
        }
    };
    report.bytes = layers.iter().map(|layer| layer.descriptor.size).sum();
    let record = Record {
        name: turn.step.text.clone(),
        inputs: made.inputs.clone(),
        layers,
        made: shared.now(),
        cost_ms: report.took_ms,
        alias: None,
    };
    remember(shared, &key, &record, elapsed)?;
    drop(lock);
    shared.recording.step(report);
    shared.tell(Event::Done { step: number, elapsed });
    Ok(record.into())
}

/// Does the work, and tells how it ended if it did not end well.
fn carry_out(
    shared: &Shared<'_>,
    turn: &Turn<'_>,
    number: usize,
    work: &(dyn Fn(&Doing<'_>) -> Result<Vec<Layer>> + Sync),
) -> (Result<Vec<Layer>, Failure>, Noted, Duration) {
    let (tail, noted) = (Mutex::new(Vec::new()), Mutex::new(Noted::default()));
    let _pass = shared.gate.enter();
    let (started, own) = (Instant::now(), thread_cpu());
    let done = shared.cancel.check().and_then(|()| {
        let place = shared.store.workplace()?;
        let doing = Doing { shared, name: &turn.step, number, place: &place, tail: &tail, noted: &noted };
        let layers = work(&doing)?;
        keep(shared, &layers)?;
        Ok(layers)
    });
    let mut noted = noted.into_inner().unwrap_or_else(PoisonError::into_inner);
    let own = thread_cpu().saturating_sub(own);
    noted.cpu = Some(noted.cpu.map_or(own, |cpu| cpu + own));
    let done = done.map_err(|error| match error.kind() {
        Kind::Cancelled => {
            shared.tell(Event::Cancelled { step: number });
            error.into()
        }
        _ => {
            shared.tell(Event::Failed { step: number, why: &error.to_string() });
            let output = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
            let step = StepFailure { name: turn.step.text.clone(), output, kept: noted.kept.clone() };
            Failure { error, place: None, step: Some(step) }
        }
    });
    (done, noted, started.elapsed())
}

/// A step whose result is there.
pub(super) fn found(shared: &Shared<'_>, turn: &Turn<'_>, key: &Digest, record: Record) -> Outcome {
    let number = shared.number();
    shared.tell(Event::Started { step: number, name: &turn.step.text });
    cached(shared, turn, number, key, record)
}

fn cached(shared: &Shared<'_>, turn: &Turn<'_>, number: usize, key: &Digest, record: Record) -> Outcome {
    if shared.request.explain {
        let when = record.made.strftime("%Y-%m-%d %H:%M:%S UTC");
        let why = format!("HIT because nothing that it depends on has changed since {when}");
        shared.tell(Event::Explained { step: number, why: &why });
    }
    shared.tell(Event::Cached { step: number });
    let mut report = report(turn, key, shared.recording.elapsed_ms(), Vec::new());
    report.outcome = StepOutcome::Cached;
    report.cost_ms = record.cost_ms;
    report.bytes = record.layers.iter().map(|layer| layer.descriptor.size).sum();
    shared.recording.step(report);
    record.into()
}

fn report(turn: &Turn<'_>, key: &Digest, began_ms: u64, reasons: Vec<Reason>) -> StepReport {
    let step = &turn.step;
    StepReport {
        name: step.text.clone(),
        stage: step.stage.clone(),
        number: step.number,
        text: step.raw.clone(),
        operation: step.operation(),
        platform: step.platform.clone(),
        key: key.clone(),
        chain: String::new(),
        outcome: StepOutcome::Done,
        reasons,
        began_ms,
        took_ms: 0,
        cost_ms: 0,
        cpu_ms: None,
        bytes: 0,
    }
}

/// What this thread has used so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A step's record, where its layers are still here, or can be brought.
pub(super) fn known(shared: &Shared<'_>, key: &Digest) -> Result<Option<Record>> {
    let found = match stored(shared, key)? {
        Some(record) => Some(record),
        None => super::cached::elsewhere(shared, key),
    };
    if let Some(record) = &found {
        shared.cached.uses(key, record);
    }
    Ok(found)
}

/// A step's record in the store.
pub(super) fn stored(shared: &Shared<'_>, key: &Digest) -> Result<Option<Record>> {
    let Some(found) = shared.store.step(key, shared.lease)? else { return Ok(None) };
    // A record that an older berth wrote in other words is no record.
    Ok(serde_json::from_str(&found.document).ok())
}

/// Writes a step down.
pub(super) fn remember(shared: &Shared<'_>, key: &Digest, record: &Record, cost: Duration) -> Result<()> {
    shared.cached.uses(key, record);
    let document = serde_json::to_string(record).expect("a record has string keys");
    let layers: Vec<Digest> = record.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    shared.store.put_step(&NewStep { key, document: &document, layers: &layers, cost })
}

/// What was made stays for the whole build.
fn keep(shared: &Shared<'_>, layers: &[Layer]) -> Result<()> {
    let wanted: Vec<_> = layers.iter().map(|layer| berth_store::Protected::Layer(&layer.diff_id)).collect();
    match shared.lease.protect(&wanted)? {
        true => Ok(()),
        false => Err(Error::conflict("a layer that was just made has gone")),
    }
}

fn lock(shared: &Shared<'_>, key: &Digest) -> Result<StepLock> {
    loop {
        if let Some(lock) = shared.store.try_lock_step(key)? {
            return Ok(lock);
        }
        shared.cancel.check()?;
        // A flock can be waited for, but then not be given up when the build is cancelled.
        thread::sleep(PATIENCE);
    }
}
