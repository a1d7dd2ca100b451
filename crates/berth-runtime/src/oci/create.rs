//! Making a container: everything up to the moment before its program runs.

use super::place::Place;
use super::record::{FirstProcess, Record, read_bundle};
use super::{Child, Runtime, Understood, readiness, terminal};
use crate::birth::{self, Born};
use crate::bundle::{RootfsMount, Seccomp};
use crate::cgroup::{Cgroup, CgroupPlan, Layout, Version};
use crate::hook::{self, Subject};
use crate::init::{self, ContainerPlan, Gate, Message, Stdio, has_new};
use crate::mount::{CgroupMounts, MountPlan};
use crate::net;
use crate::systemd::{Manager, Placeholder, Unit};
use crate::validate;
use berth_oci::{AtPath, Context, Error, Result};
use jiff::Timestamp;
use oci_spec::runtime::{ContainerState, Linux, LinuxNamespaceType, LinuxResources, Mount, Process, Spec};
use rustix::process::{Signal, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a caller says about a container to be.
#[derive(Clone, Debug)]
pub struct Create<'a> {
    /// Its name.
    pub id: &'a str,
    /// The directory with `config.json`.
    pub bundle: &'a Path,
    /// The specification's file, if it is not the bundle's `config.json`.
    pub config: Option<&'a Path>,
    /// Who gets the other end of the terminal; without it that is the answer's.
    pub console_socket: Option<&'a Path>,
    /// Where the number of its process is to be written.
    pub pid_file: Option<&'a Path>,
    /// How many descriptors after the standard three its program gets.
    pub preserved: u32,
    /// Variables that its program gets besides the bundle's: what the caller says about the descriptors.
    pub environment: Vec<String>,
    /// Whether its program is to say that it is ready, which [`Runtime::start`] then listens for.
    pub says_ready: bool,
    /// Whether it gets a session keyring of its own.
    pub new_keyring: bool,
    /// Whether its root is moved over the old one instead of taking its place: for machines without a root that can
    /// be exchanged.
    pub no_pivot: bool,
}

impl Runtime {
    /// Makes a container of a bundle; its process waits for [`Self::start`].
    pub fn create(&self, create: &Create<'_>) -> Result<Child> {
        let bundle = fs::canonicalize(create.bundle).at(create.bundle)?;
        let config = create.config.unwrap_or(Path::new("config.json"));
        let Understood { document: mut spec, text, mut warnings } = read_bundle(&bundle.join(config))?;
        check(&spec, create)?;
        warnings
            .extend(spec.process().as_ref().and_then(|process| not_given(process, spec.linux().as_ref())));
        if let (Some(process), false) = (spec.process_mut(), create.environment.is_empty()) {
            process.env_mut().get_or_insert_default().extend(create.environment.iter().cloned());
        }
        let layout = Layout::detect()?;
        let none = LinuxResources::default();
        let resources = spec.linux().as_ref().and_then(|l| l.resources().as_ref()).unwrap_or(&none);
        let unit = if self.by_systemd { Some(unit(&spec, create.id, &layout)?) } else { None };
        let (parent, name) = match &unit {
            Some(unit) => unit.place(),
            None => cgroup_place(&spec, create.id)?,
        };
        let cgroups = CgroupPlan::new(&layout, &parent, &name, resources)?;
        let manager = unit.as_ref().map(|_| Manager::connect()).transpose()?;
        let rootfs = root_of(&spec, &bundle)?;
        let place = Place::of(&self.root, create.id)?;
        place.make()?;
        if create.says_ready {
            readiness::offer(&mut spec, &place).inspect_err(|_| drop(place.remove()))?;
        }
        let mut record = Record {
            subject: Subject {
                version: spec.version().clone(),
                id: create.id.into(),
                bundle: bundle.clone(),
                annotations: spec.annotations().clone(),
            },
            rootfs,
            created: Timestamp::now(),
            cgroup: Cgroup::of(&cgroups),
            unit,
            first: None,
        };
        let made = fs::write(place.config(), text)
            .at(place.config())
            // Written down first: whatever happens from here on, somebody can clear it away.
            .and_then(|()| record.write(&place))
            .and_then(|()| held_by_systemd(manager, &record, &cgroups))
            // It ends when the container's own process is in there.
            .and_then(|_held| make(create, &spec, &place, &mut record, &cgroups));
        made.map(|mut child| {
            child.warnings.splice(0..0, warnings);
            child
        })
        .inspect_err(|_| {
            // What is left of a container that came to nothing; the error that tells why is on its way.
            drop(record.cgroup.kill().and_then(|()| record.cgroup.remove()));
            drop(place.remove());
        })
    }
}

fn check(spec: &Spec, create: &Create<'_>) -> Result<()> {
    let Some(process) = spec.process() else {
        return Err(Error::invalid("the runtime specification has no process"));
    };
    if spec.linux().is_none() {
        return Err(Error::invalid("the runtime specification has no `linux`"));
    }
    if create.console_socket.is_some() && process.terminal() != Some(true) {
        return Err(Error::invalid("a console socket was given, but `process.terminal` is not set"));
    }
    validate::spec(spec)
}

/// The unit that is to be the container's cgroup.
fn unit(spec: &Spec, id: &str, layout: &Layout) -> Result<Unit> {
    if layout.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1) {
        return Err(Error::unsupported(
            "systemd's units as cgroups of containers need the unified hierarchy alone",
        )
        .hint("configure the engine with the cgroup driver cgroupfs, or the machine with cgroup v2"));
    }
    let path = spec.linux().as_ref().and_then(|l| l.cgroups_path().clone()).unwrap_or_default();
    Unit::of(&path.to_string_lossy(), id)
}

/// Has the unit made, if systemd is to make one. The process that keeps it is the answer.
fn held_by_systemd(
    manager: Option<Manager>,
    record: &Record,
    cgroups: &CgroupPlan,
) -> Result<Option<Placeholder>> {
    let (Some(mut manager), Some(unit)) = (manager, &record.unit) else { return Ok(None) };
    let held = Placeholder::new()?;
    let writes: Vec<_> = cgroups.groups.iter().flat_map(|group| group.writes.clone()).collect();
    manager.start(unit, &record.subject.id, held.pid(), &writes)?;
    Ok(Some(held))
}

/// The container's cgroup, from the root of every hierarchy: parent and own name.
pub(super) fn cgroup_place(spec: &Spec, id: &str) -> Result<(String, String)> {
    let path = spec.linux().as_ref().and_then(|l| l.cgroups_path().clone()).unwrap_or_default();
    let text = path.to_string_lossy().trim_matches('/').to_owned();
    if text.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("`linux.cgroupsPath` is `{}`, which leads up", path.display())));
    }
    if text.contains(':') && !path.is_absolute() {
        return Err(Error::invalid(format!("the cgroup `{text}` is in systemd's form `slice:prefix:name`"))
            .hint("with --systemd-cgroup, systemd makes it"));
    }
    Ok(match text.rsplit_once('/') {
        Some((parent, name)) => (format!("/{parent}"), name.to_owned()),
        None if text.is_empty() => ("/".into(), id.to_owned()),
        None => ("/".into(), text),
    })
}

fn root_of(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let root = spec.root().as_ref().ok_or_else(|| Error::invalid("the runtime specification has no root"))?;
    let path = bundle.join(root.path());
    fs::canonicalize(&path).at(&path).map_err(|error| error.hint("`root.path` names the root file system"))
}

fn make(
    create: &Create<'_>,
    spec: &Spec,
    place: &Place,
    record: &mut Record,
    cgroups: &CgroupPlan,
) -> Result<Child> {
    let linux = spec.linux().clone().unwrap_or_default();
    let process = spec.process().as_ref().ok_or_else(|| Error::invalid("no process"))?;
    let mounts = mounts(spec, &record.subject.bundle)?;
    let filter = birth::filter(spec, Seccomp::Spec)?;
    let (_, mut warnings) = Cgroup::create(cgroups)?;
    let groups = CgroupMounts {
        groups: cgroups.groups.iter().map(|g| (g.hierarchy.clone(), g.path())).collect(),
        namespaced: has_new(&linux, LinuxNamespaceType::Cgroup),
    };
    let keyring = format!("_ses.{}", create.id);
    let plan = ContainerPlan {
        spec,
        subject: &record.subject,
        user: None,
        rootfs: &RootfsMount::Directory { path: record.rootfs.clone() },
        is_given: false,
        target: record.rootfs.clone(),
        mounts: &mounts,
        cgroups: &groups,
        filter: filter.as_ref(),
        keyring: create.new_keyring.then_some(keyring.as_str()),
        is_attended: false,
        no_pivot: create.no_pivot,
        reaper: false,
        preserved: create.preserved,
    };
    let gate = Gate::Socket(place.listen()?);
    let born = birth::container(&plan, &record.cgroup, stdio(process)?, gate)?;
    let prepared = give_devices(&linux, born.pid).and_then(|()| prepare(&born, spec, &record.subject));
    let (terminal, more) = match prepared
        .and_then(|(master, more)| Ok((terminal::hand_over(master, create.console_socket)?, more)))
    {
        Ok(prepared) => prepared,
        Err(error) => {
            end(&born.pidfd)?;
            return Err(error);
        }
    };
    warnings.extend(more);
    record.first = Some(FirstProcess::with(born.pid)?);
    record.write(place)?;
    write_pid(create.pid_file, born.pid)?;
    Ok(Child { pid: born.pid, pidfd: born.pidfd, terminal, warnings })
}

/// Before any hook, which may want to see them.
fn give_devices(linux: &Linux, pid: i32) -> Result<()> {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else {
        return Ok(());
    };
    let names = devices.iter().map(|(name, device)| {
        let inside = device.name().as_deref().filter(|inside| !inside.is_empty());
        (name.as_str(), inside.unwrap_or(name))
    });
    let joined = linux.namespaces().iter().flatten().find(|n| n.typ() == LinuxNamespaceType::Network);
    let own = || format!("/proc/{pid}/ns/net").into();
    let path: PathBuf = joined.and_then(|namespace| namespace.path().clone()).unwrap_or_else(own);
    let namespace = fs::File::open(&path).at(&path)?;
    net::give(&names.collect(), namespace.as_fd())
}

/// The specification's mounts; a relative source is the bundle's, a relative destination the root's.
fn mounts(spec: &Spec, bundle: &Path) -> Result<Vec<MountPlan>> {
    let absolute = |mount: &Mount| {
        let mut mount = mount.clone();
        let options = mount.options().as_deref().unwrap_or_default();
        let binds =
            mount.typ().as_deref() == Some("bind") || options.iter().any(|o| o == "bind" || o == "rbind");
        if let (true, Some(source)) = (binds, mount.source().clone()) {
            mount.set_source(Some(bundle.join(source)));
        }
        mount.set_destination(Path::new("/").join(mount.destination()));
        mount
    };
    spec.mounts().iter().flatten().map(|mount| MountPlan::new(&absolute(mount))).collect()
}

/// What the specification wants to be warned of: capabilities that are asked for and cannot be had.
pub(super) fn not_given(process: &Process, linux: Option<&Linux>) -> Option<String> {
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let is_in_user_namespace = namespaces.iter().any(|n| n.typ() == LinuxNamespaceType::User);
    let left_out = init::left_out(process.capabilities().as_ref()?, is_in_user_namespace);
    let names: Vec<_> = left_out.iter().map(|capability| format!("CAP_{capability}")).collect();
    (!names.is_empty())
        .then(|| format!("capabilities that cannot be given are left out: {}", names.join(", ")))
}

/// A terminal of the container's, or our own standard streams.
pub(super) fn stdio(process: &Process) -> Result<Stdio> {
    if process.terminal() == Some(true) {
        let side = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
        let size = process.console_size().map(|size| (side(size.height()), side(size.width())));
        let (rows, columns) = size.unwrap_or_default();
        return Ok(Stdio::Terminal { rows, columns });
    }
    let copy = |fd: &dyn AsFd| {
        fd.as_fd().try_clone_to_owned().context(|| "a standard stream is closed: give it at least /dev/null")
    };
    Ok(Stdio::Pipes([copy(&io::stdin())?, copy(&io::stdout())?, copy(&io::stderr())?]))
}

/// Goes along with the preparations; answers the other end of the terminal and what could not be done.
fn prepare(born: &Born, spec: &Spec, subject: &Subject) -> Result<(Option<OwnedFd>, Vec<String>)> {
    loop {
        match born.channel.receive()? {
            Some((Message::Surrounded, _)) => {
                let state = subject.state(ContainerState::Creating, Some(born.pid));
                hook::run_early(spec.hooks().as_ref(), &state)?;
                born.channel.go()?;
            }
            Some((Message::Ready { warnings }, master)) => return Ok((master, warnings)),
            Some((Message::Failed(fault), _)) => return Err(fault.into()),
            None => return Err(Error::internal("the container's process ended while it was being prepared")),
        }
    }
}

/// Kills a process of ours that nobody wants any more.
pub(super) fn end(pidfd: &OwnedFd) -> Result<()> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => birth::reap(pidfd),
        Err(error) => Err(io::Error::from(error)).context(|| "cannot end the container's process"),
    }
}

/// Whole or not at all: whoever waits for the file reads it at once.
pub(super) fn write_pid(path: Option<&Path>, pid: i32) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().ok_or_else(|| Error::invalid("the pid file has no name"))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    fs::write(&temporary, pid.to_string()).at(&temporary)?;
    fs::rename(&temporary, path).at(path)
}

/// Whether `linux` gives the container processes of its own, which end with the first.
pub(super) fn has_own_processes(linux: Option<&Linux>) -> bool {
    linux.is_some_and(|linux| has_new(linux, LinuxNamespaceType::Pid))
}
