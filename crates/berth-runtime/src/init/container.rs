//! The container's first process: everything from its namespaces to its program.

use super::become_program::{self, Connected, become_program, connect, die_with_monitor, setup};
use super::{Channel, Message, Stdio, limits};
use crate::bundle::RootfsMount;
use crate::cgroup::Placement;
use crate::mount::{self, CgroupMounts, MountPlan};
use crate::protocol::Fault;
use crate::seccomp::Filter;
use berth_oci::{AtPath, Context, Error, Kind, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// What the child needs, decided before it exists.
#[derive(Debug)]
pub(crate) struct ContainerPlan<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) user: Option<&'a str>,
    pub(crate) rootfs: &'a RootfsMount,
    /// Where the root is mounted, in the new mount namespace.
    pub(crate) target: PathBuf,
    pub(crate) mounts: &'a [MountPlan],
    pub(crate) cgroups: &'a CgroupMounts,
    pub(crate) filter: Option<&'a Filter>,
    /// A network namespace of its own: loopback is to be brought up.
    pub(crate) new_network: bool,
}

/// Runs in the child; ends in the program or in a fault told to the monitor.
pub(crate) fn container(
    plan: &ContainerPlan<'_>,
    placement: Placement,
    stdio: Stdio,
    channel: &Channel,
) -> ! {
    let Err(error) = run(plan, placement, stdio, channel);
    tell(channel, &error)
}

/// Tells the monitor and ends.
pub(super) fn tell(channel: &Channel, error: &Error) -> ! {
    // A monitor that does not listen is gone, and there is nobody else to tell.
    let told = channel.send(&Message::Failed(Fault::from(error)), None);
    berth_sys::process::exit_now(if told.is_ok() { 1 } else { 2 })
}

fn run(
    plan: &ContainerPlan<'_>,
    placement: Placement,
    stdio: Stdio,
    channel: &Channel,
) -> Result<Infallible> {
    let process = plan.spec.process().as_ref().ok_or_else(|| Error::invalid("no process"))?;
    let mut warnings = Vec::new();
    let terminal = prepare(plan, process, placement, &stdio, &mut warnings).map_err(not_the_program)?;
    let program = become_program::look_up(process, plan.user, true)?;
    let Connected { master, descriptors } = connect(stdio, terminal)?;
    channel.send(&Message::Ready { warnings }, master.as_ref().map(AsFd::as_fd))?;
    drop(master);
    channel.wait_for_go()?;
    become_program(&program, process, plan.filter, &descriptors, channel)
}

/// "Not found" and "denied" mean the program to our callers; here it was something else.
fn not_the_program(error: Error) -> Error {
    match error.kind() {
        Kind::NotFound | Kind::Denied => {
            let hint = error.hint_text().map(ToOwned::to_owned);
            let message = error.to_string();
            let error = Error::internal(message);
            hint.into_iter().fold(error, Error::hint)
        }
        _ => error,
    }
}

fn prepare(
    plan: &ContainerPlan<'_>,
    process: &Process,
    placement: Placement,
    stdio: &Stdio,
    warnings: &mut Vec<String>,
) -> Result<Option<(OwnedFd, OwnedFd)>> {
    die_with_monitor()?;
    let linux = plan.spec.linux().clone().unwrap_or_default();
    enter_namespaces(&linux, placement)?;
    if plan.new_network {
        berth_sys::loopback::up().context(|| "cannot bring up the loopback device")?;
    }
    if rustix::process::setsid().is_err() {
        return Err(Error::internal("cannot start a session"));
    }
    names(plan.spec)?;
    if let Some(adjustment) = process.oom_score_adj() {
        limits::set_oom_score_adj(adjustment, warnings)?;
    }
    let terminal = file_system(plan, &linux, stdio)?;
    limits::set_limits(process.rlimits().as_deref().unwrap_or_default(), warnings)?;
    Ok(terminal)
}

/// Cgroups first: the namespace's root is the cgroup we are in when we make it.
fn enter_namespaces(linux: &Linux, placement: Placement) -> Result<()> {
    placement.join()?;
    for namespace in linux.namespaces().iter().flatten() {
        match (namespace.typ(), namespace.path()) {
            (LinuxNamespaceType::Cgroup, None) => berth_sys::namespace::unshare_cgroup().map_err(setup)?,
            // The monitor entered it for us: it counts for children only.
            (LinuxNamespaceType::Pid, _) | (_, None) => {}
            (kind, Some(path)) => enter_namespace(kind, path)?,
        }
    }
    Ok(())
}

fn enter_namespace(kind: LinuxNamespaceType, path: &PathBuf) -> Result<()> {
    let kind = match kind {
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Time => LinkNameSpaceType::Time,
        other => {
            return Err(Error::unsupported(format!("joining a namespace of type {other} is not supported")));
        }
    };
    let file = File::open(path).at(path)?;
    move_into_link_name_space(file.as_fd(), Some(kind))
        .map_err(std::io::Error::from)
        .context(|| format!("cannot join the namespace `{}`", path.display()))
}

fn names(spec: &Spec) -> Result<()> {
    if let Some(name) = spec.hostname() {
        rustix::system::sethostname(name.as_bytes())
            .map_err(std::io::Error::from)
            .context(|| "cannot set the host name")?;
    }
    if let Some(name) = spec.domainname() {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(std::io::Error::from)
            .context(|| "cannot set the domain name")?;
    }
    Ok(())
}

fn file_system(plan: &ContainerPlan<'_>, linux: &Linux, stdio: &Stdio) -> Result<Option<(OwnedFd, OwnedFd)>> {
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let root = mount::mount_rootfs(plan.rootfs, &plan.target)?;
    for planned in plan.mounts {
        mount::mount(root.as_fd(), planned, plan.cgroups)?;
    }
    mount::devices(root.as_fd(), linux.devices().as_deref().unwrap_or_default())?;
    let terminal = match stdio {
        Stdio::Terminal { .. } => Some(mount::console(root.as_fd())?),
        Stdio::Pipes(_) => None,
    };
    sysctl(linux.sysctl().as_ref())?;
    mount::hide(root.as_fd(), linux.masked_paths().as_deref().unwrap_or_default())?;
    mount::make_read_only(root.as_fd(), linux.readonly_paths().as_deref().unwrap_or_default())?;
    if plan.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
        mount::root_read_only(&root)?;
    }
    mount::enter(&root)?;
    Ok(terminal)
}

/// Through a procfs of our own that nobody has mounted anywhere: the container's might be something else.
fn sysctl(settings: Option<&HashMap<String, String>>) -> Result<()> {
    let Some(settings) = settings.filter(|s| !s.is_empty()) else { return Ok(()) };
    let proc = mount::make("proc", None, &[])?;
    for (key, value) in settings {
        let path = format!("/sys/{}", key.replace('.', "/"));
        let doing = || format!("cannot set the sysctl `{key}` to `{value}`");
        let file = mount::in_root::open(&proc, path.as_ref(), rustix::fs::OFlags::WRONLY).context(doing)?;
        File::from(file).write_all(value.as_bytes()).context(doing)?;
    }
    Ok(())
}
