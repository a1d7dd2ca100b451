//! Limits as files of the v2 hierarchy.

use super::plan::Write;
use super::v1::{pids_max, rdma_writes};
use super::{Hierarchy, Version};
use berth_oci::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

/// The controllers a container's cgroup needs, of those that are there. None in a hybrid, where v1 has them.
pub(super) fn enable(hierarchy: &Hierarchy, resources: &LinuxResources) -> Vec<String> {
    if hierarchy.version == Version::V1 {
        return Vec::new();
    }
    let mut wanted = vec!["cpu", "cpuset", "io", "memory", "pids"];
    let rare = [
        ("hugetlb", resources.hugepage_limits().as_ref().is_some_and(|pages| !pages.is_empty())),
        ("rdma", resources.rdma().as_ref().is_some_and(|devices| !devices.is_empty())),
    ];
    wanted.extend(rare.iter().filter(|(_, is_asked_for)| *is_asked_for).map(|(name, _)| *name));
    wanted.iter().filter(|c| hierarchy.has(c)).map(|c| (*c).to_owned()).collect()
}

/// What to write, in the order in which the kernel accepts it.
pub(super) fn writes(hierarchy: &Hierarchy, resources: &LinuxResources) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let (true, Some(memory)) = (hierarchy.has("memory"), resources.memory()) {
        writes.extend(memory_writes(memory)?);
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
    if let (true, Some(io)) = (hierarchy.has("io"), resources.block_io()) {
        writes.extend(io_writes(io));
    }
    if hierarchy.has("hugetlb") {
        writes.extend(
            resources.hugepage_limits().iter().flatten().map(|pages| {
                Write::new(&format!("hugetlb.{}.max", pages.page_size()), max_or(pages.limit()))
            }),
        );
    }
    if hierarchy.has("rdma") {
        writes.extend(rdma_writes(resources));
    }
    if !hierarchy.controllers.is_empty() {
        let raw = resources.unified().iter().flatten();
        writes.extend(raw.map(|(file, value)| Write::new(file, value)));
    }
    Ok(writes)
}

fn max_or(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

fn memory_writes(memory: &LinuxMemory) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        writes.push(Write::new("memory.max", max_or(limit)));
    }
    if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
        writes.push(Write::optional("memory.swap.max", swap_only(limit, swap)?));
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        writes.push(Write::new("memory.low", max_or(reservation)));
    }
    // v2 has no swappiness a container can set, and no switch for the OOM killer: docker ignores them there too,
    // but says so.
    Ok(writes)
}

/// The specification's "swap" is memory and swap together, as in v1; v2 counts swap alone.
fn swap_only(limit: Option<i64>, both: i64) -> Result<String> {
    match limit {
        _ if both < 0 => Ok("max".into()),
        Some(limit) if limit > 0 && both >= limit => Ok((both - limit).to_string()),
        Some(limit) if limit < 0 => Ok("max".into()),
        _ => Err(Error::invalid(format!(
            "a limit of {both} bytes for memory and swap needs a lower memory limit"
        ))),
    }
}

fn cpu_writes(cpu: &LinuxCpu) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        writes.push(Write::new("cpu.weight", weight_of(shares)));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota = quota.map_or("max".into(), max_or);
        writes.push(Write::new("cpu.max", format_args!("{quota} {}", period.unwrap_or(100_000))));
    }
    writes.extend(cpu.burst().filter(|burst| *burst != 0).map(|burst| Write::new("cpu.max.burst", burst)));
    writes.extend(cpu.idle().filter(|idle| *idle != 0).map(|idle| Write::new("cpu.idle", idle)));
    writes
}

/// v1's shares (2 to 262144, usually 1024) as v2's weight (1 to 10000, usually 100): the curve through (2, 1),
/// (1024, 100) and (262144, 10000) on which low-level runtimes agreed, so that the usual stays the usual.
fn weight_of(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

fn io_writes(io: &LinuxBlockIo) -> Vec<Write> {
    let mut writes = Vec::new();
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        writes.push(Write::optional("io.weight", io_weight(weight)));
    }
    for device in io.weight_device().iter().flatten() {
        let line = |weight| format!("{}:{} {}", device.major(), device.minor(), io_weight(weight));
        writes.extend(device.weight().map(|weight| Write::optional("io.weight", line(weight))));
    }
    let mut throttle = |key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            writes.push(Write::new("io.max", value));
        }
    };
    throttle("rbps", io.throttle_read_bps_device());
    throttle("wbps", io.throttle_write_bps_device());
    throttle("riops", io.throttle_read_iops_device());
    throttle("wiops", io.throttle_write_iops_device());
    writes
}

/// 10..1000 of v1 onto 1..10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_swap_as_v2_counts_them() {
        for (shares, weight) in [(2, 1), (512, 59), (1024, 100), (262_144, 10_000)] {
            assert_eq!(weight_of(shares), weight, "{shares}");
        }
        for (limit, both, swap) in [
            (Some(100), 300, Some("200")),
            (Some(100), 100, Some("0")),
            (Some(100), -1, Some("max")),
            (None, 300, None),
            (Some(100), 50, None),
        ] {
            assert_eq!(swap_only(limit, both).ok().as_deref(), swap, "{limit:?} {both}");
        }
    }
}
