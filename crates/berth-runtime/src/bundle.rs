//! What a caller hands over to have a container: one value with everything in it, and the same for an exec.
//!
//! Not here: any default that is Docker's business. Invariant: a [`Bundle`] is complete: the monitor that gets it
//! reads no other configuration.

use crate::dns::Upstream;
use crate::life::Life;
use crate::net::NetworkPlan;
use jiff::Timestamp;
use oci_spec::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A container to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// The container's id; names its cgroup.
    pub id: String,
    /// Where its state lives across reboots; must exist.
    pub dir: PathBuf,
    /// Where its socket and lock live while it runs; made if missing.
    pub run_dir: PathBuf,
    /// The program that answers the hidden roles (see [`crate::role`]): `/proc/self/exe` for berth itself.
    pub exe: PathBuf,
    /// Another OCI runtime that makes the container's processes, in the place of ours.
    #[serde(default)]
    pub runtime: Option<PathBuf>,
    /// What to run and in what surroundings. `root.path` is not looked at: see `rootfs`.
    pub spec: Spec,
    /// The root file system.
    pub rootfs: RootfsMount,
    /// For mounts that show only a part of their source: which part, by target. It is found inside the source, so no
    /// link in there leads out.
    #[serde(default)]
    pub parts: BTreeMap<PathBuf, PathBuf>,
    /// For overlays of the spec that are to be read: their layers, uppermost first and two at least, by target.
    #[serde(default)]
    pub layers: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// The size in bytes of memory that other containers may share, made where [`crate::memory::place`] says.
    #[serde(default)]
    pub memory: Option<u64>,
    /// For a container with a user namespace: whether its root's files have, where they lie, the numbers that its users
    /// have outside, so that nothing has to be shown with other owners.
    #[serde(default)]
    pub is_given: bool,
    /// `user[:group]`, names or numbers, looked up in the container's own `/etc/passwd` and `/etc/group`; sets uid,
    /// gid, supplementary groups and, when the environment has none, HOME. `None`: `process.user` of the spec.
    pub user: Option<String>,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// The parent of the container's cgroup, from the root of every hierarchy: `/berth-1a2b3c`.
    pub cgroup_parent: String,
    /// Who may write to its standard input.
    pub stdin: Stdin,
    /// Where its output is kept.
    pub log: Log,
    /// The places on networks to connect it to, the first to be its `eth0`; none leaves its namespace with loopback
    /// alone, or is the host's or another container's.
    pub networks: Vec<NetworkPlan>,
    /// How names are answered in it, once it is on a network whose containers have names.
    pub names: Option<NamesPlan>,
    /// The file that is bound to `/etc/hosts`: when the network has given the container an address, a line with it
    /// and the host name is added before the program runs.
    pub hosts: Option<PathBuf>,
    /// Other containers that this file names, by the addresses that they have at each moment.
    #[serde(default)]
    pub linked: Vec<LinkedHost>,
    /// A command (program, then arguments) that removes the container after its exit, unless the connection that
    /// created it says it has done so itself: `--rm` survives the death of its caller.
    pub on_exit: Option<Vec<String>>,
    /// What its monitor does for it beyond running it once.
    #[serde(default)]
    pub life: Life,
    /// Whether it dies with the connection that created it: a build's step is nobody's once its build is gone.
    #[serde(default)]
    pub tied: bool,
}

/// Another container that `/etc/hosts` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedHost {
    /// Its id.
    pub container: String,
    /// The network whose address of it is meant.
    pub network: String,
    /// What it is called, with spaces between.
    pub names: String,
}

/// How a container's names are looked up by its monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesPlan {
    /// Who is asked about the rest of the world.
    pub upstreams: Vec<Upstream>,
    /// The file that is bound to `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// What is written into it when the monitor begins to answer.
    pub text: String,
}

/// The root file system, mounted in the container's mount namespace only: nothing to unmount on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootfsMount {
    /// Read-only layers, uppermost first, under a writable one.
    Overlay {
        /// Uppermost first, as `lowerdir` has it.
        lowers: Vec<PathBuf>,
        /// The writable layer.
        upper: PathBuf,
        /// Overlayfs' own directory, on the file system of `upper`.
        work: PathBuf,
    },
    /// A directory as it is.
    Directory {
        /// Which.
        path: PathBuf,
    },
}

/// Which system calls are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The profile docker has by default, for the bundle's capabilities.
    #[default]
    Default,
    /// What `linux.seccomp` of the spec says; everything when it says nothing.
    Spec,
}

/// Who may write to the container's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// Nobody: `/dev/null`.
    #[default]
    Null,
    /// The first attached client; it ends when that client says so or goes away (`run -i`).
    Once,
    /// Any attached client, for as long as the container runs (`run -di`).
    Open,
}

/// Where a container's output is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Files, where it is to be read again.
    pub file: Option<LogFile>,
    /// The machine's journal as well.
    pub journal: Option<LogJournal>,
    /// A syslog server as well.
    #[serde(default)]
    pub syslog: Option<LogSyslog>,
    /// Bytes that may wait for whoever is slow, where the container must wait for nobody: a process of its own writes then.
    #[serde(default)]
    pub buffer: Option<usize>,
}

/// Files in docker's json-file format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The newest file; older ones get `.1`, `.2`, ….
    pub path: PathBuf,
    /// A file that has reached this size is rotated; 0 never.
    pub max_size: u64,
    /// How many files there are at most, the newest included.
    pub max_files: u32,
    /// Whether those that are not written any more are compressed.
    #[serde(default)]
    pub compress: bool,
    /// What is said with every line.
    pub attributes: BTreeMap<String, String>,
}

/// The machine's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogJournal {
    /// Where it listens: systemd's is `/run/systemd/journal/socket`.
    pub socket: PathBuf,
    /// What every entry has beside its message and priority.
    pub fields: BTreeMap<String, String>,
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSyslog {
    /// Where it listens.
    pub address: SyslogAddress,
    /// Which part of the system speaks, 0 to 23 (RFC 5424 §6.2.1).
    pub facility: u8,
    /// How messages are written.
    pub format: SyslogFormat,
    /// What every message is marked with.
    pub tag: String,
}

/// Where a syslog server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogAddress {
    /// The machine's own, wherever its socket is.
    #[default]
    Local,
    /// A stream socket.
    Unix(PathBuf),
    /// A datagram socket.
    UnixDatagram(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// `host:port`.
    Udp(String),
}

/// How a message to a syslog server is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogFormat {
    /// As the C library writes it: RFC 3164 without a host.
    #[default]
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
    /// The same with microseconds.
    Rfc5424Micro,
}

impl Log {
    /// Whether it is kept anywhere.
    pub(crate) fn is_kept(&self) -> bool {
        self.file.is_some() || self.journal.is_some() || self.syslog.is_some()
    }

    /// A json-file log that can fill at most 30 MB.
    #[must_use]
    pub fn json_file(path: PathBuf) -> Self {
        let file = LogFile {
            path,
            max_size: 10_000_000,
            max_files: 3,
            compress: false,
            attributes: BTreeMap::new(),
        };
        Self { file: Some(file), ..Self::default() }
    }
}

/// A further process in a running container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// What to run: arguments, environment, capabilities, terminal and its size.
    pub process: Process,
    /// As [`Bundle::user`].
    pub user: Option<String>,
    /// Whether its standard input comes from this connection; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Docker's `--privileged`: without a seccomp filter.
    pub unconfined: bool,
    /// What it is called in events; those of a nameless one are not told.
    #[serde(default)]
    pub id: Option<String>,
}

/// What a client wants to see of the container's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Will write standard input.
    pub stdin: bool,
    /// Wants standard output (or the terminal).
    pub stdout: bool,
    /// Wants standard error.
    pub stderr: bool,
}

/// How a container or an exec ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The process's own code, or 128 and the signal's number.
    pub code: i32,
    /// The kernel killed something in it because memory ran out.
    pub oom_killed: bool,
    /// When.
    pub finished_at: Timestamp,
    /// Another start follows.
    #[serde(default)]
    pub restarts: bool,
    /// Nanoseconds of processor time of all of its processes; 0 of an exec, and where nobody counts.
    #[serde(default)]
    pub cpu_ns: u64,
}

/// A process has begun to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its number on the host.
    pub pid: i32,
    /// What could not be done as asked, and what was done instead, in words for the user.
    pub warnings: Vec<String>,
}
