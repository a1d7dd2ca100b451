//! Limits as files of the v1 controllers.

use super::plan::Write;
use super::{Hierarchy, device};
use berth_oci::Result;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxRdma, LinuxResources, LinuxThrottleDevice,
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
    if hierarchy.has("hugetlb") {
        writes.extend(resources.hugepage_limits().iter().flatten().map(|pages| {
            Write::new(&format!("hugetlb.{}.limit_in_bytes", pages.page_size()), pages.limit())
        }));
    }
    if let (true, Some(network)) = (hierarchy.has("net_cls"), resources.network()) {
        writes.extend(network.class_id().map(|id| Write::new("net_cls.classid", id)));
    }
    if let (true, Some(network)) = (hierarchy.has("net_prio"), resources.network()) {
        writes.extend(network.priorities().iter().flatten().map(|interface| {
            Write::new("net_prio.ifpriomap", format_args!("{} {}", interface.name(), interface.priority()))
        }));
    }
    if hierarchy.has("rdma") {
        writes.extend(rdma_writes(resources));
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

/// The same file in both generations.
pub(super) fn rdma_writes(resources: &LinuxResources) -> Vec<Write> {
    let number = |n: Option<u32>| n.map_or("max".into(), |n| n.to_string());
    let line = |(device, limits): (&String, &LinuxRdma)| {
        let (handles, objects) = (number(limits.hca_handles()), number(limits.hca_objects()));
        Write::new("rdma.max", format_args!("{device} hca_handle={handles} hca_object={objects}"))
    };
    resources.rdma().iter().flatten().map(line).collect()
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
    // Kernels of today ignore or lack both, which is told; old bundles still ask.
    let kernel = memory.kernel();
    for (file, limit) in
        [("memory.kmem.limit_in_bytes", kernel), ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp())]
    {
        writes.extend(limit.filter(|limit| *limit > 0).map(|limit| Write::optional(file, limit)));
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
    let mut write = |file: &str, value: Option<i128>| {
        writes.extend(value.filter(|value| *value != 0).map(|value| Write::new(file, value)));
    };
    // Real time: the runtime is limited by the period, so that comes first.
    write("cpu.rt_period_us", cpu.realtime_period().map(Into::into));
    write("cpu.rt_runtime_us", cpu.realtime_runtime().map(Into::into));
    write("cpu.cfs_period_us", cpu.period().map(Into::into));
    write("cpu.cfs_quota_us", cpu.quota().map(Into::into));
    // The burst is limited by the quota.
    write("cpu.cfs_burst_us", cpu.burst().map(Into::into));
    write("cpu.idle", cpu.idle().map(Into::into));
    writes
}

fn io_writes(io: &LinuxBlockIo) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        writes.push(Write::optional("blkio.bfq.weight", weight));
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        writes.push(Write::optional("blkio.leaf_weight", weight));
    }
    for device in io.weight_device().iter().flatten() {
        let line = |weight| format!("{}:{} {weight}", device.major(), device.minor());
        writes.extend(device.weight().map(|weight| Write::optional("blkio.bfq.weight_device", line(weight))));
        writes.extend(
            device.leaf_weight().map(|weight| Write::optional("blkio.leaf_weight_device", line(weight))),
        );
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
