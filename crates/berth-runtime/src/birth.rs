//! The moment a process of a container comes into being: one clone, into its namespaces and its cgroup.
//!
//! Here: what a monitor and a runtime without one have in common. Not here: what the new process does (`init`).
//! Invariant: whoever calls this has one thread.

use crate::bundle::Seccomp;
use crate::cgroup::Cgroup;
use crate::init::{self, Channel, ContainerPlan, ExecPlan, Gate, Inherited, Stdio, has_new};
use crate::mount::{Namespace, Sources};
use crate::protocol::Fault;
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
use std::path::PathBuf;

/// A new process, and the way to talk to it until its program runs.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: Channel,
    /// Who lets its program run, where that is not done by the channel alone.
    pub(crate) helper: Option<Helper>,
}

/// A child of ours that nobody needs any more when this goes.
#[derive(Debug)]
pub(crate) struct Helper(pub(crate) OwnedFd);

impl Drop for Helper {
    fn drop(&mut self) {
        use rustix::process::{Signal, pidfd_send_signal};
        if pidfd_send_signal(&self.0, Signal::KILL).is_ok() {
            // Nobody else waits for it.
            let _ = reap(&self.0);
        }
    }
}

/// Makes a container's first process. What it inherits is opened here, as late as possible.
pub(crate) fn container(plan: &ContainerPlan<'_>, cgroup: &Cgroup, stdio: Stdio, gate: Gate) -> Result<Born> {
    let linux = plan.spec.linux().clone().unwrap_or_default();
    let mappings = mappings(&linux)?;
    let namespace = mappings.as_ref().map(|mappings| Namespace { mappings, is_given: plan.is_given });
    let sources = Sources::open(plan.rootfs, plan.mounts, namespace, &plan.target)?;
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
            Ok(Born { pid, pidfd, channel: ours, helper: None })
        }
    }
}

/// Makes a further process of a running container.
pub(crate) fn exec(plan: &ExecPlan<'_>, cgroup: &Cgroup, stdio: Stdio) -> Result<Born> {
    let (ours, theirs) = Channel::pair()?;
    let placement = cgroup.placement()?;
    let into =
        placement.v2().map(|fd| fd.try_clone_to_owned()).transpose().context(|| "no more descriptors")?;
    let cloned = for_children(
        || enter_processes_of(plan.init),
        |clone| clone(0, into.as_ref().map(AsFd::as_fd)).context(|| "cannot enter the container"),
    )?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            init::exec(plan, placement, stdio, &theirs)
        }
        Cloned::Parent { pid, pidfd } => Ok(Born { pid, pidfd, channel: ours, helper: None }),
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
    let make = |clone: Clone| clone(flags, cgroup).context(|| "cannot make the container's namespaces");
    let open = |kind| -> Result<Option<OwnedFd>> {
        let Some(path) = path_of(linux, kind) else { return Ok(None) };
        Ok(Some(File::open(&path).at(&path)?.into()))
    };
    match (open(LinuxNamespaceType::User)?, open(LinuxNamespaceType::Pid)?) {
        (None, None) => make(clone3),
        (None, Some(pids)) => for_children(|| join(&pids, LinkNameSpaceType::ProcessID), make),
        (Some(users), pids) => by_helper(
            || {
                join(&users, LinkNameSpaceType::User)?;
                init::become_root()?;
                pids.map_or(Ok(()), |pids| join(&pids, LinkNameSpaceType::ProcessID))
            },
            || make(clone3_sibling),
        ),
    }
}

/// How a process is made.
type Clone = fn(u64, Option<BorrowedFd<'_>>) -> io::Result<Cloned>;

fn join(namespace: &OwnedFd, kind: LinkNameSpaceType) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(kind)).map_err(io::Error::from).context(|| match kind {
        LinkNameSpaceType::User => "cannot enter the user namespace",
        _ => "cannot enter the namespace of processes",
    })
}

/// Nobody returns from another user namespace, nor to a PID namespace that is not his own user's: a helper goes there, and
/// makes the process in its own place.
fn by_helper(enter: impl FnOnce() -> Result<()>, make: impl FnOnce() -> Result<Cloned>) -> Result<Cloned> {
    let doing = || "cannot enter the container";
    let (mut reader, mut writer) = io::pipe().context(|| "cannot make a pipe")?;
    match clone3(0, None).context(doing)? {
        Cloned::Child => {
            drop(reader);
            let said = match enter().and_then(|()| make()) {
                Ok(Cloned::Child) => return Ok(Cloned::Child),
                Ok(Cloned::Parent { pid, .. }) => serde_json::to_vec(&Ok::<i32, Fault>(pid)),
                Err(error) => serde_json::to_vec(&Err::<i32, Fault>(Fault::from(&error))),
            };
            let said = said.expect("plain data has a JSON form");
            exit_now(i32::from(writer.write_all(&said).is_err()))
        }
        Cloned::Parent { pidfd, .. } => {
            drop(writer);
            let mut said = Vec::new();
            reader.read_to_end(&mut said).context(doing)?;
            reap(&pidfd)?;
            let pid: std::result::Result<i32, Fault> =
                serde_json::from_slice(&said).map_err(|_| Error::internal(doing()))?;
            let pid = Pid::from_raw(pid?).ok_or_else(|| Error::internal(doing()))?;
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

/// Joining a PID namespace moves only children made afterwards: we join, clone, and go back, so that one process is enough
/// to get inside. Only the machine's root may go back.
fn for_children(
    join: impl FnOnce() -> Result<()>,
    make: impl FnOnce(Clone) -> Result<Cloned>,
) -> Result<Cloned> {
    if !berth_sys::users::is_initial()? {
        return by_helper(join, || make(clone3_sibling));
    }
    let path = "/proc/self/ns/pid";
    let ours = File::open(path).at(path)?;
    join()?;
    let cloned = make(clone3);
    if !matches!(cloned, Ok(Cloned::Child)) {
        move_into_link_name_space(ours.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(io::Error::from)
            .context(|| "cannot leave the container's processes")?;
    }
    cloned
}

fn enter_processes_of(process: BorrowedFd<'_>) -> Result<()> {
    match move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID) {
        // It has ended, and nobody has been told yet.
        Err(rustix::io::Errno::SRCH) => Err(Error::conflict("the container is not running")),
        entered => entered.map_err(io::Error::from).context(|| "cannot enter the container's processes"),
    }
}
