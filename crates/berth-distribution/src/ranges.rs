//! One blob over several connections: a few ranges ahead, handed out in order.
//!
//! Invariant: no more than [`AHEAD`] chunks are held or on their way, however large a blob is and however many there
//! are, and a reader that goes away takes its threads with it.

use crate::blob::check_range;
use crate::http::{Failure, FaultClass, Response};
use crate::registry::Registry;
use crate::source::{broken_off, range_request};
use berth_oci::{Descriptor, Error, Result};
use std::collections::VecDeque;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

const CHUNK: u64 = 3 << 20;
/// Chunks held, the one being read included: 15 MiB.
const AHEAD: usize = 5;
/// How often one chunk's connection may break.
const TRIES: usize = 3;

type Answer = Result<Vec<u8>, Failure>;

/// A range to fetch and where to put it.
struct Job {
    start: u64,
    end: u64,
    reply: SyncSender<Answer>,
}

/// The right to hold chunks: one blob of a client has it at a time, whatever their number.
pub(crate) struct Permit(Arc<AtomicBool>);

impl Permit {
    pub(crate) fn take(is_taken: &Arc<AtomicBool>) -> Option<Self> {
        (!is_taken.swap(true, Ordering::AcqRel)).then(|| Self(is_taken.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The consumer's end.
pub(crate) struct Ranges {
    _permit: Permit,
    jobs: SyncSender<Job>,
    /// In the order of their offsets.
    coming: VecDeque<Receiver<Answer>>,
    chunk: Vec<u8>,
    read: usize,
    next: u64,
    size: u64,
}

impl Ranges {
    /// Fetches `descriptor` from `start` to its end.
    pub(crate) fn start(permit: Permit, registry: Registry, descriptor: &Descriptor, start: u64) -> Self {
        let (jobs, queue) = sync_channel(AHEAD);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..registry.shared().settings.connections_per_blob.min(AHEAD) {
            let (registry, descriptor, queue) = (registry.clone(), descriptor.clone(), queue.clone());
            std::thread::spawn(move || work(&registry, &descriptor, &queue));
        }
        let size = descriptor.size;
        Self { _permit: permit, jobs, coming: VecDeque::new(), chunk: Vec::new(), read: 0, next: start, size }
    }

    /// Some bytes; 0 at the end of the blob.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        if self.read == self.chunk.len() {
            self.chunk = Vec::new();
            self.read = 0;
            self.order();
            let Some(first) = self.coming.pop_front() else { return Ok(0) };
            self.chunk = first.recv().unwrap_or_else(|_| Err(gone()))?;
        }
        let count = buffer.len().min(self.chunk.len() - self.read);
        buffer[..count].copy_from_slice(&self.chunk[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }

    fn order(&mut self) {
        while self.coming.len() < AHEAD && self.next < self.size {
            let end = (self.next + CHUNK).min(self.size);
            let (reply, answer) = sync_channel(1);
            self.coming.push_back(answer);
            // Whoever is gone shows when its answer is awaited.
            if self.jobs.try_send(Job { start: self.next, end, reply }).is_err() {
                break;
            }
            self.next = end;
        }
    }
}

fn gone() -> Failure {
    Failure::new(FaultClass::Broken, Error::unavailable("a connection of several for one blob went away"))
}

/// One connection: takes jobs until nobody orders any more.
fn work(registry: &Registry, descriptor: &Descriptor, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().expect("no thread panics with this lock").recv();
        let Ok(job) = job else { return };
        let answer = fetch(registry, descriptor, job.start, job.end);
        if job.reply.send(answer).is_err() {
            return;
        }
    }
}

/// The whole range, going on where a connection broke.
fn fetch(registry: &Registry, descriptor: &Descriptor, start: u64, end: u64) -> Answer {
    let mut bytes = Vec::with_capacity((end - start) as usize + 1);
    let mut tries = 0;
    loop {
        let failure = match fetch_some(registry, descriptor, start, end, &mut bytes) {
            Ok(()) if bytes.len() as u64 == end - start => return Ok(bytes),
            Ok(()) => {
                let at = start + bytes.len() as u64;
                broken_off(&registry.endpoint.authority, &descriptor.digest, at, descriptor.size)
            }
            Err(failure) => failure,
        };
        tries += 1;
        if tries == TRIES || failure.class != FaultClass::Broken {
            return Err(failure);
        }
    }
}

fn fetch_some(
    registry: &Registry,
    descriptor: &Descriptor,
    start: u64,
    end: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), Failure> {
    let from = start + bytes.len() as u64;
    let path = format!("blobs/{}", descriptor.digest);
    let response = registry.ask(&path, |url| range_request(url, from, Some(end)))?;
    let response = partial(registry.expect(response)?, from, descriptor.size)?;
    // One byte more than we want: only a body that was read to its end gives its connection back.
    response.into_body().take(end - from + 1).read_to_end(bytes).map_err(Failure::of_read)?;
    match bytes.len() as u64 <= end - start {
        true => Ok(()),
        false => Err(Failure::fatal(Error::invalid(format!(
            "{} answered more than the range it was asked for",
            registry.endpoint.authority
        )))),
    }
}

fn partial(response: Response, start: u64, size: u64) -> Result<Response, Failure> {
    match response.status {
        206 => check_range(&response, start, size).map(|()| response),
        status => Err(Failure::new(
            FaultClass::Busy,
            Error::unavailable(format!("{} does not answer ranges (status {status})", response.url.shown())),
        )),
    }
}
