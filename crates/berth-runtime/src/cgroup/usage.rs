//! How much of the machine a container uses now, in v1's files and in v2's.

use super::{Cgroup, Version};
use std::fs;
use std::path::Path;

/// What the kernel has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time since its start.
    pub cpu_ns: u64,
    /// Bytes of memory that could not be had back at once: file pages nobody has touched for a while are not counted.
    pub memory: u64,
    /// How many bytes it may have.
    pub memory_limit: Option<u64>,
    /// Bytes read from disks since its start.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Bytes received from networks.
    pub received: u64,
    /// Bytes sent to them.
    pub sent: u64,
}

impl Cgroup {
    /// What is counted in them; what is not counted on this machine is 0.
    pub(crate) fn usage(&self) -> Usage {
        let (read, written) = self.disk();
        Usage {
            cpu_ns: self.cpu(),
            memory: self.memory_in_use(),
            memory_limit: self.memory_limit(),
            read,
            written,
            processes: self.text("pids.current").and_then(|text| text.trim().parse().ok()).unwrap_or(0),
            ..Usage::default()
        }
    }

    /// The first of its cgroups that has the file.
    fn text(&self, file: &str) -> Option<String> {
        self.dirs().find_map(|dir| fs::read_to_string(dir.join(file)).ok())
    }

    /// Nanoseconds of processor time since its start.
    pub(crate) fn cpu(&self) -> u64 {
        if let Some(text) = self.text("cpuacct.usage") {
            return text.trim().parse().unwrap_or(0);
        }
        self.text("cpu.stat").map_or(0, |text| value(&text, "usage_usec") * 1000)
    }

    fn memory_in_use(&self) -> u64 {
        let Some((dir, version)) = self.memory() else { return 0 };
        let (current, inactive) = match version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let read = |file: &str| fs::read_to_string(Path::new(dir).join(file)).unwrap_or_default();
        let current: u64 = read(current).trim().parse().unwrap_or(0);
        current.saturating_sub(value(&read("memory.stat"), inactive))
    }

    fn disk(&self) -> (u64, u64) {
        if let Some(text) = self.text("blkio.throttle.io_service_bytes_recursive") {
            return v1_disk(&text);
        }
        self.text("io.stat").map_or((0, 0), |text| v2_disk(&text))
    }
}

fn value(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    found.unwrap_or(0)
}

/// `8:0 Read 4096`
fn v1_disk(text: &str) -> (u64, u64) {
    let sum = |what: &str| {
        let bytes = text.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            (words.next()? == what).then(|| words.next()?.parse::<u64>().ok())?
        });
        bytes.sum()
    };
    (sum("Read"), sum("Write"))
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 …`
fn v2_disk(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let numbers = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        numbers.sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

/// Received and sent, of all interfaces but loopback: `/proc/…/net/dev`.
pub(crate) fn network(text: &str) -> (u64, u64) {
    let mut total = (0, 0);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let mut numbers = numbers.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        if name.trim() != "lo" {
            total.0 += numbers.next().unwrap_or(0);
            total.1 += numbers.nth(7).unwrap_or(0);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_in_either_form() {
        let v1 = "254:0 Read 4096\n254:0 Write 100\n254:0 Sync 1\n254:0 Total 9\n8:0 Read 4\n8:0 Write 0\nTotal 9\n";
        assert_eq!(v1_disk(v1), (4100, 100));
        assert_eq!(
            v2_disk("8:0 rbytes=4096 wbytes=5 rios=1 wios=0\n8:16 rbytes=4 wbytes=1 rios=0"),
            (4100, 6)
        );
        assert_eq!(value("total_inactive_anon 3\ntotal_inactive_file 7\n", "total_inactive_file"), 7);
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9\n  eth0: 1200 3 0 0 0 0 0 0 34 1 0 0 0 0 0 0\n";
        assert_eq!(network(dev), (1200, 34));
    }
}
