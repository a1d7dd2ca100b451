//! What a container shares with others or the host: namespaces, `/dev/shm`, and the groups of its own files.
//!
//! Not here: how shared memory comes to be; the runtime makes it for who asks in its bundle.

use super::Container;
use crate::engine::Engine;
use crate::runtime_spec::Shared;
use crate::spec::{ContainerSpec, IpcMode, PidMode};
use berth_oci::{Error, Kind, Result};
use berth_runtime::memory;
use oci_spec::runtime::LinuxNamespaceType as Namespace;
use std::os::fd::AsFd;
use std::path::PathBuf;

impl Engine {
    /// What a container that is about to start shares, with the processes that have it now.
    ///
    /// # Errors
    /// The other container is not there, does not run, or does not share.
    pub(super) fn shared_namespaces(&self, container: &Container) -> Result<Shared> {
        let spec = &container.document.spec;
        let mut shared = Shared::default();
        if let PidMode::Container(name) = &spec.pid {
            let donor = self.donor(name, "PID")?;
            shared.namespaces.push((Namespace::Pid, namespace(donor.1, "pid")));
        }
        match &spec.ipc {
            IpcMode::Private | IpcMode::None => {}
            IpcMode::Host => shared.memory = Some("/dev/shm".into()),
            IpcMode::Shareable => shared.memory = Some(memory::place(&self.run_dir(&container.id))),
            IpcMode::Container(name) => {
                let (donor, pid) = self.donor(name, "IPC")?;
                shared.memory = Some(match donor.document.spec.ipc {
                    IpcMode::Shareable => memory::place(&self.run_dir(&donor.id)),
                    IpcMode::Host => "/dev/shm".into(),
                    _ => {
                        return Err(Error::conflict(format!(
                            "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                            donor.id
                        )));
                    }
                });
                shared.namespaces.push((Namespace::Ipc, namespace(pid, "ipc")));
            }
        }
        Ok(shared)
    }

    /// The container that lends a namespace, and its first process.
    fn donor(&self, name: &str, which: &str) -> Result<(Container, i32)> {
        let donor = self.container(name)?;
        let pid = donor.state.as_ref().filter(|_| donor.is_running()).and_then(|state| state.pid);
        let pid = pid.ok_or_else(|| {
            Error::conflict(format!(
                "failed to join {which} namespace: container {} is not running",
                donor.id
            ))
            .hint(format!("`berth start {name}` starts it"))
        })?;
        Ok((donor, pid))
    }

    /// The numbers of the groups that were asked for; names are looked up in the container's own files.
    pub(super) fn groups(&self, container: &Container) -> Result<Vec<u32>> {
        let mut groups = self.groups_asked_for(container)?;
        // Whoever is himself in the container may use what his group may, whatever program he runs.
        let own = container.document.caller().map(|(_, gid)| gid);
        groups.extend(own.filter(|gid| !groups.contains(gid)));
        Ok(groups)
    }

    fn groups_asked_for(&self, container: &Container) -> Result<Vec<u32>> {
        let wanted = &container.document.spec.groups;
        if wanted.iter().all(|group| group.parse::<u32>().is_ok()) {
            return Ok(wanted.iter().filter_map(|group| group.parse().ok()).collect());
        }
        let root = self.open_root(container)?;
        wanted
            .iter()
            .map(|group| Ok(berth_runtime::resolve_user(root.as_fd(), &format!("0:{group}"))?.gid))
            .collect()
    }
}

fn namespace(pid: i32, name: &str) -> PathBuf {
    format!("/proc/{pid}/ns/{name}").into()
}

/// Whether those that it names are there, said when it is made.
pub(super) fn check_donors(engine: &Engine, spec: &ContainerSpec) -> Result<()> {
    let named = [
        match &spec.ipc {
            IpcMode::Container(name) => Some(name),
            _ => None,
        },
        match &spec.pid {
            PidMode::Container(name) => Some(name),
            _ => None,
        },
    ];
    for name in named.into_iter().flatten() {
        match engine.container(name) {
            Err(error) if error.kind() == Kind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
