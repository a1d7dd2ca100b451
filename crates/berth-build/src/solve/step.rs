//! One step: looked up by its key, done if nobody has done it, once for all processes.

use super::key::{Inputs, Record};
use super::{Shared, Solver};
use crate::event::Event;
use crate::failure::{Failure, StepFailure};
use crate::host::Layer;
use berth_oci::{Digest, Error, Kind, Result};
use berth_store::{NewStep, StepLock, Workplace};
use jiff::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How a step is called.
#[derive(Clone, Debug)]
pub(crate) struct StepName {
    /// For people: `[build 2/3] RUN make`.
    pub(crate) text: String,
    /// Its place in the Dockerfile, for comparison with earlier builds.
    pub(crate) place: String,
}

/// How often a process looks whether another one is done with a step.
const PATIENCE: Duration = Duration::from_millis(20);

/// A step while it is done.
pub(crate) struct Doing<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) number: usize,
    pub(crate) place: &'a Workplace,
    tail: &'a Mutex<Vec<u8>>,
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
    name: &StepName,
    inputs: &Inputs,
    fresh: bool,
    work: &(dyn Fn(&Doing<'_>) -> Result<Vec<Layer>> + Sync),
) -> Result<Outcome, Failure> {
    let shared = solver.shared;
    let number = shared.number();
    let key = inputs.key();
    if !fresh && let Some(record) = known(shared, &key)? {
        shared.tell(Event::Started { step: number, name: &name.text });
        shared.tell(Event::Cached { step: number });
        return Ok(record.into());
    }
    shared.tell(Event::Started { step: number, name: &name.text });
    let lock = lock(shared, &key)?;
    if !fresh && let Some(record) = known(shared, &key)? {
        // Another process did it while we waited.
        shared.tell(Event::Cached { step: number });
        return Ok(record.into());
    }
    if shared.request.explain {
        let why =
            if fresh { "done anew: asked for without cache".to_owned() } else { why(shared, name, inputs)? };
        shared.tell(Event::Explained { step: number, why: &why });
    }
    let tail = Mutex::new(Vec::new());
    let started = Instant::now();
    let done = {
        let _pass = shared.gate.enter();
        shared.cancel.check().and_then(|()| {
            let place = shared.store.workplace()?;
            let doing = Doing { shared, number, place: &place, tail: &tail };
            let layers = work(&doing)?;
            keep(shared, &layers)?;
            Ok(layers)
        })
    };
    let layers = match done {
        Ok(layers) => layers,
        Err(error) if error.kind() == Kind::Cancelled => {
            shared.tell(Event::Cancelled { step: number });
            return Err(error.into());
        }
        Err(error) => {
            shared.tell(Event::Failed { step: number, why: &error.to_string() });
            let output = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
            let step = StepFailure { name: name.text.clone(), output };
            return Err(Failure { error, place: None, step: Some(step) });
        }
    };
    let record = Record {
        name: name.text.clone(),
        place: name.place.clone(),
        inputs: inputs.clone(),
        layers,
        made: shared.now(),
        alias: None,
    };
    remember(shared, &key, &record, started.elapsed())?;
    drop(lock);
    shared.tell(Event::Done { step: number, elapsed: started.elapsed() });
    Ok(record.into())
}

/// What is different from the last time a step stood in this place.
fn why(shared: &Shared<'_>, name: &StepName, inputs: &Inputs) -> Result<String> {
    let records = shared.store.steps()?.into_iter();
    let mut records = records.filter_map(|step| serde_json::from_str::<Record>(&step.document).ok());
    let operation = inputs.0.first();
    let earlier = records.find(|record| {
        record.place == name.place && record.alias.is_none() && record.inputs.0.first() == operation
    });
    let Some(earlier) = earlier else { return Ok("done anew: nothing like it was done before".to_owned()) };
    let before = &earlier.inputs.0;
    let changed = inputs.0.iter().filter(|input| !before.contains(input)).map(|(input, _)| input);
    let gone = before
        .iter()
        .filter(|(input, _)| inputs.0.iter().all(|(now, _)| now != input))
        .map(|(input, _)| input);
    let mut names: Vec<&str> = changed.chain(gone).map(String::as_str).collect();
    names.dedup();
    Ok(match names.is_empty() {
        true => "done anew: its result is not here any more".to_owned(),
        false => format!("done anew: changed since {}: {}", earlier.made, names.join(", ")),
    })
}

/// A step's record, where its layers are still here.
pub(super) fn known(shared: &Shared<'_>, key: &Digest) -> Result<Option<Record>> {
    let Some(found) = shared.store.step(key, shared.lease)? else { return Ok(None) };
    // A record that an older berth wrote in other words is no record.
    Ok(serde_json::from_str(&found.document).ok())
}

/// Writes a step down.
pub(super) fn remember(shared: &Shared<'_>, key: &Digest, record: &Record, cost: Duration) -> Result<()> {
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
