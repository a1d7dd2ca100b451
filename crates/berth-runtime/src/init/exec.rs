//! A further process in a running container.

use super::become_program::{self, Connected, become_program, connect, die_with_monitor};
use super::container::tell;
use super::{Channel, Message, Stdio, limits};
use crate::cgroup::Placement;
use crate::seccomp::Filter;
use berth_oci::{Context, Error, Result};
use oci_spec::runtime::Process;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What the child needs, decided before it exists.
#[derive(Debug)]
pub(crate) struct ExecPlan<'a> {
    pub(crate) process: &'a Process,
    pub(crate) user: Option<&'a str>,
    pub(crate) filter: Option<&'a Filter>,
    /// The container's first process, whose namespaces (of these kinds) are entered.
    pub(crate) init: BorrowedFd<'a>,
    pub(crate) namespaces: ThreadNameSpaceType,
}

/// Runs in the child, which the monitor has cloned into the container's PID namespace.
pub(crate) fn exec(plan: &ExecPlan<'_>, placement: Placement, stdio: Stdio, channel: &Channel) -> ! {
    let Err(error) = run(plan, placement, stdio, channel);
    tell(channel, &error)
}

fn run(plan: &ExecPlan<'_>, placement: Placement, stdio: Stdio, channel: &Channel) -> Result<Infallible> {
    die_with_monitor()?;
    let mut warnings = Vec::new();
    if let Some(adjustment) = plan.process.oom_score_adj() {
        limits::set_oom_score_adj(adjustment, &mut warnings)?;
    }
    placement.join()?;
    if rustix::process::setsid().is_err() {
        return Err(Error::internal("cannot start a session"));
    }
    move_into_thread_name_spaces(plan.init, plan.namespaces)
        .map_err(io::Error::from)
        .context(|| "cannot enter the container's namespaces")?;
    limits::set_limits(plan.process.rlimits().as_deref().unwrap_or_default(), &mut warnings)?;
    let program = become_program::look_up(plan.process, plan.user, false)?;
    let Connected { master, descriptors } = connect(stdio, None)?;
    channel.send(&Message::Ready { warnings }, master.as_ref().map(AsFd::as_fd))?;
    drop(master);
    become_program(&program, plan.process, plan.filter, &descriptors, channel)
}
