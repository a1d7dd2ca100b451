//! Limits and devices of a container, as the specification writes them.

use super::{DeviceNode, Surroundings, bug};
use crate::spec::{BlockIo, ContainerSpec, DeviceRule, NANO, Rate};
use berth_oci::{Error, Result};
use oci_spec::runtime as oci;

/// Microseconds: docker counts a processor's share in tenths of a second.
const PERIOD: u64 = 100_000;

pub(super) fn resources(spec: &ContainerSpec, around: &Surroundings) -> Result<oci::LinuxResources> {
    let mut resources = limits(spec)?;
    resources.set_devices(Some(rules(spec, around)?));
    let io = &spec.resources.block_io;
    if io.is_limited() {
        resources.set_block_io(Some(block_io(io, around)?));
    }
    Ok(resources)
}

/// What does not ask which devices there are: the part that can change while the container runs.
pub(crate) fn limits(spec: &ContainerSpec) -> Result<oci::LinuxResources> {
    let limits = &spec.resources;
    let mut builder = oci::LinuxResourcesBuilder::default();
    let swap = limits.memory_swappiness.is_some() || limits.oom_kill_disable;
    if limits.memory.is_some() || limits.memory_reservation.is_some() || swap {
        builder = builder.memory(memory(spec)?);
    }
    if let Some(cpu) = cpu(spec)? {
        builder = builder.cpu(cpu);
    }
    if let Some(pids) = limits.pids {
        builder = builder.pids(oci::LinuxPidsBuilder::default().limit(pids).build().map_err(bug)?);
    }
    builder.build().map_err(bug)
}

fn memory(spec: &ContainerSpec) -> Result<oci::LinuxMemory> {
    let limits = &spec.resources;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut builder = oci::LinuxMemoryBuilder::default();
    if let Some(limit) = limits.memory {
        builder = builder.limit(signed(limit));
    }
    if let Some(swap) = limits.memory_swap {
        builder = builder.swap(swap);
    }
    if let Some(reservation) = limits.memory_reservation {
        builder = builder.reservation(signed(reservation));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        builder = builder.swappiness(swappiness);
    }
    if limits.oom_kill_disable {
        builder = builder.disable_oom_killer(true);
    }
    builder.build().map_err(bug)
}

fn block_io(io: &BlockIo, around: &Surroundings) -> Result<oci::LinuxBlockIo> {
    let numbers = |rate: &Rate| {
        let found = around.disks.get(&rate.path).copied();
        found.ok_or_else(|| Error::internal(format!("`{}` has no number", rate.path.display())))
    };
    let throttle = |rate: &Rate| {
        let (major, minor) = numbers(rate)?;
        let builder = oci::LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate.rate);
        builder.build().map_err(bug)
    };
    let throttles = |rates: &[Rate]| rates.iter().map(throttle).collect::<Result<Vec<_>>>();
    let weight = |rate: &Rate| {
        let (major, minor) = numbers(rate)?;
        let weight = u16::try_from(rate.rate).unwrap_or(u16::MAX);
        oci::LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build().map_err(bug)
    };
    let mut builder = oci::LinuxBlockIoBuilder::default()
        .weight_device(io.weight_devices.iter().map(weight).collect::<Result<Vec<_>>>()?)
        .throttle_read_bps_device(throttles(&io.read_bps)?)
        .throttle_write_bps_device(throttles(&io.write_bps)?)
        .throttle_read_iops_device(throttles(&io.read_iops)?)
        .throttle_write_iops_device(throttles(&io.write_iops)?);
    if let Some(weight) = io.weight {
        builder = builder.weight(weight);
    }
    builder.build().map_err(bug)
}

fn cpu(spec: &ContainerSpec) -> Result<Option<oci::LinuxCpu>> {
    let limits = &spec.resources;
    let nano = limits.nano_cpus.filter(|nano| *nano > 0);
    let quota = nano
        .map(|nano| nano / (NANO / PERIOD.cast_signed()))
        .or(limits.cpu_quota.filter(|quota| *quota != 0));
    let period = nano.map(|_| PERIOD).or(limits.cpu_period.filter(|period| *period > 0));
    let shares = limits.cpu_shares.filter(|shares| *shares > 0);
    let set = |set: &Option<String>| set.clone().filter(|set| !set.is_empty());
    let (cpus, mems) = (set(&limits.cpuset_cpus), set(&limits.cpuset_mems));
    if quota.is_none() && period.is_none() && shares.is_none() && cpus.is_none() && mems.is_none() {
        return Ok(None);
    }
    let mut builder = oci::LinuxCpuBuilder::default();
    if let Some(quota) = quota {
        builder = builder.quota(quota);
    }
    if let Some(period) = period {
        builder = builder.period(period);
    }
    if let Some(shares) = shares {
        builder = builder.shares(shares);
    }
    if let Some(cpus) = cpus {
        builder = builder.cpus(cpus);
    }
    if let Some(mems) = mems {
        builder = builder.mems(mems);
    }
    builder.build().map(Some).map_err(bug)
}

/// What may be used beyond the harmless devices that every container has, which the runtime adds.
fn rules(spec: &ContainerSpec, around: &Surroundings) -> Result<Vec<oci::LinuxDeviceCgroup>> {
    if spec.privileged {
        let everything =
            oci::LinuxDeviceCgroupBuilder::default().allow(true).access("rwm").build().map_err(bug)?;
        return Ok(vec![everything]);
    }
    let asked = spec.device_rules.iter().map(asked_rule);
    around.devices.iter().map(rule).chain(asked).collect()
}

fn asked_rule(rule: &DeviceRule) -> Result<oci::LinuxDeviceCgroup> {
    let kind = match rule.kind {
        'b' => oci::LinuxDeviceType::B,
        'c' => oci::LinuxDeviceType::C,
        _ => oci::LinuxDeviceType::A,
    };
    let builder = oci::LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access(rule.access.clone());
    // The specification has -1 for any.
    builder.major(rule.major.unwrap_or(-1)).minor(rule.minor.unwrap_or(-1)).build().map_err(bug)
}

fn rule(device: &DeviceNode) -> Result<oci::LinuxDeviceCgroup> {
    oci::LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind(device))
        .major(device.major)
        .minor(device.minor)
        .access(device.access.clone())
        .build()
        .map_err(bug)
}

fn kind(device: &DeviceNode) -> oci::LinuxDeviceType {
    if device.block { oci::LinuxDeviceType::B } else { oci::LinuxDeviceType::C }
}

pub(super) fn nodes(around: &Surroundings) -> Result<Vec<oci::LinuxDevice>> {
    let node = |device: &DeviceNode| {
        oci::LinuxDeviceBuilder::default()
            .path(device.target.clone())
            .typ(kind(device))
            .major(device.major)
            .minor(device.minor)
            .file_mode(device.mode)
            .uid(device.uid)
            .gid(device.gid)
            .build()
            .map_err(bug)
    };
    around.devices.iter().map(node).collect()
}
