//! From a request to an image: stages as threads, steps with keys, results from the store where it has them.
//!
//! [`Solver`] is one platform's share of a build, [`Shared`] what all platforms have in common. Not here: names,
//! registries, files that leave the machine. Invariant: a step's key holds everything its result depends on, and
//! nothing else; a stage that nobody needs is never looked at.

mod add;
mod cached;
mod config;
mod context;
mod copy;
mod differences;
mod evidence;
mod explain;
mod failed;
mod gate;
mod graph;
mod key;
mod name;
mod run;
mod run_mounts;
mod snapshot;
mod stage;
mod step;
mod stubs;
mod web;
mod workdir;

pub use failed::{FailedStep, KeptMount, KeptSource};

use crate::cancel::Cancel;
use crate::dockerfile::{Dockerfile, Globals, Inputs, parse};
use crate::event::{Event, Listener};
use crate::failure::Failure;
use crate::history::Recording;
use crate::host::{Host, KnownStep, Layer, Material};
use crate::request::BuildRequest;
use berth_oci::{ImageConfig, Platform, Result};
use berth_store::{Lease, Store};
use cached::Cached;
use context::Contexts;
use gate::Gate;
use graph::Graph;
use jiff::Timestamp;
use snapshot::Snapshot;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// One for each platform that was asked for, in that order.
    pub images: Vec<BuiltImage>,
    /// `--build-arg`s that no stage asked for.
    pub unused_args: Vec<String>,
    /// Every step whose result took part.
    pub steps: Vec<KnownStep>,
    /// What came from elsewhere.
    pub materials: BTreeSet<Material>,
    /// Keeps the layers until somebody gives the image a name.
    pub lease: Lease,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// For what.
    pub platform: Platform,
    /// What it says about itself, its layers and history included.
    pub config: ImageConfig,
    /// Its layers, the base first.
    pub layers: Vec<Layer>,
}

/// What all platforms of a build have in common.
pub(crate) struct Shared<'a> {
    pub(crate) store: &'a Store,
    pub(crate) host: &'a dyn Host,
    pub(crate) recording: &'a Recording<'a>,
    pub(crate) cancel: &'a Cancel,
    pub(crate) request: &'a BuildRequest,
    pub(crate) file: &'a Dockerfile,
    pub(crate) lease: &'a Lease,
    pub(crate) contexts: Contexts,
    pub(crate) gate: Gate,
    epoch: Option<Timestamp>,
    numbers: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    used_args: Mutex<BTreeSet<String>>,
    pub(crate) cached: Cached,
    materials: Mutex<BTreeSet<Material>>,
}

/// One platform's share of a build.
pub(crate) struct Solver<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) inputs: Inputs,
    pub(crate) globals: Globals,
    pub(crate) graph: Graph,
    stages: Vec<Cell>,
}

/// A stage's result, once there is one.
#[derive(Default)]
struct Cell {
    state: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
enum Progress {
    #[default]
    Waiting,
    Running,
    Done(Arc<Snapshot>),
    Failed,
}

/// Makes the image that the request asks for.
///
/// # Errors
/// The first failure of any step; all others are broken off.
pub fn build(
    store: &Store,
    host: &dyn Host,
    recording: &Recording<'_>,
    cancel: &Cancel,
    request: &BuildRequest,
) -> Result<Built, Failure> {
    let file = parse(&request.dockerfile_name, &request.dockerfile)?;
    let lease = store.lease()?;
    let shared = Shared {
        store,
        host,
        recording,
        cancel,
        request,
        file: &file,
        lease: &lease,
        contexts: Contexts::new(store, request)?,
        gate: Gate::new(request.jobs),
        epoch: request.epoch.and_then(|epoch| Timestamp::from_second(epoch).ok()),
        numbers: AtomicUsize::new(1),
        failure: Mutex::new(None),
        used_args: Mutex::new(BTreeSet::new()),
        cached: Cached::default(),
        materials: Mutex::default(),
    };
    let solvers = request
        .platforms
        .iter()
        .map(|platform| Solver::new(&shared, platform))
        .collect::<Result<Vec<_>, Failure>>()?;
    shared.skip(&solvers);
    let results = thread::scope(|scope| {
        let threads: Vec<_> = solvers.iter().map(|solver| scope.spawn(|| solver.solve())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    shared.contexts.save()?;
    if let Some(failure) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    let images = results.into_iter().collect::<Result<Vec<_>, Failure>>()?;
    cached::settle(&shared)?;
    let unused_args = shared.unused_args();
    drop(solvers);
    let steps = shared.cached.used();
    let materials = shared.materials.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Built { images, unused_args, steps, materials, lease })
}

impl Shared<'_> {
    /// Now, or the moment that is to count as now.
    pub(crate) fn now(&self) -> Timestamp {
        self.epoch.unwrap_or_else(Timestamp::now)
    }

    /// Stages that no platform needs are told, once.
    fn skip(&self, solvers: &[Solver<'_>]) {
        for index in 0..self.file.stages.len() {
            if solvers.iter().all(|solver| !solver.graph.needed.contains(&index)) {
                let stage = name::stage(self.file, index);
                self.tell(Event::Skipped { name: &format!("[{stage}]") });
                self.recording.skip(&stage);
            }
        }
    }

    /// A number for a step that is about to be told about.
    pub(crate) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, event: Event<'_>) {
        self.recording.event(event);
    }

    /// Something came from elsewhere.
    pub(crate) fn note_material(&self, material: Material) {
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).insert(material);
    }

    /// The first failure counts; it ends everything else.
    pub(crate) fn fail(&self, failure: Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
        self.cancel.set();
    }

    fn unused_args(&self) -> Vec<String> {
        let used = self.used_args.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unused = |name: &&String| {
            !used.contains(*name)
                && !run::is_proxy(name)
                && !name.starts_with("BUILDKIT_")
                && *name != "SOURCE_DATE_EPOCH"
        };
        self.request.args.keys().filter(is_unused).cloned().collect()
    }

    pub(crate) fn use_arg(&self, name: &str) {
        self.used_args.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }
}

impl<'a> Solver<'a> {
    fn new(shared: &'a Shared<'a>, platform: &Platform) -> Result<Self, Failure> {
        let inputs = Inputs {
            build_args: shared.request.args.clone(),
            build_platform: Platform::host(),
            target_platform: platform.clone(),
            target: shared.request.target.clone(),
        };
        let globals = Globals::new(shared.file, &inputs)?;
        for global in &shared.file.global_args {
            global.args.iter().for_each(|arg| shared.use_arg(&arg.name));
        }
        let graph = Graph::new(shared.file, &globals, shared.request, platform)?;
        let stages = shared.file.stages.iter().map(|_| Cell::default()).collect();
        Ok(Self { shared, inputs, globals, graph, stages })
    }

    /// Every stage that is needed, each in a thread of its own.
    fn solve(&self) -> Result<BuiltImage, Failure> {
        thread::scope(|scope| {
            for &index in &self.graph.needed {
                scope.spawn(move || {
                    if let Err(failure) = self.stage(index) {
                        self.shared.fail(failure);
                    }
                });
            }
        });
        let snapshot = self.stage(self.graph.target)?;
        self.shared.bring(&snapshot.layers)?;
        Ok(snapshot.image(&self.inputs.target_platform, self.shared))
    }

    /// The result of a stage: waits for whoever is at it, or goes to work.
    pub(crate) fn stage(&self, index: usize) -> Result<Arc<Snapshot>, Failure> {
        let cell = &self.stages[index];
        let mut state = cell.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*state {
                Progress::Done(snapshot) => return Ok(Arc::clone(snapshot)),
                Progress::Failed => {
                    return Err(berth_oci::Error::cancelled("the build failed elsewhere").into());
                }
                Progress::Running => state = cell.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Progress::Waiting => break,
            }
        }
        *state = Progress::Running;
        drop(state);
        let result = stage::evaluate(self, index);
        let mut state = cell.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match result {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                *state = Progress::Done(Arc::clone(&snapshot));
                Ok(snapshot)
            }
            Err(failure) => {
                *state = Progress::Failed;
                // Before those who wait hear of it: the first failure is the one to be told.
                self.shared.fail(failure);
                Err(berth_oci::Error::cancelled("the build failed elsewhere").into())
            }
        };
        cell.changed.notify_all();
        answer
    }
}
