//! The moment a process of a container comes into being: one clone, into its namespaces and its cgroup.
//!
//! Here: what a monitor and a runtime without one have in common. Not here: what the new process does (`init`).
//! Invariant: whoever calls this has one thread.

use crate::bundle::Seccomp;
use crate::cgroup::Cgroup;
use crate::init::{self, Channel, ContainerPlan, ExecPlan, Gate, Inherited, Stdio, has_new};
use crate::mount::Sources;
use crate::seccomp::Filter;
use crate::user_namespace::Mappings;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::process::{Cloned, clone3, clone3_sibling, exit_now};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A new process, and the way to talk to it until its program runs.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: Channel,
}

/// Makes a container's first process. What it inherits is opened here, as late as possible.
pub(crate) fn container(plan: &ContainerPlan<'_>, cgroup: &Cgroup, stdio: Stdio, gate: Gate) -> Result<Born> {
    let linux = plan.spec.linux().clone().unwrap_or_default();
    let mappings = mappings(&linux)?;
    let sources = Sources::open(plan.rootfs, plan.mounts, mappings.as_ref(), &plan.target)?;
    if let Some(root) = mappings.as_ref().and_then(Mappings::root) {
        stdio.give(root)?;
    }
    let (ours, theirs) = Channel::pair()?;
    let placement = cgroup.placement()?;
    let into =
        placement.v2().map(|fd| fd.try_clone_to_owned()).transpose().context(|| "no more descriptors")?;
    let cloned = clone(&linux, into.as_ref().map(AsFd::as_fd))?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            init::container(plan, Inherited { placement, stdio, gate, sources }, theirs)
        }
        Cloned::Parent { pid, pidfd } => {
            if let Some(mappings) = mappings {
                mappings.write(pid)?;
                ours.go()?;
            }
            Ok(Born { pid, pidfd, channel: ours })
        }
    }
}

/// Makes a further process of a running container.
pub(crate) fn exec(plan: &ExecPlan<'_>, cgroup: &Cgroup, stdio: Stdio) -> Result<Born> {
    let (ours, theirs) = Channel::pair()?;
    let placement = cgroup.placement()?;
    let into =
        placement.v2().map(|fd| fd.try_clone_to_owned()).transpose().context(|| "no more descriptors")?;
    let cloned = in_pid_namespace_of(plan.init, || {
        clone3(0, into.as_ref().map(AsFd::as_fd)).context(|| "cannot enter the container")
    })?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            init::exec(plan, placement, stdio, &theirs)
        }
        Cloned::Parent { pid, pidfd } => Ok(Born { pid, pidfd, channel: ours }),
    }
}

/// Whose files on the host are those of the root of the container's own user namespace, if it has one.
pub(crate) fn root_of(linux: &Linux) -> Option<(u32, u32)> {
    mappings(linux).ok()??.root()
}

/// The mappings of a user namespace that is to be new.
fn mappings(linux: &Linux) -> Result<Option<Mappings>> {
    if !has_new(linux, LinuxNamespaceType::User) {
        return Ok(None);
    }
    let ids = |mappings: &Option<Vec<_>>| mappings.clone().unwrap_or_default();
    let (uids, gids) = (ids(linux.uid_mappings()), ids(linux.gid_mappings()));
    match uids.is_empty() && gids.is_empty() {
        true => Mappings::identity().map(Some),
        false => Ok(Some(Mappings::new(&uids, &gids))),
    }
}

fn clone(linux: &Linux, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let flags = new_namespaces(linux)?;
    let make = |clone: fn(u64, Option<BorrowedFd<'_>>) -> io::Result<Cloned>| {
        in_pid_namespace(path_of(linux, LinuxNamespaceType::Pid).as_deref(), || {
            clone(flags, cgroup).context(|| "cannot make the container's namespaces")
        })
    };
    match path_of(linux, LinuxNamespaceType::User) {
        None => make(clone3),
        Some(path) => in_user_namespace(&path, || make(clone3_sibling)),
    }
}

/// Nobody returns from another user namespace: a helper enters it, and makes the process in its own place.
fn in_user_namespace(path: &Path, make: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    let doing = || format!("cannot enter the user namespace `{}`", path.display());
    let namespace = File::open(path).at(path)?;
    let (mut reader, mut writer) = io::pipe().context(|| "cannot make a pipe")?;
    match clone3(0, None).context(doing)? {
        Cloned::Child => {
            drop(reader);
            let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
                .map_err(io::Error::from)
                .context(doing)
                .and_then(|()| init::become_root());
            let said = match entered.and_then(|()| make()) {
                Ok(Cloned::Child) => return Ok(Cloned::Child),
                Ok(Cloned::Parent { pid, .. }) => pid.to_string(),
                Err(error) => error.to_string(),
            };
            exit_now(i32::from(writer.write_all(said.as_bytes()).is_err()))
        }
        Cloned::Parent { pidfd, .. } => {
            drop(writer);
            let mut said = String::new();
            reader.read_to_string(&mut said).context(doing)?;
            reap(&pidfd)?;
            let pid =
                said.parse().ok().and_then(Pid::from_raw).ok_or_else(|| Error::internal(said.clone()))?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).context(doing)?;
            Ok(Cloned::Parent { pid: pid.as_raw_nonzero().get(), pidfd })
        }
    }
}

/// Waits for the end of a child whose status means nothing.
pub(crate) fn reap(pidfd: &OwnedFd) -> Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(_) | Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error)).context(|| "cannot wait for a process"),
        }
    }
}

/// The filter a container's processes get.
pub(crate) fn filter(spec: &Spec, seccomp: Seccomp) -> Result<Option<Filter>> {
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

/// The kernel's flags for the namespaces that are to be new.
fn new_namespaces(linux: &Linux) -> Result<u64> {
    let mut flags = 0;
    for namespace in linux.namespaces().iter().flatten().filter(|n| n.path().is_none()) {
        flags |= match namespace.typ() {
            // Made by the child itself: with offsets, or when it is in its cgroups.
            LinuxNamespaceType::Cgroup | LinuxNamespaceType::Time => 0,
            kind => kind as u64,
        };
    }
    if !linux.namespaces().iter().flatten().any(|n| n.typ() == LinuxNamespaceType::Mount) {
        return Err(Error::unsupported(
            "a container needs a mount namespace: with ours, its mounts would be ours",
        ));
    }
    Ok(flags)
}

/// The namespaces an exec enters: those the container does not share with us. The PID namespace is entered by
/// being cloned into it.
pub(crate) fn entered(linux: &Linux) -> ThreadNameSpaceType {
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

/// The namespace of this kind that is there already and is to be joined.
fn path_of(linux: &Linux, kind: LinuxNamespaceType) -> Option<PathBuf> {
    linux.namespaces().iter().flatten().find(|n| n.typ() == kind).and_then(|n| n.path().clone())
}

fn in_pid_namespace(path: Option<&Path>, clone: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    let Some(path) = path else { return clone() };
    let file = File::open(path).at(path)?;
    for_children(clone, || {
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(std::io::Error::from)?)
    })
}

fn in_pid_namespace_of(process: BorrowedFd<'_>, clone: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    for_children(clone, || {
        match move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID) {
            // It has ended, and nobody has been told yet.
            Err(rustix::io::Errno::SRCH) => Err(Error::conflict("the container is not running")),
            entered => {
                entered.map_err(std::io::Error::from).context(|| "cannot enter the container's processes")
            }
        }
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
