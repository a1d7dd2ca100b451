//! A further process in a running container.

use super::become_program::{self, Connected, Last, become_program, connect, die_with_parent, stand};
use super::container::{own_pid, tell};
use super::surroundings::become_root;
use super::{Channel, Message, Stdio, attributes, identity, limits};
use crate::cgroup::Placement;
use crate::ended::OfProcess;
use crate::hook::Subject;
use crate::seccomp::{Filter, Listener};
use berth_oci::{Context, Error, Result};
use oci_spec::runtime::{ContainerState, Process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{chroot, fchdir};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the child needs, decided before it exists.
#[derive(Debug)]
pub(crate) struct ExecPlan<'a> {
    pub(crate) process: &'a Process,
    pub(crate) subject: &'a Subject,
    pub(crate) init_pid: i32,
    pub(crate) user: Option<&'a str>,
    pub(crate) filter: Option<&'a Filter>,
    /// The container's first process, whose namespaces (of these kinds) are entered.
    pub(crate) init: BorrowedFd<'a>,
    pub(crate) namespaces: ThreadNameSpaceType,
    /// Whether it ends when its parent does.
    pub(crate) is_attended: bool,
    /// How many descriptors of ours after the standard three its program gets.
    pub(crate) preserved: u32,
}

/// Runs in the child, which the monitor has cloned into the container's PID namespace.
pub(crate) fn exec(plan: &ExecPlan<'_>, placement: Placement, stdio: Stdio, channel: &Channel) -> ! {
    let Err(error) = run(plan, placement, stdio, channel);
    tell(channel, &error)
}

fn run(plan: &ExecPlan<'_>, placement: Placement, stdio: Stdio, channel: &Channel) -> Result<Infallible> {
    if plan.is_attended {
        die_with_parent()?;
    }
    let mut warnings = Vec::new();
    let keep_groups = identity::keeps_groups(plan.subject.annotations.as_ref())?;
    if let Some(adjustment) = plan.process.oom_score_adj() {
        limits::set_oom_score_adj(adjustment, &mut warnings)?;
    }
    let affinity = plan.process.exec_cpu_affinity().as_ref();
    attributes::use_processors(affinity.and_then(|a| a.initial().as_deref()))?;
    placement.join()?;
    attributes::use_processors(affinity.and_then(|a| a.cpu_affinity_final().as_deref()))?;
    if rustix::process::setsid().is_err() {
        return Err(Error::internal("cannot start a session"));
    }
    // What leads to the host is opened while we are there.
    let listener = listener(plan)?;
    let labels = attributes::labels(plan.process, &mut warnings)?;
    attributes::for_scheduling(plan.process)?;
    let root = root_of(plan)?;
    move_into_thread_name_spaces(plan.init, plan.namespaces)
        .map_err(io::Error::from)
        .context(|| "cannot enter the container's namespaces")?;
    if plan.namespaces.contains(ThreadNameSpaceType::USER) {
        become_root()?;
    }
    enter_root(&root)?;
    limits::set_limits(plan.process.rlimits().as_deref().unwrap_or_default(), &mut warnings)?;
    let program = become_program::look_up(plan.process, plan.user, false)?;
    let Connected { master, descriptors } = connect(stdio, None)?;
    stand(descriptors, &program)?;
    channel.send(&Message::Ready { warnings }, master.as_ref().map(AsFd::as_fd))?;
    drop(master);
    let last = Last {
        filter: plan.filter,
        listener,
        preserved: plan.preserved,
        is_attended: plan.is_attended,
        labels,
        reaper: false,
        keep_groups,
    };
    become_program(&program, plan.process, last, channel)
}

/// The container's root, as its first process has it: that of its mount namespace may be another, which is the host's
/// where the container only looks away from it, or was made by somebody in a `chroot`.
fn root_of(plan: &ExecPlan<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", plan.init_pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &path, flags, Mode::empty()).of_process(&path)?;
    // The number was its own when it was opened only if it has not ended since.
    match waits_for_its_end(plan.init)? {
        true => Ok(root),
        false => Err(Error::conflict("cannot exec in a stopped container")),
    }
}

/// Whether the process has not ended yet.
fn waits_for_its_end(process: BorrowedFd<'_>) -> Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::from_borrowed_fd(process, PollFlags::IN)], Some(&now));
    ready
        .map(|count| count == 0)
        .map_err(io::Error::from)
        .context(|| "cannot look at the container's process")
}

fn enter_root(root: &OwnedFd) -> Result<()> {
    let entered = fchdir(root).and_then(|()| chroot("."));
    entered.map_err(io::Error::from).context(|| "cannot enter the container's root")
}

fn listener(plan: &ExecPlan<'_>) -> Result<Option<Listener>> {
    let Some(path) = plan.filter.and_then(Filter::listener_path) else { return Ok(None) };
    let state = plan.subject.state(ContainerState::Running, Some(plan.init_pid));
    Listener::connect(path, state, own_pid()?).map(Some)
}
