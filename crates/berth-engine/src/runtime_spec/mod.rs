//! What the kernel is told: `(Process, ContainerSpec, Surroundings)` becomes an OCI runtime specification.
//!
//! Invariant: pure; every path, number and name it needs is an argument. Not here: the root file system, the
//! user's number and docker's seccomp profile, which the runtime finds where the container's own files are.

mod mounts;
mod resources;
mod seccomp;
mod users;

pub(crate) use resources::limits;
pub use seccomp::seccomp_profile;
pub use users::Ids;

use crate::container::UserRange;
use crate::process::Process;
use crate::spec::{ContainerSpec, IpcMode, Mount, PidMode, Seccomp, Ulimit, effective_capabilities};
use berth_oci::{Error, Result};
use oci_spec::runtime as oci;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// What this machine and the engine add to a container's words.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The container's name for itself.
    pub hostname: String,
    /// The files that become `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`.
    pub etc: Vec<EtcFile>,
    /// Variables that tell of the containers it is linked to.
    pub linked: Vec<String>,
    /// What is mounted beside docker's own.
    pub mounts: Vec<Mount>,
    /// Where the volumes among them are, by name.
    pub volumes: BTreeMap<String, PathBuf>,
    /// Another container's network namespace, where it has none of its own.
    pub network_namespace: Option<PathBuf>,
    /// What it has in common with others.
    pub shared: Shared,
    /// Numbers of the groups of its processes, beside their own.
    pub groups: Vec<u32>,
    /// Numbers of the disks whose use is limited.
    pub disks: BTreeMap<PathBuf, (i64, i64)>,
    /// The devices that were asked for, as the host has them now.
    pub devices: Vec<DeviceNode>,
    /// Paths of `/sys` that exist only on some machines and tell too much.
    pub masked: Vec<String>,
    /// The host's users that the container's are, where they are not the same.
    pub users: Option<UserRange>,
    /// The last of the groups that this machine, or this user, can give it.
    pub last_group: u32,
    /// Who its program is, where a mount asks for it.
    pub program: Ids,
    /// Who owns the sources of mounts that are to be shown as the program's, by target.
    pub owners: BTreeMap<PathBuf, Ids>,
    /// Rows and columns of the caller's terminal.
    pub terminal_size: Option<(u16, u16)>,
}

/// What a container has in common with others.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Namespaces that are somebody else's, and where they are.
    pub namespaces: Vec<(oci::LinuxNamespaceType, PathBuf)>,
    /// What is seen at `/dev/shm` instead of memory of its own.
    pub memory: Option<PathBuf>,
}

/// One file of `/etc` that the engine writes.
#[derive(Clone, Debug)]
pub struct EtcFile {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
}

/// A device as the host has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// In the container.
    pub target: PathBuf,
    /// Whether it is a block device.
    pub block: bool,
    /// Its major number.
    pub major: i64,
    /// Its minor number.
    pub minor: i64,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What the container may do with it: some of `rwm`.
    pub access: String,
}

/// The runtime specification of a container.
///
/// # Errors
/// A seccomp profile is none.
pub fn runtime_spec(process: &Process, spec: &ContainerSpec, around: &Surroundings) -> Result<oci::Spec> {
    let root = oci::RootBuilder::default().path("rootfs").readonly(spec.read_only).build();
    let mut builder = oci::SpecBuilder::default()
        .version("1.2.1")
        .root(root.map_err(bug)?)
        .mounts(mounts::mounts(spec, around)?)
        .process(oci_process(process, spec, around)?)
        .linux(linux(spec, around)?);
    if !spec.host_uts {
        builder = builder.hostname(around.hostname.clone());
    }
    if let Some(domain) = &spec.domainname {
        builder = builder.domainname(domain.clone());
    }
    if !spec.annotations.is_empty() {
        builder = builder.annotations(spec.annotations.clone().into_iter().collect::<HashMap<_, _>>());
    }
    let mut built = builder.build().map_err(bug)?;
    if spec.host_uts {
        // The library has a name of its own, which would become the host's.
        built.set_hostname(None);
    }
    Ok(built)
}

/// A builder complains only about a field that we forgot.
pub(crate) fn bug(error: oci_spec::OciSpecError) -> Error {
    Error::internal(format!("the runtime specification is incomplete: {error}"))
}

fn oci_process(process: &Process, spec: &ContainerSpec, around: &Surroundings) -> Result<oci::Process> {
    let cwd = if process.working_dir.is_empty() { "/" } else { &process.working_dir };
    let user = oci::UserBuilder::default().uid(0u32).gid(0u32).additional_gids(around.groups.clone());
    let mut builder = oci::ProcessBuilder::default()
        .terminal(spec.tty)
        .user(user.build().map_err(bug)?)
        .args(process.args())
        .env(process.environment(&around.hostname, spec.tty, &around.linked))
        .cwd(cwd)
        .capabilities(capabilities(spec)?)
        .rlimits(spec.ulimits.iter().map(rlimit).collect::<Result<Vec<_>>>()?)
        .no_new_privileges(spec.no_new_privileges)
        .oom_score_adj(spec.oom_score_adj);
    if let Some((rows, columns)) = around.terminal_size.filter(|_| spec.tty) {
        let size = oci::BoxBuilder::default().height(u64::from(rows)).width(u64::from(columns));
        builder = builder.console_size(size.build().map_err(bug)?);
    }
    builder.build().map_err(bug)
}

/// Docker gives none inheritable and none ambient: a process that is not root has none at all.
pub(crate) fn capabilities(spec: &ContainerSpec) -> Result<oci::LinuxCapabilities> {
    let set = capability_set(&effective_capabilities(spec.privileged, &spec.cap_add, &spec.cap_drop))?;
    oci::LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(oci::Capabilities::new())
        .ambient(oci::Capabilities::new())
        .build()
        .map_err(bug)
}

fn capability_set(names: &[&str]) -> Result<oci::Capabilities> {
    let known = |name: &&str| {
        name.parse().map_err(|_| Error::internal(format!("the specification has no capability {name}")))
    };
    names.iter().map(known).collect()
}

/// All capabilities, as `exec --privileged` has them.
///
/// # Errors
/// None in practice: the specification knows them all.
pub fn all_capabilities() -> Result<oci::LinuxCapabilities> {
    capabilities(&ContainerSpec { privileged: true, ..ContainerSpec::default() })
}

fn rlimit(ulimit: &Ulimit) -> Result<oci::PosixRlimit> {
    let typ = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
    let unlimited = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    oci::PosixRlimitBuilder::default()
        .typ(
            typ.parse::<oci::PosixRlimitType>()
                .map_err(|_| Error::internal(format!("unknown limit {typ}")))?,
        )
        .soft(unlimited(ulimit.soft))
        .hard(unlimited(ulimit.hard))
        .build()
        .map_err(bug)
}

/// What docker hides: they tell about the host, or change it.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What docker lets be read only.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn linux(spec: &ContainerSpec, around: &Surroundings) -> Result<oci::Linux> {
    let mut builder = oci::LinuxBuilder::default()
        .namespaces(namespaces(spec, around)?)
        .resources(resources::resources(spec, around)?)
        .devices(resources::nodes(around)?)
        .sysctl(sysctls(spec, around));
    if let Some(range) = around.users {
        let [uids, gids] = users::mappings(range)?;
        builder = builder.uid_mappings(uids).gid_mappings(gids);
    }
    if !spec.privileged && !spec.unmask {
        let kept = |path: &String| !spec.unmasked.contains(path);
        let own = MASKED_PATHS.iter().map(|path| (*path).to_owned()).chain(around.masked.clone());
        let read_only = READONLY_PATHS.map(str::to_owned).into_iter().filter(kept);
        builder = builder
            .masked_paths(own.filter(kept).chain(spec.mask.clone()).collect::<Vec<_>>())
            .readonly_paths(read_only.collect::<Vec<_>>());
    } else {
        // The library's own defaults would hide some.
        builder = builder.masked_paths(spec.mask.clone()).readonly_paths(Vec::new());
    }
    if let (false, Seccomp::Profile(json)) = (spec.privileged, &spec.seccomp) {
        let capabilities = effective_capabilities(false, &spec.cap_add, &spec.cap_drop);
        builder = builder.seccomp(seccomp_profile(json, &capabilities)?);
    }
    builder.build().map_err(bug)
}

fn namespaces(spec: &ContainerSpec, around: &Surroundings) -> Result<Vec<oci::LinuxNamespace>> {
    use oci::LinuxNamespaceType as Type;
    let own = [
        (Type::Mount, true),
        (Type::Uts, !spec.host_uts),
        (Type::Pid, spec.pid == PidMode::Private),
        (Type::Ipc, !matches!(spec.ipc, IpcMode::Host | IpcMode::Container(_))),
        (Type::Cgroup, !spec.host_cgroups),
        (Type::Network, spec.network.is_own()),
        (Type::User, around.users.is_some()),
    ];
    let own = own.into_iter().filter(|(_, is_own)| *is_own).map(|(typ, _)| (typ, None));
    let shared = around.shared.namespaces.iter().map(|(typ, path)| (*typ, Some(path)));
    let network = around.network_namespace.iter().map(|path| (Type::Network, Some(path)));
    let built = |(typ, path): (Type, Option<&PathBuf>)| {
        let mut builder = oci::LinuxNamespaceBuilder::default().typ(typ);
        if let Some(path) = path {
            builder = builder.path(path.clone());
        }
        builder.build().map_err(bug)
    };
    own.chain(shared).chain(network).map(built).collect()
}

/// In a network of its own a container may listen on any port and use ping without being root.
fn sysctls(spec: &ContainerSpec, around: &Surroundings) -> HashMap<String, String> {
    let last = around.users.map_or(around.last_group, UserRange::last_group);
    let groups = format!("0 {}", last.min(i32::MAX.cast_unsigned()));
    let own = match spec.network.is_own() {
        false => &[][..],
        true => {
            &[("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", groups.as_str())]
        }
    };
    let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    own.chain(spec.sysctls.clone()).collect()
}

#[cfg(test)]
mod tests;
