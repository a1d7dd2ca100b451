//! The container's first process: everything from its namespaces to its program.

use super::attributes::Label;
use super::become_program::{Connected, Last, become_program, connect, die_with_parent, look_up, stand};
use super::surroundings::{self, has_new};
use super::{Channel, Gate, Message, Stdio, attributes, identity, limits};
use crate::bundle::RootfsMount;
use crate::cgroup::Placement;
use crate::hook::{self, Subject};
use crate::mount::{self, CgroupMounts, Entry, MountPlan, Sources};
use crate::protocol::Fault;
use crate::seccomp::{Filter, Listener};
use berth_oci::{AtPath, Context, Error, Kind, Result};
use oci_spec::runtime::{ContainerState, Hooks, Linux, LinuxNamespaceType, Process, Spec};
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
    pub(crate) subject: &'a Subject,
    pub(crate) user: Option<&'a str>,
    pub(crate) rootfs: &'a RootfsMount,
    /// See [`crate::Bundle::is_given`].
    pub(crate) is_given: bool,
    /// Where the root is mounted, in the new mount namespace.
    pub(crate) target: PathBuf,
    pub(crate) mounts: &'a [MountPlan],
    pub(crate) cgroups: &'a CgroupMounts,
    pub(crate) filter: Option<&'a Filter>,
    /// The name of a session keyring of its own; `None` leaves it ours.
    pub(crate) keyring: Option<&'a str>,
    /// Whether it ends when its parent does.
    pub(crate) is_attended: bool,
    /// Whether its root is moved over the old one.
    pub(crate) no_pivot: bool,
    /// How many descriptors of ours after the standard three its program gets.
    pub(crate) preserved: u32,
    /// Whether its first process only looks after the program.
    pub(crate) reaper: bool,
}

/// What the child takes over from its parent.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) placement: Placement,
    pub(crate) stdio: Stdio,
    pub(crate) gate: Gate,
    /// What only the parent may open.
    pub(crate) sources: Sources,
}

/// Whether there are hooks that run before the root is entered: then parent and child wait for each other.
fn has_early_hooks(hooks: Option<&Hooks>) -> bool {
    let early = |h: &Hooks| {
        [h.prestart(), h.create_runtime(), h.create_container()]
            .into_iter()
            .any(|hooks| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()))
    };
    hooks.is_some_and(early)
}

/// Runs in the child; ends in the program or in a fault told to whoever listens.
pub(crate) fn container(plan: &ContainerPlan<'_>, inherited: Inherited, mut channel: Channel) -> ! {
    let Err(error) = run(plan, inherited, &mut channel);
    tell(&channel, &error)
}

/// Tells the other end and ends.
pub(super) fn tell(channel: &Channel, error: &Error) -> ! {
    // If it does not listen it is gone, and there is nobody else to tell.
    let told = channel.send(&Message::Failed(Fault::from(error)), None);
    berth_sys::process::exit_now(if told.is_ok() { 1 } else { 2 })
}

fn run(plan: &ContainerPlan<'_>, inherited: Inherited, channel: &mut Channel) -> Result<Infallible> {
    let Inherited { placement, stdio, gate, sources } = inherited;
    let process = plan.spec.process().as_ref().ok_or_else(|| Error::invalid("no process"))?;
    let mut warnings = Vec::new();
    let keep_groups = identity::keeps_groups(plan.subject.annotations.as_ref())?;
    let prepared = prepare(plan, process, placement, &stdio, sources, channel, &mut warnings)
        .map_err(not_the_program)?;
    let program = look_up(process, plan.user, true)?;
    let Connected { master, descriptors } = connect(stdio, prepared.terminal)?;
    stand(descriptors, &program)?;
    channel.send(&Message::Ready { warnings }, master.as_ref().map(AsFd::as_fd))?;
    drop(master);
    gate.pass(channel)?;
    let start = plan.spec.hooks().as_ref().and_then(|h| h.start_container().as_deref()).unwrap_or_default();
    hook::run("startContainer", start, &plan.subject.state(ContainerState::Created, Some(1)))?;
    let last = Last {
        filter: plan.filter,
        listener: prepared.listener,
        preserved: plan.preserved,
        reaper: plan.reaper,
        is_attended: plan.is_attended,
        labels: prepared.labels,
        keep_groups,
    };
    become_program(&program, process, last, channel)
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

/// What is left of the preparations when the root has been entered.
struct Prepared {
    /// The terminal's two ends.
    terminal: Option<(OwnedFd, OwnedFd)>,
    /// Who is told of the calls that the filter stops.
    listener: Option<Listener>,
    labels: Vec<Label>,
}

fn prepare(
    plan: &ContainerPlan<'_>,
    process: &Process,
    placement: Placement,
    stdio: &Stdio,
    sources: Sources,
    channel: &Channel,
    warnings: &mut Vec<String>,
) -> Result<Prepared> {
    if plan.is_attended {
        die_with_parent()?;
    }
    let linux = plan.spec.linux().clone().unwrap_or_default();
    if has_new(&linux, LinuxNamespaceType::User) {
        // Its mappings are written. Until then its users' directories are closed to us, and when we are one of them,
        // those of the host's root.
        channel.wait_for_go()?;
    }
    // A mount namespace of its own is there already; one that it joins comes with the others.
    let place = || mount::Target::open(&plan.target);
    let own = has_new(&linux, LinuxNamespaceType::Mount).then(place).transpose()?;
    surroundings::enter(&linux, placement)?;
    let target = own.map_or_else(place, Ok)?;
    if rustix::process::setsid().is_err() {
        return Err(Error::internal("cannot start a session"));
    }
    surroundings::names(plan.spec)?;
    let listener = listener(plan)?;
    let labels = attributes::labels(process, warnings)?;
    attributes::for_scheduling(process)?;
    attributes::for_memory(&linux)?;
    attributes::new_keyring(plan.keyring, warnings);
    if let Some(adjustment) = process.oom_score_adj() {
        limits::set_oom_score_adj(adjustment, warnings)?;
    }
    let terminal = file_system(plan, &linux, stdio, &target, sources, channel)?;
    limits::set_limits(process.rlimits().as_deref().unwrap_or_default(), warnings)?;
    Ok(Prepared { terminal, listener, labels })
}

fn file_system(
    plan: &ContainerPlan<'_>,
    linux: &Linux,
    stdio: &Stdio,
    target: &mount::Target<'_>,
    mut sources: Sources,
    channel: &Channel,
) -> Result<Option<(OwnedFd, OwnedFd)>> {
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let propagation = linux.rootfs_propagation().as_deref();
    let root = mount::mount_rootfs(plan.rootfs, sources.root.take(), target, propagation)?;
    for (planned, source) in plan.mounts.iter().zip(sources.mounts.drain(..)) {
        mount::mount(root.as_fd(), planned, source, plan.cgroups)?;
    }
    let has_own_dev = mount::has_own_dev(plan.mounts);
    if has_own_dev {
        let extra = linux.devices().as_deref().unwrap_or_default();
        mount::devices(root.as_fd(), extra)?;
    }
    let terminal = match stdio {
        Stdio::Terminal { .. } => Some(mount::console(root.as_fd())?),
        Stdio::Pipes(_) => None,
    };
    early_hooks(plan, channel)?;
    sysctl(linux.sysctl().as_ref())?;
    mount::hide(root.as_fd(), linux.masked_paths().as_deref().unwrap_or_default())?;
    mount::make_read_only(root.as_fd(), linux.readonly_paths().as_deref().unwrap_or_default())?;
    mount::make_read_only_now(root.as_fd(), plan.mounts)?;
    if plan.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
        if let Some(process) = plan.spec.process() {
            // It is made now or never. Where that fails, entering it tells why.
            let _ = mount::in_root::make_directories(&root, process.cwd());
        }
        mount::root_read_only(&root)?;
    }
    mount::enter(
        &root,
        match has_new(linux, LinuxNamespaceType::Mount) {
            true if plan.no_pivot => Entry::Move,
            true => Entry::Pivot,
            false => Entry::LookAway,
        },
    )?;
    mount::propagate(propagation)?;
    Ok(terminal)
}

/// The parent runs those of the runtime's namespaces and says when; then come those of the container's.
fn early_hooks(plan: &ContainerPlan<'_>, channel: &Channel) -> Result<()> {
    let hooks = plan.spec.hooks().as_ref();
    if !has_early_hooks(hooks) {
        return Ok(());
    }
    channel.send(&Message::Surrounded, None)?;
    channel.wait_for_go()?;
    let create = hooks.and_then(|h| h.create_container().as_deref()).unwrap_or_default();
    hook::run("createContainer", create, &plan.subject.state(ContainerState::Creating, Some(1)))
}

fn sysctl(settings: Option<&HashMap<String, String>>) -> Result<()> {
    let Some(settings) = settings.filter(|s| !s.is_empty()) else { return Ok(()) };
    let proc = mount::settings()?;
    for (key, value) in settings {
        let path = format!("/sys/{}", key.replace('.', "/"));
        let doing = || format!("cannot set the sysctl `{key}` to `{value}`");
        let file = mount::in_root::open(&proc, path.as_ref(), rustix::fs::OFlags::WRONLY).context(doing)?;
        File::from(file).write_all(value.as_bytes()).context(doing)?;
    }
    Ok(())
}

/// Whoever hears of stopped calls is introduced to us by the numbers of the host's `/proc`, which is still ours.
fn listener(plan: &ContainerPlan<'_>) -> Result<Option<Listener>> {
    let Some(path) = plan.filter.and_then(Filter::listener_path) else { return Ok(None) };
    let pid = own_pid()?;
    Listener::connect(path, plan.subject.state(ContainerState::Creating, Some(pid)), pid).map(Some)
}

/// Our number for whoever mounted `/proc`.
pub(super) fn own_pid() -> Result<i32> {
    let link = std::fs::read_link("/proc/self").at("/proc/self")?;
    let number = link.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::internal("`/proc/self` is not a number"))
}
