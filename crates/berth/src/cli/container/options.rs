//! The flags that `run` and `create` share, and the one place where their text becomes a [`ContainerSpec`].
//!
//! Invariant: every flag here does its work; what docker has and we have not is unknown, or refused by name.

use super::isolation::IsolationOptions;
use super::life::LifeOptions;
use super::read::{
    last_of_each, parse_platform, parse_pull, read_capabilities, read_env, read_exposed, read_labels,
    read_ports, read_profile,
};
use crate::exit::{ClientSide, Failure};
use berth_engine::spec::{
    self, Attachment, ContainerName, ContainerSpec, Dns, EnvVar, ExtraHost, Link, LogSpec, Mount, MountFlag,
    NetworkFlag, NetworkFlags, NetworkMode, Resources, Seccomp, SecurityOption, Signal, Streams, Ulimit,
    VolumeFlag, VolumesFrom,
};
use berth_oci::{Reference, Result};
use berth_runtime::net::Mac;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// What `run` and `create` take.
#[derive(clap::Args)]
#[command(mut_args(crate::cli::usage::as_docker))]
pub(crate) struct ContainerOptions {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "list")]
    add_host: Vec<ExtraHost>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "map", value_parser = spec::parse_pair)]
    annotation: Vec<(String, String)>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list", value_parser = parse_stream)]
    pub(crate) attach: Vec<Stream>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    cap_drop: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "string")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    cpu_quota: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = spec::parse_cpus)]
    cpus: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list", value_parser = spec::parse_dns_server)]
    dns: Vec<IpAddr>,
    /// Set DNS options
    #[arg(long, value_name = "list")]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list", value_parser = spec::parse_dns_search)]
    dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "string")]
    domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<EnvVar>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list")]
    expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "list")]
    group_add: Vec<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "string", value_parser = spec::parse_hostname)]
    hostname: Option<String>,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "string", value_parser = spec::parse_ipv4)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "string", value_parser = spec::parse_ipv6)]
    ip6: Option<Ipv6Addr>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Set meta data on a container
    #[arg(short, long, value_name = "list", value_parser = spec::parse_label)]
    label: Vec<(String, String)>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "list")]
    label_file: Vec<PathBuf>,
    /// Logging driver for the container: json-file, local, journald, syslog or none
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "list")]
    link: Vec<Link>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long, value_name = "list", value_parser = spec::parse_link_local)]
    link_local_ip: Vec<IpAddr>,
    /// Log driver options
    #[arg(long, value_name = "list", value_parser = spec::parse_pair)]
    log_opt: Vec<(String, String)>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string")]
    mac_address: Option<Mac>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = spec::parse_ram)]
    memory: Option<u64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = spec::parse_ram)]
    memory_reservation: Option<u64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = spec::parse_swap)]
    memory_swap: Option<i64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount", value_parser = spec::parse_mount)]
    mount: Vec<MountFlag>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// Connect a container to a network
    #[arg(long, visible_alias = "net", value_name = "network")]
    network: Vec<NetworkFlag>,
    /// Add network-scoped alias for the container
    #[arg(long, visible_alias = "net-alias", value_name = "list")]
    network_alias: Vec<String>,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int")]
    oom_score_adj: Option<i32>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int")]
    pids_limit: Option<i64>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "list")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Pull image before running: "always", "missing", "never"
    #[arg(long, value_name = "string", default_value = "missing")]
    pub(crate) pull: String,
    /// Suppress the pull output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    isolation: IsolationOptions,
    #[command(flatten)]
    life: LifeOptions,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Security Options
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = spec::parse_ram)]
    shm_size: Option<u64>,
    /// Signal to stop the container
    #[arg(long, value_name = "string")]
    stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "int")]
    stop_timeout: Option<i64>,
    /// Storage options of the container: size=10g
    #[arg(long, value_name = "list")]
    storage_opt: Vec<String>,
    /// Sysctl options
    #[arg(long, value_name = "map", value_parser = spec::parse_sysctl)]
    sysctl: Vec<(String, String)>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<Ulimit>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "list")]
    volume: Vec<String>,
    /// Optional volume driver for the container
    #[arg(long, value_name = "string")]
    volume_driver: Option<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "list")]
    volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    /// The image, and the command that replaces its own
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

fn parse_stream(text: &str) -> std::result::Result<Stream, String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::Stdin),
        "stdout" => Ok(Stream::Stdout),
        "stderr" => Ok(Stream::Stderr),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// When the image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    /// Whatever is here.
    Always,
    /// When it is not here.
    Missing,
    /// Not at all.
    Never,
}

/// What was read: a spec, and what is not the container's own.
pub(crate) struct Read {
    /// What is wanted.
    pub(crate) spec: ContainerSpec,
    /// Under which name.
    pub(crate) name: Option<ContainerName>,
    /// When the image is fetched.
    pub(crate) pull: PullPolicy,
}

/// What the command line cannot say by itself.
pub(crate) struct Caller<'a> {
    /// Where relative paths begin.
    pub(crate) directory: &'a Path,
    /// The caller's variables.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The platform when the flag is not given.
    pub(crate) platform: Option<&'a str>,
}

impl ContainerOptions {
    /// Turns the text into values; `attached` are the streams that the caller will attach to.
    ///
    /// # Errors
    /// The first thing that is wrong, in docker's words.
    pub(crate) fn read(self, attached: Streams, caller: &Caller<'_>) -> std::result::Result<Read, Failure> {
        let pull = parse_pull(&self.pull).client()?;
        let (mounts, volumes) = self.mounts(caller.directory)?;
        let volumes_from =
            self.volumes_from.iter().map(|text| text.parse()).collect::<Result<Vec<VolumesFrom>>>()?;
        let security = self.security()?;
        let (network, attachments) = self.networks()?;
        let mut words = self.words.into_iter();
        let image = words.next().expect("clap wants one at least");
        let is_id = image.len() >= 2 && image.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id && !image.starts_with("sha256:") {
            image.parse::<Reference>().client()?;
        }
        let name = self.name.as_deref().map(str::parse).transpose()?;
        let platform =
            self.platform.as_deref().or(caller.platform).map(parse_platform).transpose().client()?;
        let mut spec = ContainerSpec {
            image,
            platform,
            entrypoint: self.entrypoint.map(|e| if e.is_empty() { Vec::new() } else { vec![e] }),
            command: words.collect(),
            env: read_env(self.env, &self.env_file, caller.variable).client()?,
            user: self.user,
            groups: self.group_add,
            working_dir: self.workdir.filter(|dir| !dir.is_empty()),
            hostname: self.hostname,
            domainname: self.domainname,
            labels: read_labels(self.label, &self.label_file).client()?,
            annotations: self.annotation.into_iter().collect(),
            tty: self.tty,
            open_stdin: self.interactive,
            attach: attached,
            auto_remove: self.rm,
            stop_signal: self.stop_signal.as_deref().map(str::parse::<Signal>).transpose()?,
            stop_timeout: self.stop_timeout,
            mounts,
            volumes,
            volumes_from,
            volume_driver: self.volume_driver,
            read_only: self.read_only,
            size: storage_size(&self.storage_opt)?,
            shm_size: self.shm_size,
            network,
            attachments,
            ports: read_ports(&self.publish).client()?,
            expose: read_exposed(&self.expose).client()?,
            publish_all: self.publish_all,
            extra_hosts: self.add_host,
            dns: Dns { servers: self.dns, search: self.dns_search, options: self.dns_option },
            resources: Resources {
                memory: self.memory,
                memory_swap: self.memory_swap,
                memory_reservation: self.memory_reservation,
                nano_cpus: self.cpus,
                cpu_shares: self.cpu_shares,
                cpu_period: self.cpu_period,
                cpu_quota: self.cpu_quota,
                cpuset_cpus: self.cpuset_cpus,
                cpuset_mems: self.cpuset_mems,
                pids: self.pids_limit,
                ..Resources::default()
            },
            oom_score_adj: self.oom_score_adj.unwrap_or_default(),
            ulimits: last_of_each(self.ulimit),
            cap_add: read_capabilities("CapAdd", &self.cap_add)?,
            cap_drop: read_capabilities("CapDrop", &self.cap_drop)?,
            privileged: self.privileged,
            no_new_privileges: security.no_new_privileges,
            seccomp: security.seccomp,
            unmask: security.unmask,
            mask: security.mask,
            unmasked: security.unmasked,
            writable_cgroups: security.writable_cgroups,
            sysctls: self.sysctl.into_iter().collect(),
            log: LogSpec::parse(self.log_driver.as_deref(), &self.log_opt)?,
            id_file: self.cidfile,
            ..ContainerSpec::default()
        };
        self.isolation.read(&mut spec)?;
        self.life.read(self.rm, &mut spec)?;
        Ok(Read { spec, name, pull })
    }

    fn networks(&self) -> std::result::Result<(NetworkMode, Vec<Attachment>), Failure> {
        let flags = NetworkFlags {
            networks: self.network.clone(),
            ipv4: self.ip,
            ipv6: self.ip6,
            link_local: self.link_local_ip.clone(),
            mac: self.mac_address,
            aliases: self.network_alias.clone(),
            links: self.link.clone(),
        };
        let read = flags.clone().read().client()?;
        flags.check_links()?;
        Ok(read)
    }

    /// The mounts, and the places of volumes without a name.
    fn mounts(&self, directory: &Path) -> Result<(Vec<Mount>, BTreeSet<PathBuf>)> {
        let mut given = Vec::new();
        let mut anonymous = BTreeSet::new();
        for text in &self.volume {
            match spec::parse_volume(text, directory)? {
                VolumeFlag::Mount(mut mount) => {
                    if let Mount::Volume(volume) = &mut mount {
                        volume.driver.clone_from(&self.volume_driver);
                    }
                    given.push(mount);
                }
                VolumeFlag::Anonymous(target) => {
                    anonymous.insert(target);
                }
            }
        }
        given.extend(self.tmpfs.iter().map(|text| spec::parse_tmpfs(text)).collect::<Result<Vec<_>>>()?);
        given.extend(self.mount.iter().map(|flag| flag.resolve(directory)).collect::<Result<Vec<_>>>()?);
        // The same word twice says nothing new, to docker and to us.
        let mut mounts: Vec<Mount> = Vec::new();
        for mount in given {
            if !mounts.contains(&mount) {
                mounts.push(mount);
            }
        }
        Ok((mounts, anonymous))
    }

    fn security(&self) -> std::result::Result<Security, Failure> {
        let mut security = Security::default();
        for text in &self.security_opt {
            let option = text.parse::<SecurityOption>();
            // Docker's client finds what has no value, its daemon what has a wrong one.
            let option = if text.contains(['=', ':']) { option? } else { option.client()? };
            match option {
                SecurityOption::NoNewPrivileges(on) => security.no_new_privileges = on,
                SecurityOption::SeccompUnconfined => security.seccomp = Seccomp::Unconfined,
                SecurityOption::SeccompBuiltin => security.seccomp = Seccomp::Default,
                SecurityOption::SeccompFile(path) => {
                    security.seccomp = Seccomp::Profile(read_profile(&path).client()?);
                }
                SecurityOption::SystemPathsUnconfined => security.unmask = true,
                SecurityOption::Mask(paths) => security.mask.extend(paths),
                SecurityOption::Unmask(paths) => security.unmasked.extend(paths),
                SecurityOption::WritableCgroups(on) => security.writable_cgroups = on,
                SecurityOption::Unlabelled => {}
            }
        }
        Ok(security)
    }
}

/// Of several, the last one counts. Docker's client finds an option that is none.
fn storage_size(options: &[String]) -> std::result::Result<Option<(u64, String)>, Failure> {
    let read = options.iter().map(|text| match spec::parse_storage_option(text) {
        Err(error) if !text.contains('=') => Err(error).client(),
        read => Ok(read?),
    });
    Ok(read.collect::<std::result::Result<Vec<_>, Failure>>()?.pop())
}

#[derive(Default)]
struct Security {
    no_new_privileges: bool,
    seccomp: Seccomp,
    unmask: bool,
    mask: Vec<String>,
    unmasked: Vec<String>,
    writable_cgroups: bool,
}
