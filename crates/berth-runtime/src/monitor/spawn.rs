//! Starting the container's first process, and further ones.

use super::process::{self, Process};
use super::{CONTAINER, Monitor};
use crate::birth::{self, Born};
use crate::bundle::{Exec, Stdin};
use crate::cgroup::{Cgroup, CgroupPlan, Layout, Watch, leave_service};
use crate::external::External;
use crate::hook::Subject;
use crate::init::{ContainerPlan, ExecPlan, Gate, Stdio, has_new};
use crate::mount::{CgroupMounts, MountPlan};
use crate::systemd;
use berth_oci::{Error, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources};
use std::fs::File;
use std::os::fd::AsFd;

impl Monitor {
    /// Everything up to the moment before the container's program runs.
    pub(super) fn launch(&mut self) -> Result<()> {
        self.open_log()?;
        let spec = self.bundle.spec.clone();
        let process = spec.process().as_ref().ok_or_else(|| Error::invalid("no process"))?;
        let linux = spec.linux().clone().unwrap_or_default();
        let layout = self.layout()?;
        if let Err(error) = leave_service(&layout, &self.bundle.cgroup_parent) {
            self.warnings.push(format!("the container ends with the service that starts it: {error}"));
        }
        let none = LinuxResources::default();
        let resources = linux.resources().as_ref().unwrap_or(&none);
        let plan = CgroupPlan::new(&layout, &self.bundle.cgroup_parent, &self.bundle.id, resources)?;
        let planned = spec.mounts().iter().flatten().map(|mount| {
            let target = mount.destination();
            let plan = MountPlan::new(mount)?.with_layers(self.bundle.layers.get(target));
            Ok(plan.with_part(self.bundle.parts.get(target)))
        });
        let mounts = planned.collect::<Result<Vec<_>>>()?;
        self.filter = birth::filter(&spec, self.bundle.seccomp)?;
        // Written down first: whatever happens from here on, somebody can clear it away.
        self.cgroup = Cgroup::of(&plan);
        self.recovery().write(&self.bundle.run_dir)?;
        if self.bundle.runtime.is_some() {
            return self.launch_elsewhere(process);
        }
        let (_, warnings) = Cgroup::create(&plan)?;
        self.warnings.extend(warnings);
        self.oom = Watch::over(&self.cgroup);
        let cgroups = CgroupMounts {
            groups: plan.groups.iter().map(|g| (g.hierarchy.clone(), g.path())).collect(),
            namespaced: has_new(&linux, LinuxNamespaceType::Cgroup),
        };
        let size = process.console_size().map(|s| (clamp(s.height()), clamp(s.width())));
        let (stdio, ends) = process::stdio(process.terminal() == Some(true), size, self.bundle.stdin)?;
        let subject = self.subject();
        let plan = ContainerPlan {
            spec: &spec,
            subject: &subject,
            user: self.bundle.user.as_deref(),
            rootfs: &self.bundle.rootfs,
            is_given: self.bundle.is_given,
            target: self.bundle.run_dir.join("rootfs"),
            mounts: &mounts,
            cgroups: &cgroups,
            filter: self.filter.as_ref(),
            keyring: Some(&self.bundle.id),
            is_attended: true,
            no_pivot: false,
            preserved: 0,
            reaper: self.bundle.life.reaper,
        };
        let born = birth::container(&plan, &self.cgroup, stdio, Gate::Parent)?;
        self.is_born(born, ends)
    }

    /// Another runtime makes it, cgroup and all.
    fn launch_elsewhere(&mut self, process: &oci_spec::runtime::Process) -> Result<()> {
        let Some(external) = External::of(&self.bundle) else { return Ok(()) };
        if !self.is_prepared {
            external.prepare()?;
        }
        self.is_prepared = true;
        let size = process.console_size().map(|s| (clamp(s.height()), clamp(s.width())));
        let (stdio, ends) = process::stdio(process.terminal() == Some(true), size, self.bundle.stdin)?;
        // Who has none of his own leaves it to the runtime, which may do without.
        let has_cgroup = self.cgroup.dirs().next().is_some();
        let cgroup = has_cgroup.then(|| format!("{}/{}", self.bundle.cgroup_parent, self.bundle.id));
        let born = external.create(cgroup.as_deref(), stdio)?;
        self.oom = Watch::over(&self.cgroup);
        self.is_born(born, ends)
    }

    /// The first process is there, and waits.
    fn is_born(&mut self, born: Born, ends: process::Ends) -> Result<()> {
        // Where it cannot be held, the end takes a moment longer.
        self.mounts = File::open(format!("/proc/{}/ns/mnt", born.pid)).ok();
        self.state.pid = Some(born.pid);
        self.processes.insert(CONTAINER, Process::new(born, ends, self.bundle.stdin));
        self.connect()?;
        self.save()
    }

    /// The hierarchies that the container has a cgroup in. A user whose session is elsewhere asks his systemd, who may
    /// take us to where he has some.
    fn layout(&mut self) -> Result<Layout> {
        let parent = &self.bundle.cgroup_parent;
        if Layout::is_beyond_reach(parent)?
            && systemd::has_user_manager()?
            && let Err(error) = systemd::join_user_manager()
        {
            self.warnings.push(format!("your systemd gives the container no cgroup: {error}"));
        }
        Layout::for_parent(parent)
    }

    /// What hooks are told about the container.
    pub(super) fn subject(&self) -> Subject {
        Subject {
            version: self.bundle.spec.version().clone(),
            id: self.bundle.id.clone(),
            bundle: self.bundle.dir.clone(),
            annotations: self.bundle.spec.annotations().clone(),
        }
    }

    /// Starts a further process on behalf of a client, which gets its streams and its end.
    pub(super) fn launch_exec(&mut self, client: u32, exec: &Exec) -> Result<()> {
        let number = self.spawn_exec(exec)?;
        if let Some(process) = self.processes.get_mut(&number) {
            process.requester = Some(client);
            process.stdin_owner = Some(client);
        }
        if let Some(client) = self.clients.get_mut(&client) {
            client.following.process = Some(number);
            client.following.exit = true;
            client.following.streams.stdout = true;
            client.following.streams.stderr = true;
        }
        Ok(())
    }

    /// Starts a further process.
    pub(super) fn spawn_exec(&mut self, exec: &Exec) -> Result<u32> {
        let init =
            self.processes.get(&CONTAINER).ok_or_else(|| Error::conflict("the container is not running"))?;
        let stdin = if exec.stdin { Stdin::Once } else { Stdin::Null };
        let size = exec.process.console_size().map(|s| (clamp(s.height()), clamp(s.width())));
        let (stdio, ends) = process::stdio(exec.process.terminal() == Some(true), size, stdin)?;
        let born = match External::of(&self.bundle) {
            Some(external) => external.exec(exec, init.pid, stdio)?,
            None => self.enter(exec, init, stdio)?,
        };
        let mut child = Process::new(born, ends, stdin);
        child.name = exec.id.clone().map(|id| (id, words(&exec.process)));
        let number = self.number();
        self.processes.insert(number, child);
        self.tell_exec("exec_create", number);
        Ok(number)
    }

    /// Our own way into the container.
    fn enter(&self, exec: &Exec, init: &Process, stdio: Stdio) -> Result<Born> {
        let linux = self.bundle.spec.linux().clone().unwrap_or_default();
        let subject = self.subject();
        let plan = ExecPlan {
            process: &exec.process,
            subject: &subject,
            init_pid: init.pid,
            user: exec.user.as_deref(),
            filter: self.filter.as_ref().filter(|_| !exec.unconfined),
            init: init.pidfd.as_fd(),
            namespaces: birth::entered(&linux),
            is_attended: true,
            preserved: 0,
        };
        if let Some(root) = birth::root_of(&linux) {
            stdio.give(root)?;
        }
        birth::exec(&plan, &self.cgroup, stdio)
    }
}

/// The program, a blank, and its arguments: docker's text has the blank even where nothing follows.
fn words(process: &oci_spec::runtime::Process) -> String {
    match process.args().as_deref().unwrap_or_default() {
        [program, arguments @ ..] => format!("{program} {}", arguments.join(" ")),
        [] => String::new(),
    }
}

fn clamp(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

/// Whether the container's processes end with its first one, because that is the first of a PID namespace.
pub(super) fn has_own_pid_namespace(linux: Option<&Linux>) -> bool {
    linux
        .into_iter()
        .flat_map(|l| l.namespaces().iter().flatten())
        .any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none())
}
