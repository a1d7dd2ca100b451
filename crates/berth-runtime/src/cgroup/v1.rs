//! Limits as files of the v1 controllers.

use super::plan::Write;
use super::{Hierarchy, device};
use berth_oci::Result;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
};

/// What to write in this hierarchy, in the order in which the kernel accepts it.
pub(super) fn writes(hierarchy: &Hierarchy, resources: &LinuxResources) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let (true, Some(memory)) = (hierarchy.has("memory"), resources.memory()) {
        writes.extend(memory_writes(memory));
    }
    if let (true, Some(cpu)) = (hierarchy.has("cpu"), resources.cpu()) {
        writes.extend(cpu_writes(cpu));
    }
    if let (true, Some(cpu)) = (hierarchy.has("cpuset"), resources.cpu()) {
        writes.extend(cpu.cpus().iter().map(|cpus| Write::new("cpuset.cpus", cpus)));
        writes.extend(cpu.mems().iter().map(|mems| Write::new("cpuset.mems", mems)));
    }
    if let (true, Some(pids)) = (hierarchy.has("pids"), resources.pids()) {
        writes.push(Write::new("pids.max", pids_max(pids)));
    }
    if let (true, Some(io)) = (hierarchy.has("blkio"), resources.block_io()) {
        writes.extend(io_writes(io));
    }
    if hierarchy.has("devices") {
        let rules = device::rules(resources.devices().as_deref().unwrap_or_default())?;
        writes.extend(rules.iter().map(device::Rule::v1_write));
    }
    Ok(writes)
}

/// "No limit" is 0 or less in the specification, `max` for the kernel.
pub(super) fn pids_max(pids: &LinuxPids) -> String {
    match pids.limit() {
        limit if limit > 0 => limit.to_string(),
        _ => "max".into(),
    }
}

/// The limit before the limit with swap, which may not be lower; both are unlimited in a new cgroup.
fn memory_writes(memory: &LinuxMemory) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
        writes.push(Write::new("memory.limit_in_bytes", limit));
    }
    if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
        writes.push(Write::optional("memory.memsw.limit_in_bytes", swap));
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        writes.push(Write::new("memory.soft_limit_in_bytes", reservation));
    }
    if let Some(swappiness) = memory.swappiness() {
        writes.push(Write::new("memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.push(Write::new("memory.oom_control", 1));
    }
    writes
}

fn cpu_writes(cpu: &LinuxCpu) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        writes.push(Write::new("cpu.shares", shares));
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        writes.push(Write::new("cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        writes.push(Write::new("cpu.cfs_quota_us", quota));
    }
    writes
}

fn io_writes(io: &LinuxBlockIo) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        writes.push(Write::optional("blkio.bfq.weight", weight));
    }
    let mut throttle = |file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            writes.push(Write::new(
                file,
                format_args!("{}:{} {}", device.major(), device.minor(), device.rate()),
            ));
        }
    };
    throttle("blkio.throttle.read_bps_device", io.throttle_read_bps_device());
    throttle("blkio.throttle.write_bps_device", io.throttle_write_bps_device());
    throttle("blkio.throttle.read_iops_device", io.throttle_read_iops_device());
    throttle("blkio.throttle.write_iops_device", io.throttle_write_iops_device());
    writes
}
