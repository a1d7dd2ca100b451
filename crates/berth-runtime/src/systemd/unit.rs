//! A container's cgroup as one of systemd's units: its name, where it lies, and its limits as properties.
//!
//! Here is what can be said without asking systemd. Source: systemd.resource-control(5), and the form
//! `slice:prefix:name` that engines use.

use super::message::Value;
use crate::cgroup::Write;
use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};

/// A unit that is a container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// `docker-4f….scope`
    pub(crate) name: String,
    /// `system.slice`; empty for a unit that is a slice itself.
    pub(crate) slice: String,
}

impl Unit {
    /// Of `linux.cgroupsPath` in the form `slice:prefix:name`; without a path, of the container's own name.
    pub(crate) fn of(path: &str, id: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::invalid(format!("`linux.cgroupsPath` is `{path}`: {why}"))
                .hint("for systemd it has the form `slice:prefix:name`, like `system.slice:docker:web`")
        };
        let (slice, prefix, name) = match path.split(':').collect::<Vec<_>>()[..] {
            [""] => ("", "berth", id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => return Err(invalid("it has not three parts")),
        };
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c));
        if name.is_empty() || ![slice, prefix, name].into_iter().all(is_word) {
            return Err(invalid("its parts are not names of units"));
        }
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        expand(slice).ok_or_else(|| invalid("its first part is no slice"))?;
        Ok(match (name.ends_with(".slice"), prefix) {
            (true, _) => Self { name: name.into(), slice: String::new() },
            (false, "") => Self { name: format!("{name}.scope"), slice: slice.into() },
            (false, prefix) => Self { name: format!("{prefix}-{name}.scope"), slice: slice.into() },
        })
    }

    /// From the hierarchy's root: parent, and own name.
    pub(crate) fn place(&self) -> (String, String) {
        if self.slice.is_empty() {
            let path = expand(&self.name).unwrap_or_else(|| format!("/{}", self.name));
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &self.name));
            return (if parent.is_empty() { "/".into() } else { parent.into() }, name.into());
        }
        (expand(&self.slice).unwrap_or_default(), self.name.clone())
    }

    /// What it is when it begins, with this process in it.
    pub(super) fn properties(&self, id: &str, process: u32, writes: &[Write]) -> Vec<(&'static str, Value)> {
        let mut properties = vec![("Description", Value::Text(format!("container {id}")))];
        if !self.slice.is_empty() {
            properties.push(("Slice", Value::Text(self.slice.clone())));
            properties.push(("Delegate", Value::Whether(true)));
            properties.push(("PIDs", Value::Processes(vec![process])));
        }
        for accounting in ["MemoryAccounting", "CPUAccounting", "TasksAccounting", "IOAccounting"] {
            properties.push((accounting, Value::Whether(true)));
        }
        properties.push(("DefaultDependencies", Value::Whether(false)));
        properties.extend(limits(writes));
        properties
    }
}

/// `a-b-c.slice` lies in `a-b.slice`, which lies in `a.slice`; `-.slice` is the root.
fn expand(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some("/".into());
    }
    if name.split('-').any(str::is_empty) {
        return None;
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Some(ends.map(|end| format!("/{}.slice", &name[..end])).collect())
}

/// The limits in systemd's words: it writes its own into a unit's cgroup whenever it is reloaded, so that they have to
/// be the same as ours.
pub(super) fn limits(writes: &[Write]) -> Vec<(&'static str, Value)> {
    writes.iter().flat_map(|write| limit(&write.file, &write.value)).collect()
}

fn limit(file: &str, value: &str) -> Vec<(&'static str, Value)> {
    let number = || Value::Number(if value == "max" { u64::MAX } else { value.parse().unwrap_or(u64::MAX) });
    match file {
        "memory.max" => vec![("MemoryMax", number())],
        "memory.low" => vec![("MemoryLow", number())],
        "memory.swap.max" => vec![("MemorySwapMax", number())],
        "pids.max" => vec![("TasksMax", number())],
        "cpu.weight" => vec![("CPUWeight", number())],
        "cpu.max" => quota(value),
        "cpuset.cpus" => bits(value).map(|bits| ("AllowedCPUs", Value::Bits(bits))).into_iter().collect(),
        "cpuset.mems" => {
            bits(value).map(|bits| ("AllowedMemoryNodes", Value::Bits(bits))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// `quota period` in microseconds, as processor time in each second, which systemd rounds to hundredths.
fn quota(value: &str) -> Vec<(&'static str, Value)> {
    let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
    let period: u64 = period.parse().unwrap_or(100_000).max(1);
    let per_second = match quota.parse::<u64>() {
        Ok(quota) => (u128::from(quota) * 1_000_000).div_ceil(u128::from(period)).next_multiple_of(10_000),
        Err(_) => u128::from(u64::MAX),
    };
    let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    vec![("CPUQuotaPeriodUSec", Value::Number(period)), ("CPUQuotaPerSecUSec", Value::Number(per_second))]
}

/// `0-3,7` as a bit for each number.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than any machine has.
    const MOST: usize = 8192;
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        for number in first..=last.min(MOST) {
            bits.resize(bits.len().max(number / 8 + 1), 0);
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_systemds_form() {
        for (path, expected) in [
            ("system.slice:docker:web", Some(("/system.slice", "docker-web.scope"))),
            (":docker:web", Some(("/system.slice", "docker-web.scope"))),
            ("a-b-c.slice::web", Some(("/a.slice/a-b.slice/a-b-c.slice", "web.scope"))),
            ("-.slice:p:web", Some(("/", "p-web.scope"))),
            ("user.slice:p:a-b.slice", Some(("/a.slice", "a-b.slice"))),
            ("", Some(("/system.slice", "berth-id.scope"))),
            ("/docker/web", None),
            ("a:b", None),
            ("a:b:c", None),
            ("a--b.slice:b:c", None),
            ("a.slice:../..:c", None),
            ("a.slice:b:", None),
        ] {
            let place = Unit::of(path, "id").ok().map(|unit| unit.place());
            assert_eq!(place, expected.map(|(a, b)| (a.to_owned(), b.to_owned())), "{path}");
        }
    }

    #[test]
    fn limits_in_systemds_words() {
        for (file, value, expected) in [
            ("memory.max", "1048576", vec![("MemoryMax", Value::Number(1 << 20))]),
            ("memory.swap.max", "max", vec![("MemorySwapMax", Value::Number(u64::MAX))]),
            (
                "cpu.max",
                "50000 100000",
                vec![
                    ("CPUQuotaPeriodUSec", Value::Number(100_000)),
                    ("CPUQuotaPerSecUSec", Value::Number(500_000)),
                ],
            ),
            (
                "cpu.max",
                "max 100000",
                vec![
                    ("CPUQuotaPeriodUSec", Value::Number(100_000)),
                    ("CPUQuotaPerSecUSec", Value::Number(u64::MAX)),
                ],
            ),
            ("cpuset.cpus", "0-1,9", vec![("AllowedCPUs", Value::Bits(vec![3, 2]))]),
            ("io.weight", "5", vec![]),
        ] {
            assert_eq!(limit(file, value), expected, "{file} {value}");
        }
    }
}
