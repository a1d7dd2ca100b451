//! What a person wants of a container, as plain data: the command line and the REST API both build it.
//!
//! Here: [`ContainerSpec`] and the reading of docker's notations for its parts, one file per topic. Not here:
//! what the image says (see `process.rs`), what the kernel wants (see `runtime_spec`), files, the environment.
//! Invariant: every part is well formed; text is parsed on the way in and never again.

mod attachment;
mod blkio;
mod csv;
mod device;
mod env;
mod health;
mod label;
mod log;
mod mount;
mod name;
mod namespaces;
mod network;
mod resources;
mod restart;
mod security;
mod signal;
mod size;
mod syslog;
mod users;

pub use attachment::{Attachment, Link, NetworkFlag, NetworkFlags, parse_ipv4, parse_ipv6, parse_link_local};
pub use blkio::{BlockIo, Rate, parse_bps, parse_iops, parse_weight_device};
pub(crate) use csv::csv;
pub use device::{CdiName, Device, DeviceFlag, DeviceRule, GpuRequest};
pub(crate) use device::{is_cdi_device, is_cdi_kind};
pub use env::{EnvVar, parse_env_file};
pub use health::{HealthSpec, health_command};
pub use label::{parse_label, parse_label_file, parse_pair, parse_sysctl};
pub use log::{LogDriver, LogSpec};
pub(crate) use mount::clean;
pub use mount::{
    Below, Bind, Flag, IdMaps, IdRange, ImageMount, Layers, Mount, MountFlag, Owners, Propagation, Tmpfs,
    Volume, VolumeFlag, VolumesFrom, parse_mount, parse_tmpfs, parse_volume, volume_name,
};
pub use name::ContainerName;
pub use namespaces::{IpcMode, PidMode, parse_cgroupns, parse_uts};
pub use network::{
    Dns, ExposedPort, ExtraHost, NetworkMode, parse_dns_search, parse_dns_server, parse_expose,
    parse_hostname, port_number,
};
pub use resources::{Resources, Ulimit};
pub use restart::RestartPolicy;
pub use security::{CAPABILITIES, Capability, Seccomp, SecurityOption, effective_capabilities};
pub use signal::Signal;
pub use size::{NANO, parse_cpus, parse_decimal, parse_ram, parse_storage_option, parse_swap};
pub use users::{KeepId, UsersMode};

use berth_oci::{Error, Platform, Result};
use berth_runtime::net::PortMapping;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a person wants of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image as it was named: a reference, or an id.
    pub image: String,
    /// Which platform of the image, where it has several.
    pub platform: Option<Platform>,
    /// What replaces the image's entrypoint; an empty one takes it away.
    pub entrypoint: Option<Vec<String>>,
    /// What replaces the image's command.
    pub command: Vec<String>,
    /// Variables to set or to take away, the last of a name wins.
    pub env: Vec<EnvVar>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// More groups of the process, by name or number.
    pub groups: Vec<String>,
    /// Where the process starts.
    pub working_dir: Option<String>,
    /// The container's own name for itself; its short id where none is given.
    pub hostname: Option<String>,
    /// The NIS domain.
    pub domainname: Option<String>,
    /// Words of the owner.
    pub labels: BTreeMap<String, String>,
    /// Words for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Whether standard input stays open.
    pub open_stdin: bool,
    /// Which streams the creator attaches to; only told again by `inspect`.
    pub attach: Streams,
    /// Whether the container goes when its process ends.
    pub auto_remove: bool,
    /// The signal of `stop`.
    pub stop_signal: Option<Signal>,
    /// Seconds between that and SIGKILL; negative waits forever.
    pub stop_timeout: Option<i64>,
    /// What it sees of the host's files.
    pub mounts: Vec<Mount>,
    /// Where it has volumes that nobody names, unless something else is there.
    pub volumes: BTreeSet<PathBuf>,
    /// Containers whose mounts it sees, too.
    pub volumes_from: Vec<VolumesFrom>,
    /// Who looks after volumes that have to be made.
    pub volume_driver: Option<String>,
    /// Whether its root is read-only.
    pub read_only: bool,
    /// Bytes that its files may take of the disk, beside the image's; and as they were written.
    pub size: Option<(u64, String)>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Whose network it is on.
    pub network: NetworkMode,
    /// The networks it joins, the first one first.
    pub attachments: Vec<Attachment>,
    /// Ports of the host that lead to it.
    pub ports: Vec<PortMapping>,
    /// Ports it listens on.
    pub expose: BTreeSet<ExposedPort>,
    /// Whether each of those gets some port of the host.
    pub publish_all: bool,
    /// Lines for `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// How names are looked up.
    pub dns: Dns,
    /// Limits of the whole container.
    pub resources: Resources,
    /// How much sooner the kernel kills it when memory is out.
    pub oom_score_adj: i32,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Capabilities on top of docker's.
    pub cap_add: Vec<Capability>,
    /// Capabilities taken away.
    pub cap_drop: Vec<Capability>,
    /// Whether nothing is held back.
    pub privileged: bool,
    /// Whether setuid programs gain nothing.
    pub no_new_privileges: bool,
    /// Which system calls are filtered.
    pub seccomp: Seccomp,
    /// Whether `/proc` and `/sys` are unmasked.
    pub unmask: bool,
    /// Paths hidden beside docker's own.
    pub mask: Vec<String>,
    /// Paths of docker's own that are neither hidden nor read-only.
    pub unmasked: Vec<String>,
    /// Whether it may make control groups below its own.
    pub writable_cgroups: bool,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Devices that CDI specifications describe.
    pub cdi_devices: Vec<CdiName>,
    /// GPUs.
    pub gpus: Vec<GpuRequest>,
    /// Devices that may be used if they are there.
    pub device_rules: Vec<DeviceRule>,
    /// Who shares its memory.
    pub ipc: IpcMode,
    /// Whose processes it sees.
    pub pid: PidMode,
    /// Whether it has the host's name.
    pub host_uts: bool,
    /// Whether it sees the host's control groups.
    pub host_cgroups: bool,
    /// Whose users its users are.
    pub users: UsersMode,
    /// Below which control group it is put, instead of berth's own.
    pub cgroup_parent: Option<String>,
    /// Values under `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// Where output is kept.
    pub log: LogSpec,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How to ask whether it works.
    pub health: HealthSpec,
    /// Whether its first process only starts the program, passes signals on and reaps what is left over.
    pub init: bool,
    /// How long it may run.
    pub max_runtime: Option<Duration>,
    /// Who makes its processes, by name; berth where nobody says.
    pub runtime: Option<String>,
    /// Where the caller wanted the id written; only told again by `inspect`.
    pub id_file: Option<PathBuf>,
}

/// Some of a process's three streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl ContainerSpec {
    /// The same with its limits completed, if its parts fit together.
    ///
    /// # Errors
    /// Two parts contradict each other, or this machine cannot give what they ask.
    pub fn checked(mut self, processors: usize) -> Result<Self> {
        if let Some(relative) = self.working_dir.as_deref().filter(|dir| !dir.starts_with('/')) {
            return Err(Error::invalid(format!(
                "the working directory '{relative}' is invalid, it needs to be an absolute path"
            )));
        }
        if let Some(target) = self.repeated_target() {
            return Err(Error::invalid(format!("Duplicate mount point: {}", target.display())));
        }
        if !(-1000..=1000).contains(&self.oom_score_adj) {
            return Err(Error::invalid(format!(
                "Invalid value {}, range for oom score adj is [-1000, 1000]",
                self.oom_score_adj
            )));
        }
        if self.host_uts && self.hostname.is_some() {
            return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
        }
        if self.auto_remove && self.restart != RestartPolicy::No {
            return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
        }
        match self.network {
            NetworkMode::Host => self.check_host_network()?,
            NetworkMode::Container(_) => self.check_shared_network()?,
            NetworkMode::Bridge | NetworkMode::None | NetworkMode::User(_) => {}
        }
        self.check_users()?;
        self.check_shared_memory()?;
        self.resources = self.resources.checked(processors)?;
        Ok(self)
    }

    /// The networks that a start joins. One that was taken off all of them gets back to the one it was made for.
    #[must_use]
    pub fn attachments_at_start(&self) -> Vec<Attachment> {
        match &self.network {
            NetworkMode::Bridge | NetworkMode::User(_) if self.attachments.is_empty() => {
                vec![Attachment::to(self.network.to_string())]
            }
            _ => self.attachments.clone(),
        }
    }

    /// Bytes of `/dev/shm`.
    #[must_use]
    pub fn shm_bytes(&self) -> u64 {
        const USUAL: u64 = 64 << 20;
        self.shm_size.filter(|size| *size > 0).unwrap_or(USUAL)
    }

    /// What belongs to the host cannot be had with users who are nobody there.
    fn check_users(&self) -> Result<()> {
        let shared = [
            (
                self.privileged,
                "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
            ),
            (
                self.network == NetworkMode::Host,
                "cannot share the host's network namespace when user namespaces are enabled",
            ),
            (
                self.pid == PidMode::Host,
                "cannot share the host PID namespace when user namespaces are enabled",
            ),
            (
                self.ipc == IpcMode::Host,
                "cannot share the host's IPC namespace when user namespaces are enabled",
            ),
            (
                matches!(self.network, NetworkMode::Container(_))
                    || matches!(self.pid, PidMode::Container(_))
                    || matches!(self.ipc, IpcMode::Container(_)),
                "cannot share another container's namespaces when user namespaces are enabled",
            ),
        ];
        match shared.into_iter().find(|(given, _)| *given && self.users.is_foreign()) {
            Some((_, why)) => Err(Error::invalid(why).hint("--userns host")),
            None => Ok(()),
        }
    }

    fn check_host_network(&self) -> Result<()> {
        match self.sysctls.keys().find(|name| name.starts_with("net.")) {
            Some(name) => Err(Error::invalid(format!(
                "sysctl '{name}' not allowed in the host network namespace, change it on the host instead"
            ))),
            None => Ok(()),
        }
    }

    /// What belongs to an IPC namespace is whoever's whose it is: the host's must not change with a container.
    fn check_shared_memory(&self) -> Result<()> {
        if !matches!(self.ipc, IpcMode::Host | IpcMode::Container(_)) {
            return Ok(());
        }
        match self.sysctls.keys().find(|name| name.starts_with("kernel.") || name.starts_with("fs.mqueue.")) {
            Some(name) => {
                Err(Error::invalid(format!("sysctl \"{name}\" is not allowed in the hosts ipc namespace"))
                    .hint("change it where that namespace comes from, or give the container one of its own"))
            }
            None => Ok(()),
        }
    }

    /// What belongs to a network is the other container's affair.
    fn check_shared_network(&self) -> Result<()> {
        let own = [
            (self.hostname.is_some(), "hostname and the network mode"),
            (self.dns != Dns::default(), "dns and the network mode"),
            (!self.extra_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
            (
                !self.ports.is_empty() || self.publish_all,
                "port publishing and the container type network mode",
            ),
            (!self.expose.is_empty(), "port exposing and the container type network mode"),
        ];
        match own.into_iter().find(|(given, _)| *given) {
            Some((_, what)) => Err(Error::invalid(format!("conflicting options: {what}"))),
            None => self.check_host_network(),
        }
    }

    /// Docker lets a tmpfs and a bind replace each other silently; one of the two would be missed.
    fn repeated_target(&self) -> Option<&Path> {
        let targets: Vec<&Path> = self.mounts.iter().map(Mount::target).collect();
        targets
            .iter()
            .enumerate()
            .find(|(at, target)| targets[..*at].contains(*target))
            .map(|(_, target)| *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_must_fit_together() {
        let bind = |target: &str| match parse_volume(&format!("/a:{target}"), Path::new("/")).unwrap() {
            VolumeFlag::Mount(mount) => mount,
            VolumeFlag::Anonymous(_) => unreachable!("it has a source"),
        };
        let base = ContainerSpec::default;
        for (spec, expected) in [
            (base(), "fine"),
            (
                ContainerSpec { working_dir: Some("x".into()), ..base() },
                "the working directory 'x' is invalid, it needs to be an absolute path",
            ),
            (ContainerSpec { mounts: vec![bind("/x"), bind("/x/")], ..base() }, "Duplicate mount point: /x"),
            (
                ContainerSpec { host_uts: true, hostname: Some("x".into()), ..base() },
                "conflicting options: hostname and the UTS mode",
            ),
            (
                ContainerSpec { oom_score_adj: 1001, ..base() },
                "Invalid value 1001, range for oom score adj is [-1000, 1000]",
            ),
            (
                ContainerSpec {
                    network: NetworkMode::Host,
                    sysctls: [("net.x".to_owned(), "1".to_owned())].into(),
                    ..base()
                },
                "sysctl 'net.x' not allowed in the host network namespace, change it on the host instead",
            ),
            (
                ContainerSpec {
                    ipc: IpcMode::Host,
                    sysctls: [("kernel.shmmax".to_owned(), "1".to_owned())].into(),
                    ..base()
                },
                "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace",
            ),
        ] {
            assert_eq!(spec.checked(2).map_or_else(|e| e.to_string(), |_| "fine".to_owned()), expected);
        }
    }

    #[test]
    fn a_spec_survives_its_record() {
        let spec = ContainerSpec {
            image: "nginx".to_owned(),
            env: vec!["A=1".parse().unwrap(), "B".parse().unwrap()],
            cap_add: vec!["ALL".parse().unwrap(), "bpf".parse().unwrap()],
            stop_signal: Some("QUIT".parse().unwrap()),
            mounts: ["type=tmpfs,dst=/t,ro", "type=bind,src=/a,dst=/b", "src=data,dst=/c"]
                .map(|text| parse_mount(text).unwrap().resolve(Path::new("/")).unwrap())
                .into(),
            volumes: ["/v".into()].into(),
            cdi_devices: vec!["vendor.com/class=x".parse().unwrap()],
            gpus: vec!["all".parse().unwrap()],
            device_rules: vec!["c 1:* rw".parse().unwrap()],
            ipc: "container:web".parse().unwrap(),
            pid: "host".parse().unwrap(),
            volumes_from: vec!["web:ro".parse().unwrap()],
            expose: parse_expose("80-81/udp").unwrap().into_iter().collect(),
            ports: PortMapping::parse("127.0.0.1:8080:80").unwrap(),
            seccomp: Seccomp::Profile("{}".to_owned()),
            ..ContainerSpec::default()
        };
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ContainerSpec>(&json).unwrap(), spec);
    }
}
