//! Putting the container on its network, while its first process is preparing itself.

use super::{CONTAINER, Monitor};
use crate::net;
use crate::state::Address;
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
        let address = Address {
            ip: attached.ip,
            prefix: attached.prefix,
            mac: attached.mac,
            gateway: attached.gateway,
            ports: attached.ports,
        };
        self.add_to_hosts(&address)?;
        self.state.network = Some(address);
        Ok(())
    }

    fn add_to_hosts(&self, address: &Address) -> Result<()> {
        let (Some(path), Some(name)) = (&self.bundle.hosts, self.bundle.spec.hostname()) else {
            return Ok(());
        };
        let mut file = File::options().append(true).open(path).at(path)?;
        writeln!(file, "{}\t{name}", address.ip).at(path)
    }
}
