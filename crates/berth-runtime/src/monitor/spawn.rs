//! Starting the container's first process, and further ones.

use super::process::{self, Process};
use super::{CONTAINER, Monitor};
use crate::bundle::{Exec, Seccomp, Stdin};
use crate::cgroup::{Cgroup, CgroupPlan, Layout};
use crate::init::{self, Channel, ContainerPlan, ExecPlan};
use crate::mount::{CgroupMounts, MountPlan};
use crate::seccomp::Filter;
use crate::state;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::process::{Cloned, NEWTIME, clone3};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Spec};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

impl Monitor {
    /// Everything up to the moment before the container's program runs.
    pub(super) fn launch(&mut self) -> Result<()> {
        self.open_log()?;
        let spec = self.bundle.spec.clone();
        let process = spec.process().as_ref().ok_or_else(|| Error::invalid("no process"))?;
        let linux = spec.linux().clone().unwrap_or_default();
        let layout = Layout::detect()?;
        let none = LinuxResources::default();
        let resources = linux.resources().as_ref().unwrap_or(&none);
        let plan = CgroupPlan::new(&layout, &self.bundle.cgroup_parent, &self.bundle.id, resources)?;
        let planned =
            spec.mounts().iter().flatten().map(|mount| {
                Ok(MountPlan::new(mount)?.with_part(self.bundle.parts.get(mount.destination())))
            });
        let mounts = planned.collect::<Result<Vec<_>>>()?;
        self.filter = filter(&spec, self.bundle.seccomp)?;
        // Written down first: whatever happens from here on, somebody can clear it away.
        self.cgroup = Cgroup::of(&plan);
        self.recovery().write(&self.bundle.run_dir)?;
        let (_, warnings) = Cgroup::create(&plan)?;
        self.warnings.extend(warnings);
        let namespaces = linux.namespaces().as_deref().unwrap_or_default();
        let has_new = |kind| namespaces.iter().any(|n| n.typ() == kind && n.path().is_none());
        let cgroups = CgroupMounts {
            groups: plan.groups.iter().map(|g| (g.hierarchy.clone(), g.path())).collect(),
            namespaced: has_new(LinuxNamespaceType::Cgroup),
        };
        let size = process.console_size().map(|s| (clamp(s.height()), clamp(s.width())));
        let (stdio, ends) = process::stdio(process.terminal() == Some(true), size, self.bundle.stdin)?;
        let (ours, theirs) = Channel::pair()?;
        let placement = self.cgroup.placement()?;
        let into =
            placement.v2().map(|fd| fd.try_clone_to_owned()).transpose().context(|| "no more descriptors")?;
        let plan = ContainerPlan {
            spec: &spec,
            user: self.bundle.user.as_deref(),
            rootfs: &self.bundle.rootfs,
            target: self.bundle.run_dir.join("rootfs"),
            mounts: &mounts,
            cgroups: &cgroups,
            filter: self.filter.as_ref(),
            new_network: has_new(LinuxNamespaceType::Network),
        };
        let cloned = in_pid_namespace(pid_namespace(&linux)?.as_ref(), || {
            clone3(new_namespaces(&linux)?, into.as_ref().map(AsFd::as_fd))
                .context(|| "cannot make the container's namespaces")
        })?;
        match cloned {
            Cloned::Child => {
                drop(ours);
                init::container(&plan, placement, stdio, &theirs)
            }
            Cloned::Parent { pid, pidfd } => {
                let child = Process::new(pid, pidfd, ours, ends, self.bundle.stdin);
                drop((stdio, theirs));
                self.processes.insert(CONTAINER, child);
                self.state.pid = Some(pid);
                self.connect()?;
                state::write(&self.bundle.dir, &self.state)
            }
        }
    }

    /// Starts a further process on behalf of a client.
    pub(super) fn launch_exec(&mut self, client: u32, exec: &Exec) -> Result<()> {
        let linux = self.bundle.spec.linux().clone().unwrap_or_default();
        let init =
            self.processes.get(&CONTAINER).ok_or_else(|| Error::conflict("the container is not running"))?;
        let stdin = if exec.stdin { Stdin::Once } else { Stdin::Null };
        let size = exec.process.console_size().map(|s| (clamp(s.height()), clamp(s.width())));
        let (stdio, ends) = process::stdio(exec.process.terminal() == Some(true), size, stdin)?;
        let (ours, theirs) = Channel::pair()?;
        let placement = self.cgroup.placement()?;
        let into =
            placement.v2().map(|fd| fd.try_clone_to_owned()).transpose().context(|| "no more descriptors")?;
        let plan = ExecPlan {
            process: &exec.process,
            user: exec.user.as_deref(),
            filter: self.filter.as_ref().filter(|_| !exec.unconfined),
            init: init.pidfd.as_fd(),
            namespaces: entered(&linux),
        };
        let cloned = in_pid_namespace_of(init.pidfd.as_fd(), || {
            clone3(0, into.as_ref().map(AsFd::as_fd)).context(|| "cannot enter the container")
        })?;
        match cloned {
            Cloned::Child => {
                drop(ours);
                init::exec(&plan, placement, stdio, &theirs)
            }
            Cloned::Parent { pid, pidfd } => {
                let mut child = Process::new(pid, pidfd, ours, ends, stdin);
                drop((stdio, theirs));
                child.requester = Some(client);
                child.stdin_owner = Some(client);
                let number = self.number();
                self.processes.insert(number, child);
                if let Some(client) = self.clients.get_mut(&client) {
                    client.following.process = Some(number);
                    client.following.exit = true;
                    client.following.streams.stdout = true;
                    client.following.streams.stderr = true;
                }
                Ok(())
            }
        }
    }
}

fn clamp(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

fn filter(spec: &Spec, seccomp: Seccomp) -> Result<Option<Filter>> {
    match seccomp {
        Seccomp::Default => {
            let capabilities = spec.process().as_ref().and_then(|p| p.capabilities().as_ref());
            let bounding = capabilities.and_then(|c| c.bounding().clone()).unwrap_or_default();
            Ok(Some(Filter::default_for(&bounding)))
        }
        Seccomp::Spec => {
            let spec = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref());
            spec.map(Filter::from_spec).transpose()
        }
    }
}

/// The kernel's flags for the namespaces that are to be new. The cgroup namespace is made later, by the child, when
/// it is in its cgroups.
fn new_namespaces(linux: &Linux) -> Result<u64> {
    let mut flags = 0;
    for namespace in linux.namespaces().iter().flatten().filter(|n| n.path().is_none()) {
        flags |= match namespace.typ() {
            LinuxNamespaceType::Cgroup => 0,
            LinuxNamespaceType::Time => NEWTIME,
            kind => kind as u64,
        };
    }
    if flags & libc::CLONE_NEWNS as u64 == 0 {
        return Err(Error::unsupported("a container needs a mount namespace of its own"));
    }
    Ok(flags)
}

/// The namespaces an exec enters: those the container does not share with us. The PID namespace is entered by
/// being cloned into it.
fn entered(linux: &Linux) -> ThreadNameSpaceType {
    let mut kinds = ThreadNameSpaceType::empty();
    for namespace in linux.namespaces().iter().flatten() {
        kinds |= match namespace.typ() {
            LinuxNamespaceType::Mount => ThreadNameSpaceType::MOUNT,
            LinuxNamespaceType::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
            LinuxNamespaceType::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
            LinuxNamespaceType::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
            LinuxNamespaceType::Network => ThreadNameSpaceType::NETWORK,
            LinuxNamespaceType::Time => ThreadNameSpaceType::TIME,
            LinuxNamespaceType::User => ThreadNameSpaceType::USER,
            LinuxNamespaceType::Pid => ThreadNameSpaceType::empty(),
        };
    }
    kinds
}

/// Whether the container's processes end with its first one, because that is the first of a PID namespace.
pub(super) fn has_own_pid_namespace(linux: Option<&Linux>) -> bool {
    linux
        .into_iter()
        .flat_map(|l| l.namespaces().iter().flatten())
        .any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none())
}

/// Another container's PID namespace, when ours is to be that one.
fn pid_namespace(linux: &Linux) -> Result<Option<PathBuf>> {
    let joined = linux.namespaces().iter().flatten().find(|n| n.typ() == LinuxNamespaceType::Pid);
    Ok(joined.and_then(|n| n.path().clone()))
}

fn in_pid_namespace(path: Option<&PathBuf>, clone: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    let Some(path) = path else { return clone() };
    let file = File::open(path).at(path)?;
    for_children(clone, || {
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(std::io::Error::from)?)
    })
}

fn in_pid_namespace_of(process: BorrowedFd<'_>, clone: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    for_children(clone, || {
        move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID)
            .map_err(std::io::Error::from)
            .context(|| "cannot enter the container's processes")
    })
}

/// Joining a PID namespace moves only children made afterwards: we join, clone, and go back, so that one process
/// is enough to get inside.
fn for_children(clone: impl FnOnce() -> Result<Cloned>, join: impl FnOnce() -> Result<()>) -> Result<Cloned> {
    let path = "/proc/self/ns/pid";
    let ours = File::open(path).at(path)?;
    join()?;
    let cloned = clone();
    if !matches!(cloned, Ok(Cloned::Child)) {
        move_into_link_name_space(ours.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(std::io::Error::from)
            .context(|| "cannot leave the container's processes")?;
    }
    cloned
}
