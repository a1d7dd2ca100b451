//! Putting the container on its network, while its first process is preparing itself.

use super::{CONTAINER, Monitor};
use crate::net::{self, Joined};
use berth_oci::{AtPath, Result};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

impl Monitor {
    /// Does nothing for a container without a network.
    pub(super) fn connect(&mut self) -> Result<()> {
        let Some(process) = self.processes.get(&CONTAINER) else { return Ok(()) };
        let Some(plan) = &self.bundle.network else { return Ok(()) };
        let path = format!("/proc/{}/ns/net", process.pid);
        let namespace = File::open(&path).at(&path)?;
        let attached = net::setup(plan, namespace.as_fd())?;
        self.warnings.extend(attached.notes);
        self.held_ports = attached.held;
        self.add_to_hosts(&attached.joined)?;
        self.state.network = Some(attached.joined);
        Ok(())
    }

    /// A container that is started again gets its line anew: the address may be another one.
    fn add_to_hosts(&mut self, joined: &Joined) -> Result<()> {
        let spec = &self.bundle.spec;
        let (Some(path), Some(name)) = (&self.bundle.hosts, spec.hostname()) else { return Ok(()) };
        let line = joined.hosts_line(name, spec.domainname().as_deref().unwrap_or_default());
        let mut file = File::options().append(true).open(path).at(path)?;
        match self.hosts_length {
            Some(length) => file.set_len(length).at(path)?,
            None => self.hosts_length = Some(file.metadata().at(path)?.len()),
        }
        file.write_all(line.as_bytes()).at(path)
    }
}
