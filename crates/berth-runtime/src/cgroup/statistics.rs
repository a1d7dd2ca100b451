//! Everything that is counted about a container, in the form in which runc's `events` tells it.
//!
//! Not here: how it is shown. What this machine does not count is 0, or absent where that would mislead.

use super::group::number;
use super::{Cgroup, Version};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Processor time.
    pub cpu: Processor,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Processes,
    /// Disks.
    pub blkio: Disks,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processor {
    /// What was used.
    pub usage: ProcessorUsage,
    /// What a limit has taken away.
    pub throttling: Throttling,
}

/// Processor time that was used, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessorUsage {
    /// By the programs and the kernel for them.
    pub total: u64,
    /// On each processor; v2 does not count that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// By the kernel.
    pub kernel: u64,
    /// By the programs.
    pub user: u64,
}

/// How often the limit of processor time was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which something ran.
    pub periods: u64,
    /// Those in which it had to wait.
    pub throttled_periods: u64,
    /// For how many nanoseconds.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Pages of files.
    pub cache: u64,
    /// Memory.
    pub usage: Amount,
    /// Memory and swap together.
    pub swap: Amount,
    /// The kernel's own numbers by its own names.
    pub raw: BTreeMap<String, u64>,
}

/// A number with its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// At most.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// The most there has been.
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processes {
    /// Now.
    pub current: u64,
    /// At most; 0 without a limit.
    pub limit: u64,
}

/// What disks did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disks {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<DiskEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<DiskEntry>,
}

/// One number of one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskEntry {
    /// The disk.
    pub major: u64,
    /// The disk.
    pub minor: u64,
    /// `Read`, `Write`, …
    pub op: String,
    /// How much.
    pub value: u64,
}

impl Cgroup {
    /// What is counted in them now.
    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            cpu: self.processor(),
            memory: self.memory_statistics(),
            pids: self.pids(),
            blkio: self.disks(),
        }
    }

    fn with_file(&self, file: &str) -> Option<PathBuf> {
        self.dirs().map(|dir| dir.join(file)).find(|path| path.exists())
    }

    fn content(&self, file: &str) -> String {
        self.with_file(file).and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }

    fn processor(&self) -> Processor {
        let usage = if self.with_file("cpuacct.usage").is_some() {
            let percpu = self.content("cpuacct.usage_percpu");
            Processor::v1(&self.content("cpuacct.usage"), &percpu, self)
        } else {
            let stat = pairs(&self.content("cpu.stat"));
            let ns = |name: &str| stat.get(name).copied().unwrap_or(0) * 1000;
            ProcessorUsage {
                total: ns("usage_usec"),
                percpu: Vec::new(),
                kernel: ns("system_usec"),
                user: ns("user_usec"),
            }
        };
        let stat = pairs(&self.content("cpu.stat"));
        let count = |name: &str| stat.get(name).copied().unwrap_or(0);
        let throttled_time = match stat.get("throttled_time") {
            Some(ns) => *ns,
            None => count("throttled_usec") * 1000,
        };
        let throttling = Throttling {
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_time,
        };
        Processor { usage, throttling }
    }

    fn memory_statistics(&self) -> Memory {
        let Some((dir, version)) = self.memory() else { return Memory::default() };
        let raw = pairs(&fs::read_to_string(dir.join("memory.stat")).unwrap_or_default());
        let cache = raw.get(if version == Version::V1 { "cache" } else { "file" }).copied().unwrap_or(0);
        let (usage, swap) = match version {
            Version::V1 => (v1_amount(dir, "memory"), v1_amount(dir, "memory.memsw")),
            Version::V2 => v2_amounts(dir),
        };
        Memory { cache, usage, swap, raw }
    }

    fn pids(&self) -> Processes {
        let read = |file: &str| self.content(file).trim().parse().unwrap_or(0);
        Processes { current: read("pids.current"), limit: read("pids.max") }
    }

    fn disks(&self) -> Disks {
        if self.with_file("blkio.throttle.io_service_bytes_recursive").is_some() {
            return Disks {
                io_service_bytes_recursive: v1_disks(
                    &self.content("blkio.throttle.io_service_bytes_recursive"),
                ),
                io_serviced_recursive: v1_disks(&self.content("blkio.throttle.io_serviced_recursive")),
            };
        }
        let stat = self.content("io.stat");
        Disks {
            io_service_bytes_recursive: v2_disks(&stat, [("rbytes", "Read"), ("wbytes", "Write")]),
            io_serviced_recursive: v2_disks(&stat, [("rios", "Read"), ("wios", "Write")]),
        }
    }
}

impl Processor {
    /// v1 counts user and kernel in ticks of a hundredth of a second.
    fn v1(usage: &str, percpu: &str, cgroup: &Cgroup) -> ProcessorUsage {
        const TICK_NS: u64 = 10_000_000;
        let ticks = pairs(&cgroup.content("cpuacct.stat"));
        let ns = |name: &str| ticks.get(name).copied().unwrap_or(0) * TICK_NS;
        ProcessorUsage {
            total: usage.trim().parse().unwrap_or(0),
            percpu: percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            kernel: ns("system"),
            user: ns("user"),
        }
    }
}

/// `name value` on each line.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn v1_amount(dir: &Path, prefix: &str) -> Amount {
    let read = |file: &str| number(&dir.join(format!("{prefix}.{file}"))).unwrap_or(0);
    Amount {
        limit: read("limit_in_bytes"),
        usage: read("usage_in_bytes"),
        max: read("max_usage_in_bytes"),
        failcnt: read("failcnt"),
    }
}

/// v2 counts swap alone; runc tells it together with memory. `max` is no limit.
fn v2_amounts(dir: &Path) -> (Amount, Amount) {
    let read = |file: &str| number(&dir.join(file)).unwrap_or(0);
    let limit = |file: &str| number(&dir.join(file)).unwrap_or(u64::MAX);
    let events = pairs(&fs::read_to_string(dir.join("memory.events")).unwrap_or_default());
    let usage = Amount {
        limit: limit("memory.max"),
        usage: read("memory.current"),
        max: read("memory.peak"),
        failcnt: events.get("max").copied().unwrap_or(0),
    };
    let swap = Amount {
        limit: limit("memory.swap.max").saturating_add(usage.limit),
        usage: read("memory.swap.current") + usage.usage,
        max: read("memory.swap.peak") + usage.max,
        failcnt: 0,
    };
    (usage, swap)
}

/// `8:0 Read 4096`, and a line `Total …` at the end.
fn v1_disks(text: &str) -> Vec<DiskEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(DiskEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, op, value })
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 …`
fn v2_disks(text: &str, names: [(&str, &str); 2]) -> Vec<DiskEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|word| word.split_once(':')) else { continue };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let op = names.iter().find(|(known, _)| *known == name).map(|(_, op)| *op);
            if let (Some(op), Ok(major), Ok(minor), Ok(value)) =
                (op, major.parse(), minor.parse(), value.parse())
            {
                entries.push(DiskEntry { major, minor, op: op.to_owned(), value });
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_in_either_form() {
        let entry = |op: &str, value| DiskEntry { major: 8, minor: 16, op: op.into(), value };
        assert_eq!(
            v1_disks("8:16 Read 4096\n8:16 Total 4096\nTotal 4096\n"),
            [entry("Read", 4096), entry("Total", 4096)]
        );
        let stat = "8:16 rbytes=4 wbytes=5 rios=1 wios=2 dbytes=0\n";
        assert_eq!(
            v2_disks(stat, [("rbytes", "Read"), ("wbytes", "Write")]),
            [entry("Read", 4), entry("Write", 5)]
        );
        assert_eq!(v2_disks("8:16\nnonsense\n", [("rios", "Read"), ("wios", "Write")]), []);
    }

    #[test]
    fn words_that_readers_of_events_know() {
        let mut statistics = Statistics::default();
        statistics.blkio.io_service_bytes_recursive.push(DiskEntry::default());
        let text = serde_json::to_string(&statistics).unwrap();
        for word in [
            "\"throttledPeriods\":0",
            "\"ioServiceBytesRecursive\":[",
            "\"failcnt\":0",
            "\"pids\":{\"current\":0",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
