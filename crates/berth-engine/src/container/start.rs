//! `start`: from a record to a running process.
//!
//! Here: everything a bundle needs is gathered. Not here: namespaces, mounts, networks as the kernel has them; the
//! runtime does those. Invariant: whatever fails leaves the container as it was, or exited with the reason.

use super::links::Linked;
use super::volumes::Places;
use super::{Container, devices, image_mounts};
use crate::cdi;
use crate::engine::Engine;
use crate::random;
use crate::runtime_spec::{Surroundings, runtime_spec};
use crate::spec::{IpcMode, Seccomp};
use berth_oci::{Error, Kind, Result};
use berth_runtime::net::Site;
use berth_runtime::{Bundle, Connection, RootfsMount, Standby, Stdin, Streams};
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
        self.start_with(text, None)
    }

    /// Lets a monitor on [`standby`](Self::standby) be the container's.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub fn start_with(&self, text: &str, standby: Option<Standby>) -> Result<(Container, Vec<String>)> {
        let container = self.container(text)?;
        if container.is_running() {
            return Ok((container, Vec::new()));
        }
        let mut launch = self.launch(container, &StartOptions::default(), standby)?;
        let warnings = self.begin(&mut launch)?;
        Ok((launch.container, warnings))
    }

    /// The monitor of a container that is about to be made and started, so that it is ready by then.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn standby(&self) -> Result<Standby> {
        Standby::start(&self.settings().executable, &random::id()?)
    }

    /// Lets the program of a launched container run; answers warnings.
    ///
    /// # Errors
    /// The program cannot be started, in docker's words; `NotFound`: somebody removed the container meanwhile.
    pub fn begin(&self, launch: &mut Launch) -> Result<Vec<String>> {
        let started = launch.connection.start();
        let started = started.map_err(|error| self.unless_removed(&launch.container.id, error))?;
        Ok(started.warnings)
    }

    /// Makes a container ready, up to the moment before its program runs; `standby` is its monitor, if it has one.
    ///
    /// # Errors
    /// `Conflict`: it runs already; a layer, device or mount source is missing.
    pub fn launch(
        &self,
        container: Container,
        options: &StartOptions,
        standby: Option<Standby>,
    ) -> Result<Launch> {
        let id = container.id.clone();
        self.try_launch(container, options, standby).map_err(|error| {
            match self.store().and_then(|s| s.container(&id)) {
                // Whatever is missing is missing for that reason.
                Err(gone) if gone.kind() == Kind::NotFound => {
                    Error::conflict(format!("container {id} has been removed")).caused_by(error)
                }
                _ => error,
            }
        })
    }

    fn try_launch(
        &self,
        container: Container,
        options: &StartOptions,
        standby: Option<Standby>,
    ) -> Result<Launch> {
        let start = || Standby::start(&self.settings().executable, &container.id);
        let standby = standby.filter(|standby| standby.id() == container.id).map_or_else(start, Ok)?;
        let places = self.place_volumes(&container)?;
        let bundle = self.bundle(&container, options, &places)?;
        let mut connection = standby.create(&bundle)?;
        // From here on the container itself says that its volumes are used.
        drop(places);
        match self.store()?.container(&container.id) {
            Err(error) if error.kind() == Kind::NotFound => {
                drop(connection);
                return self.abandon(&container.id).and(Err(error));
            }
            record => drop(record?),
        }
        if options.streams != Streams::default() {
            connection.attach(options.streams)?;
        }
        Ok(Launch { container, connection })
    }

    /// Somebody took its record away before the right to start it was ours, and was killed before he could take the
    /// rest: what has been made of it goes.
    fn abandon(&self, id: &str) -> Result<()> {
        while !self.discard(id, false)? {
            // Its monitor is about to notice that nobody wants it.
            std::thread::yield_now();
        }
        Ok(())
    }

    fn bundle(&self, container: &Container, options: &StartOptions, places: &Places) -> Result<Bundle> {
        let spec = &container.document.spec;
        let process = &container.document.process;
        let directory = self.store()?.container_dir(&container.id);
        let links = self.links(container)?;
        let networking = self.networking(container, &directory)?;
        let around = Surroundings {
            hostname: container.document.hostname.clone(),
            etc: networking.etc,
            linked: links.iter().flat_map(|link| link.variables(&container.name)).collect(),
            network_namespace: networking.namespace,
            devices: devices::nodes(spec)?,
            masked: thermal_paths(),
            disks: devices::disks(spec)?,
            shared: self.shared_namespaces(container)?,
            groups: self.groups(container)?,
            mounts: container.document.mounts.clone(),
            volumes: places.directories.clone(),
            terminal_size: options.terminal_size,
            users: container.document.users,
            last_group: berth_runtime::last_group()?,
            ..Surroundings::default()
        };
        let owners = self.mount_owners(container, places)?;
        let around = Surroundings { program: owners.program, owners: owners.sources, ..around };
        let mut specification = runtime_spec(process, spec, &around)?;
        cdi::apply(&mut specification, &cdi::changes(spec, &self.settings().cdi_directories)?)?;
        let rootfs = self.layers_of(container)?;
        Ok(Bundle {
            id: container.id.clone(),
            run_dir: self.run_dir(&container.id),
            exe: self.settings().executable.clone(),
            runtime: self.runtime_of(spec)?,
            spec: specification,
            layers: image_mounts::stacks(container, &rootfs),
            rootfs: RootfsMount::Overlay { lowers: rootfs.lowers, upper: rootfs.upper, work: rootfs.work },
            parts: places.parts.clone(),
            memory: (spec.ipc == IpcMode::Shareable).then(|| spec.shm_bytes()),
            is_given: container.document.users.is_some_and(|users| users.is_given),
            user: Some(super::user_of(&process.user).to_owned()),
            seccomp: match (spec.privileged, &spec.seccomp) {
                (false, Seccomp::Default) => berth_runtime::Seccomp::Default,
                _ => berth_runtime::Seccomp::Spec,
            },
            cgroup_parent: spec.cgroup_parent.clone().unwrap_or_else(|| self.cgroup_parent()),
            stdin: match (spec.open_stdin, options.streams.stdin) {
                (false, _) => Stdin::Null,
                (true, true) => Stdin::Once,
                (true, false) => Stdin::Open,
            },
            log: self.log(container)?,
            on_exit: spec.auto_remove.then(|| self.cleanup_command(&container.id)),
            tied: false,
            life: self.life(container)?,
            hosts: networking.hosts,
            linked: links.iter().map(Linked::host).collect(),
            dir: directory,
            networks: networking.plans,
            names: networking.names,
        })
    }

    /// This root's networks.
    pub(crate) fn site(&self) -> Site {
        let location = &self.settings().location;
        let settings = self.settings();
        let apart = settings.apart.clone();
        Site::new(&location.root, &location.runroot, settings.usual, settings.publish_at, apart)
    }

    /// The parent of all of this root's cgroups, from the root of every hierarchy.
    pub(crate) fn cgroup_parent(&self) -> String {
        format!("{}/{}", self.settings().cgroup_base, self.site().names().nft_table)
    }

    /// Whether its containers are limited and counted.
    ///
    /// # Errors
    /// The machine has no cgroups at all.
    pub fn has_cgroups(&self) -> Result<bool> {
        berth_runtime::has_cgroups(&self.cgroup_parent())
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

/// Each processor's count of overheatings, where the machine has them: a clock that all containers can read.
pub(crate) fn thermal_paths() -> Vec<String> {
    let path = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    if !Path::new(&path(0)).exists() {
        return Vec::new();
    }
    (0..).map(path).take_while(|path| Path::new(path).exists()).collect()
}
