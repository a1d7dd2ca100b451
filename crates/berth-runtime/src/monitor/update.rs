//! Other limits for a container that runs.
//!
//! Invariant: what the next start by this monitor gets is what was applied.

use super::Monitor;
use crate::cgroup::{Cgroup, CgroupPlan, Layout, not_given};
use crate::life::Restart;
use crate::recovery::Recovery;
use berth_oci::Result;
use oci_spec::runtime::{Linux, LinuxBlockIo, LinuxResources};

impl Monitor {
    /// See [`crate::connection::Connection::update`]. Between two runs there is nothing to apply it to.
    pub(super) fn update(&mut self, resources: LinuxResources, restart: Restart) -> Result<()> {
        if self.due.restart.is_none() {
            let parent = &self.bundle.cgroup_parent;
            let layout = Layout::for_parent(parent)?;
            let before = self.bundle.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
            if layout.hierarchies.is_empty()
                && before.is_none_or(|before| limits(before) != limits(&resources))
            {
                return Err(not_given("limits cannot be changed"));
            }
            let plan = CgroupPlan::new(&layout, parent, &self.bundle.id, &resources)?;
            // Written down before it is made, as at the start.
            let recovery = Recovery { cgroup: self.cgroup.with(&plan), ..self.recovery() };
            recovery.write(&self.bundle.run_dir)?;
            self.cgroup.extend(&plan)?;
            Cgroup::change_limits(&plan)?;
        }
        let mut linux = self.bundle.spec.linux().clone().unwrap_or_default();
        merge(&mut linux, resources);
        self.bundle.spec.set_linux(Some(linux));
        self.bundle.life.restart = restart;
        Ok(())
    }
}

/// What may be changed while a container runs.
fn limits(resources: &LinuxResources) -> impl PartialEq + use<> {
    let weight = resources.block_io().as_ref().and_then(LinuxBlockIo::weight);
    (*resources.memory(), resources.cpu().clone(), *resources.pids(), weight)
}

/// The new limits beside the devices, and the limits of devices, that were there.
fn merge(linux: &mut Linux, mut resources: LinuxResources) {
    if let Some(before) = linux.resources() {
        resources.set_devices(before.devices().clone());
        let weight = resources.block_io().as_ref().and_then(LinuxBlockIo::weight);
        let mut io = before.block_io().clone().or(resources.block_io().clone());
        if let (Some(io), Some(weight)) = (&mut io, weight) {
            io.set_weight(Some(weight));
        }
        resources.set_block_io(io);
    }
    linux.set_resources(Some(resources));
}
