//! `start`: from a record to a running process.
//!
//! Here: everything a bundle needs is gathered. Not here: namespaces, mounts, networks as the kernel has them; the
//! runtime does those. Invariant: whatever fails leaves the container as it was, or exited with the reason.

use super::volumes::Places;
use super::{Container, devices};
use crate::engine::Engine;
use crate::etc::{self, HostTexts};
use crate::runtime_spec::{Surroundings, runtime_spec};
use crate::spec::{ContainerSpec, NetworkMode, Seccomp};
use berth_oci::{AtPath, Result};
use berth_runtime::net::{
    DEFAULT, Endpoint, Network, NetworkOptions, NetworkPlan, PortMapping, Protocol, Site,
};
use berth_runtime::{Bundle, Connection, Log, Stdin, Streams};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

/// How a container is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// Which of its streams the caller wants from the first byte on.
    pub streams: Streams,
    /// Rows and columns of the caller's terminal.
    pub terminal_size: Option<(u16, u16)>,
}

/// A container whose surroundings are being made; [`Connection::start`] lets its program run.
#[derive(Debug)]
pub struct Launch {
    /// The container.
    pub container: Container,
    /// The conversation with its monitor, already attached to the streams asked for.
    pub connection: Connection,
}

impl Engine {
    /// Starts a container and does not wait for its end. One that runs already is left alone.
    ///
    /// # Errors
    /// No such container; its program cannot be started, in docker's words: see [`berth_runtime::exit_code`].
    pub fn start(&self, text: &str) -> Result<(Container, Vec<String>)> {
        let container = self.container(text)?;
        if container.is_running() {
            return Ok((container, Vec::new()));
        }
        let mut launch = self.launch(container, &StartOptions::default())?;
        let started = launch.connection.start()?;
        Ok((launch.container, started.warnings))
    }

    /// Makes a container ready, up to the moment before its program runs.
    ///
    /// # Errors
    /// `Conflict`: it runs already; a layer, device or mount source is missing.
    pub fn launch(&self, container: Container, options: &StartOptions) -> Result<Launch> {
        let places = self.place_volumes(&container)?;
        let bundle = self.bundle(&container, options, &places)?;
        let mut connection = berth_runtime::create(&bundle)?;
        // From here on the container itself says that its volumes are used.
        drop(places);
        if options.streams != Streams::default() {
            connection.attach(options.streams)?;
        }
        Ok(Launch { container, connection })
    }

    fn bundle(&self, container: &Container, options: &StartOptions, places: &Places) -> Result<Bundle> {
        let spec = &container.document.spec;
        let process = &container.document.process;
        let directory = self.store()?.container_dir(&container.id);
        let network = self.network(spec)?;
        let gateway = network.as_ref().map(|network| IpAddr::V4(network.gateway));
        let texts = etc::texts(spec, &container.document.hostname, &host_texts(gateway)?);
        let around = Surroundings {
            hostname: container.document.hostname.clone(),
            etc: etc::write(&directory, &texts)?,
            devices: devices::nodes(spec)?,
            masked: thermal_paths(),
            mounts: container.document.mounts.clone(),
            volumes: places.directories.clone(),
            terminal_size: options.terminal_size,
        };
        Ok(Bundle {
            id: container.id.clone(),
            run_dir: self.run_dir(&container.id),
            exe: self.settings().executable.clone(),
            spec: runtime_spec(process, spec, &around)?,
            rootfs: self.rootfs_of(container)?,
            parts: places.parts.clone(),
            user: Some(process.user.clone()).filter(|user| !user.is_empty()),
            seccomp: match (spec.privileged, &spec.seccomp) {
                (false, Seccomp::Default) => berth_runtime::Seccomp::Default,
                _ => berth_runtime::Seccomp::Spec,
            },
            cgroup_parent: self.cgroup_parent(),
            stdin: match (spec.open_stdin, options.streams.stdin) {
                (false, _) => Stdin::Null,
                (true, true) => Stdin::Once,
                (true, false) => Stdin::Open,
            },
            log: self.log(container)?,
            on_exit: spec.auto_remove.then(|| self.cleanup_command(&container.id)),
            life: self.life(container)?,
            hosts: network.is_some().then(|| directory.join("hosts")),
            dir: directory,
            network: network.map(|network| NetworkPlan { endpoint: endpoint(container), network }),
        })
    }

    /// This root's networks.
    pub(crate) fn site(&self) -> Site {
        let location = &self.settings().location;
        Site::new(&location.root, &location.runroot, self.settings().usual)
    }

    /// The parent of all of this root's cgroups, from the root of every hierarchy.
    pub(crate) fn cgroup_parent(&self) -> String {
        format!("/{}", self.site().names().nft_table)
    }

    fn log(&self, container: &Container) -> Result<Log> {
        let wanted = &container.document.spec.log;
        Ok(match (wanted.none, Log::json_file(self.log_path(&container.id)?)) {
            (false, Log::JsonFile { path, max_size, max_files }) => Log::JsonFile {
                path,
                max_size: wanted.max_size.unwrap_or(max_size),
                max_files: wanted.max_file.unwrap_or(max_files),
            },
            _ => Log::None,
        })
    }

    fn network(&self, spec: &ContainerSpec) -> Result<Option<Network>> {
        match spec.network {
            NetworkMode::Bridge => self.site().network(DEFAULT, &NetworkOptions::default()).map(Some),
            NetworkMode::Host | NetworkMode::None => Ok(None),
        }
    }

    /// What the monitor runs after the exit of a container that is to go with its process.
    fn cleanup_command(&self, id: &str) -> Vec<String> {
        let location = &self.settings().location;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            text(&self.settings().executable),
            "__cleanup".to_owned(),
            text(&location.root),
            text(&location.runroot),
            id.to_owned(),
        ]
    }
}

fn endpoint(container: &Container) -> Endpoint {
    Endpoint {
        container: container.id.clone(),
        name: container.name.clone(),
        ip: None,
        mac: None,
        ports: ports(container),
    }
}

/// What was published, and with `-P` also every other port that is listened on, each at any free port.
fn ports(container: &Container) -> Vec<PortMapping> {
    let spec = &container.document.spec;
    let mut ports = spec.ports.clone();
    if spec.publish_all {
        for exposed in &container.document.process.exposed {
            let taken =
                ports.iter().any(|m| (m.container_port, m.protocol) == (exposed.port, exposed.protocol));
            if !taken && exposed.protocol != Protocol::Sctp {
                ports.push(PortMapping {
                    host_ip: None,
                    host_ports: None,
                    container_port: exposed.port,
                    protocol: exposed.protocol,
                });
            }
        }
    }
    ports
}

fn host_texts(gateway: Option<IpAddr>) -> Result<HostTexts> {
    let read = |path: &str| match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).at(path),
    };
    Ok(HostTexts { hosts: read("/etc/hosts")?, resolv_conf: read("/etc/resolv.conf")?, gateway })
}

/// Each processor's count of overheatings, where the machine has them: a clock that all containers can read.
fn thermal_paths() -> Vec<String> {
    let path = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    if !Path::new(&path(0)).exists() {
        return Vec::new();
    }
    (0..).map(path).take_while(|path| Path::new(path).exists()).collect()
}
