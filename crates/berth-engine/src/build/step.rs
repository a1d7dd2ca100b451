//! A step of a build as a container: the same sandbox, without a record, and gone when its build is.

use super::host::StepLimits;
use crate::Engine;
use crate::container::{Container, Document, thermal_paths};
use crate::etc;
use crate::process::Process;
use crate::runtime_spec::{Surroundings, bug, runtime_spec};
use crate::spec::{ContainerSpec, NetworkMode};
use berth_build::{Step, StepExit, StepMount, StepMountSource, StepNetwork};
use berth_oci::{AtPath, Error, Result};
use berth_runtime::{Bundle, Connection, Event, Life, Log, RootfsMount, Seccomp, Standby, Stdin, Streams};
use jiff::Timestamp;
use oci_spec::runtime as oci;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Runs it to its end.
pub(super) fn run(
    engine: &Engine,
    limits: &StepLimits,
    step: &Step<'_>,
    output: &mut dyn FnMut(&[u8]),
) -> Result<StepExit> {
    let standby = Standby::start(&engine.settings().executable, step.id)?;
    let bundle = bundle(engine, limits, step)?;
    let run_dir = bundle.run_dir.clone();
    let mut connection = standby.create(&bundle)?;
    connection.attach(Streams { stdin: false, stdout: true, stderr: true })?;
    let exit = follow(&mut connection, step, output);
    drop(connection);
    // It is empty but for a lock and a socket that nobody serves any more.
    fs::remove_dir_all(&run_dir).at(&run_dir)?;
    exit
}

/// From the start to the moment at which everything is cleared away.
fn follow(connection: &mut Connection, step: &Step<'_>, output: &mut dyn FnMut(&[u8])) -> Result<StepExit> {
    connection.start()?;
    let mut exit = None;
    let mut is_killed = false;
    loop {
        if !is_killed && !connection.has_early_events() && wait(connection, step)? {
            connection.signal(9)?;
            is_killed = true;
        }
        match connection.next_event()? {
            Event::Stdout(bytes) | Event::Stderr(bytes) => output(&bytes),
            Event::Exited(ended) => {
                let cpu = Some(Duration::from_nanos(ended.cpu_ns)).filter(|cpu| !cpu.is_zero());
                exit = Some(StepExit { code: ended.code, oom_killed: ended.oom_killed, cpu });
            }
            Event::Closed => break,
        }
    }
    exit.ok_or_else(|| Error::unavailable("the step's monitor has ended before the step"))
}

/// Waits for the next event, or for the build's end: then `true`.
fn wait(connection: &Connection, step: &Step<'_>) -> Result<bool> {
    let mut polled = [PollFd::new(connection, PollFlags::IN), PollFd::new(step.cancel, PollFlags::IN)];
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(!polled[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

fn bundle(engine: &Engine, limits: &StepLimits, step: &Step<'_>) -> Result<Bundle> {
    let directory = step.directory.join("bundle");
    fs::create_dir(&directory).at(&directory)?;
    let spec = container_spec(limits, step);
    let container = container(step, spec);
    let networking = engine.networking(&container, &directory)?;
    let (spec, process) = (&container.document.spec, &container.document.process);
    let around = Surroundings {
        hostname: step.hostname.clone(),
        etc: etc::of_step(networking.etc, &step.hostname)?,
        network_namespace: networking.namespace,
        masked: thermal_paths(),
        last_group: berth_runtime::last_group()?,
        ..Surroundings::default()
    };
    let mut oci_spec = runtime_spec(process, spec, &around)?;
    if let Some(process) = oci_spec.process_mut() {
        process.set_env(Some(step.env.clone()));
    }
    let mut mounts = oci_spec.mounts().clone().unwrap_or_default();
    // Nothing that a step writes to these would be in its layer.
    for file in mounts.iter_mut().filter(|mount| mount.destination().starts_with("/etc")) {
        file.set_options(file.options().clone().map(|options| [options, vec!["ro".to_owned()]].concat()));
    }
    // What the Dockerfile mounts at a place of ours takes that place.
    mounts.retain(|own| step.mounts.iter().all(|mount| mount.target != *own.destination()));
    for mount in &step.mounts {
        mounts.push(oci_mount(mount)?);
    }
    oci_spec.set_mounts(Some(mounts));
    let rootfs = step.rootfs;
    Ok(Bundle {
        id: step.id.to_owned(),
        run_dir: engine.settings().location.runroot.join("builds").join(step.id),
        exe: engine.settings().executable.clone(),
        runtime: None,
        spec: oci_spec,
        rootfs: RootfsMount::Overlay {
            lowers: rootfs.lowers.clone(),
            upper: rootfs.upper.clone(),
            work: rootfs.work.clone(),
        },
        parts: BTreeMap::new(),
        layers: BTreeMap::new(),
        memory: None,
        is_given: false,
        user: Some(step.user.clone()),
        seccomp: if step.insecure { Seccomp::Spec } else { Seccomp::Default },
        cgroup_parent: engine.cgroup_parent(),
        stdin: Stdin::Null,
        log: Log::default(),
        networks: networking.plans,
        names: networking.names,
        hosts: networking.hosts,
        linked: Vec::new(),
        dir: directory,
        on_exit: None,
        life: Life::default(),
        tied: true,
    })
}

fn container_spec(limits: &StepLimits, step: &Step<'_>) -> ContainerSpec {
    let mut spec = ContainerSpec {
        network: match step.network {
            StepNetwork::Default => NetworkMode::Bridge,
            StepNetwork::None => NetworkMode::None,
            StepNetwork::Host => NetworkMode::Host,
        },
        privileged: step.insecure,
        shm_size: limits.shm_size,
        ulimits: limits.ulimits.clone(),
        extra_hosts: limits.extra_hosts.clone(),
        ..ContainerSpec::default()
    };
    spec.resources.memory = limits.memory;
    spec
}

/// The step as a container that no record knows.
fn container(step: &Step<'_>, spec: ContainerSpec) -> Container {
    Container {
        id: step.id.to_owned(),
        name: step.id.to_owned(),
        image: None,
        manifest: None,
        created: Timestamp::now(),
        document: Document {
            spec,
            process: process(step),
            hostname: step.hostname.clone(),
            mounts: Vec::new(),
            users: None,
            layers: Vec::new(),
        },
        state: None,
    }
}

fn process(step: &Step<'_>) -> Process {
    Process { cmd: Some(step.args.clone()), working_dir: step.working_dir.clone(), ..Process::default() }
}

fn oci_mount(mount: &StepMount) -> Result<oci::Mount> {
    let (typ, source, options) = match &mount.source {
        StepMountSource::Bind { path, read_only } => {
            let access = if *read_only { "rro" } else { "rw" };
            ("bind", path.clone(), vec!["rbind".to_owned(), access.to_owned(), "rprivate".to_owned()])
        }
        StepMountSource::Tmpfs(size) => {
            let options = ["nosuid", "nodev", "noexec", "rprivate"].map(str::to_owned).into_iter();
            let size = size.map(|bytes| format!("size={bytes}"));
            ("tmpfs", PathBuf::from("tmpfs"), options.chain(size).collect())
        }
    };
    oci::MountBuilder::default()
        .typ(typ)
        .source(source)
        .destination(&mount.target)
        .options(options)
        .build()
        .map_err(bug)
}
