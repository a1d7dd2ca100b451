//! Results that a cache from elsewhere knows: their layers come when somebody needs their files, and not before.
//!
//! Not here: where such a cache is ([`Host`](crate::Host)). Invariant: a record from elsewhere becomes one of the
//! store when all of its layers are here.

use super::Shared;
use super::key::Record;
use super::step::{remember, stored};
use crate::host::{KnownStep, Layer};
use berth_oci::{Digest, Result};
use berth_store::Protected;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Which steps took part in a build, and which layers of theirs are still elsewhere.
#[derive(Default)]
pub(crate) struct Cached {
    used: Mutex<BTreeMap<Digest, Record>>,
    absent: Mutex<BTreeSet<Digest>>,
}

impl Cached {
    /// A step takes part.
    pub(super) fn uses(&self, key: &Digest, record: &Record) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), record.clone());
    }

    /// All that took part.
    pub(super) fn used(&self) -> Vec<KnownStep> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |(key, record): (&Digest, &Record)| KnownStep {
            key: key.clone(),
            document: serde_json::to_string(record).expect("a record has string keys"),
            layers: record.layers.clone(),
        };
        used.iter().map(known).collect()
    }
}

/// What the cache from elsewhere knows of a step.
pub(super) fn elsewhere(shared: &Shared<'_>, key: &Digest) -> Option<Record> {
    let step = shared.host.cached(key)?;
    // A record that an older berth wrote in other words is no record.
    let record = serde_json::from_str::<Record>(&step.document).ok()?;
    let record = Record { layers: step.layers, ..record };
    let mut absent = shared.cached.absent.lock().unwrap_or_else(PoisonError::into_inner);
    absent.extend(record.layers.iter().map(|layer| layer.diff_id.clone()));
    Some(record)
}

impl Shared<'_> {
    /// Makes sure that layers are here whose files are needed.
    pub(crate) fn bring(&self, layers: &[Layer]) -> Result<()> {
        for layer in layers {
            let is_absent =
                || self.cached.absent.lock().unwrap_or_else(PoisonError::into_inner).contains(&layer.diff_id);
            if !is_absent() {
                continue;
            }
            self.cancel.check()?;
            if !self.lease.protect(&[Protected::Layer(&layer.diff_id)])? {
                self.host.bring(layer, self.lease)?;
            }
            self.cached.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(&layer.diff_id);
        }
        Ok(())
    }
}

/// Writes down what came from elsewhere.
pub(super) fn settle(shared: &Shared<'_>) -> Result<()> {
    let used = std::mem::take(&mut *shared.cached.used.lock().unwrap_or_else(PoisonError::into_inner));
    for (key, record) in &used {
        let wanted: Vec<_> = record.layers.iter().map(|layer| Protected::Layer(&layer.diff_id)).collect();
        if stored(shared, key)?.is_none() && shared.lease.protect(&wanted)? {
            remember(shared, key, record, Duration::ZERO)?;
        }
    }
    shared.cached.used.lock().unwrap_or_else(PoisonError::into_inner).extend(used);
    Ok(())
}
