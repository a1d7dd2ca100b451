//! How much of the machine a container may use: memory, processors, processes, and per-process limits.
//!
//! Invariant: what [`Resources::checked`] returns is consistent and within what this machine has.

use super::blkio::BlockIo;
use super::size::NANO;
use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Below this a container cannot even start.
const MINIMUM_MEMORY: u64 = 6 * 1024 * 1024;

/// Limits of a container's control group; none means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 means no limit.
    pub memory_swap: Option<i64>,
    /// Bytes that the container should shrink to when memory is scarce.
    pub memory_reservation: Option<u64>,
    /// Thousand-millionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Weight against other containers; 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds in which the quota is counted.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in one period.
    pub cpu_quota: Option<i64>,
    /// Processors that may be used: `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// How readily its memory is swapped out, 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// Whether it waits instead of being killed when its memory is out.
    pub oom_kill_disable: bool,
    /// Disks.
    pub block_io: BlockIo,
}

impl Resources {
    /// The same with docker's default for swap, if it fits together and this machine has it.
    ///
    /// # Errors
    /// Limits contradict each other, are too small to start anything, or ask for more processors than there are.
    pub fn checked(mut self, processors: usize) -> Result<Self> {
        self.memory = self.memory.filter(|m| *m > 0);
        self.memory_swap = self.memory_swap.filter(|s| *s != 0);
        self.memory_reservation = self.memory_reservation.filter(|m| *m > 0);
        self.pids = self.pids.filter(|p| *p > 0);
        self.block_io = self.block_io.checked()?;
        self.check_memory()?;
        self.check_processors(processors)?;
        if let (Some(memory), None) = (self.memory, self.memory_swap) {
            // As much swap as memory, which docker has always given.
            self.memory_swap = Some(i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX));
        }
        Ok(self)
    }

    fn check_memory(&self) -> Result<()> {
        let swap = self.memory_swap.filter(|s| *s > 0).map(i64::cast_unsigned);
        match (self.memory, swap, self.memory_reservation) {
            (Some(memory), ..) if memory < MINIMUM_MEMORY => {
                Err(Error::invalid("Minimum memory limit allowed is 6MB"))
            }
            (Some(memory), Some(swap), _) if swap < memory => {
                Err(Error::invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
                    .hint("--memory-swap is memory and swap together"))
            }
            (None, Some(_), _) => Err(Error::invalid(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            )),
            (_, _, Some(reservation)) if reservation < MINIMUM_MEMORY => {
                Err(Error::invalid("Minimum memory reservation allowed is 6MB"))
            }
            (Some(memory), _, Some(reservation)) if memory < reservation => Err(Error::invalid(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            )),
            _ => Ok(()),
        }
    }

    fn check_processors(&self, processors: usize) -> Result<()> {
        let nano = self.nano_cpus.filter(|n| *n != 0);
        let most = i64::try_from(processors).unwrap_or(i64::MAX).saturating_mul(NANO);
        match nano {
            Some(_) if self.cpu_period.is_some_and(|p| p > 0) => {
                return Err(Error::invalid(
                    "Conflicting options: Nano CPUs and CPU Period cannot both be set",
                ));
            }
            Some(_) if self.cpu_quota.is_some_and(|q| q > 0) => {
                return Err(Error::invalid(
                    "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
                ));
            }
            Some(nano) if !(NANO / 100..=most).contains(&nano) => {
                return Err(Error::invalid(format!(
                    "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
                )));
            }
            _ => {}
        }
        if self.cpu_period.is_some_and(|p| p != 0 && !(1000..=1_000_000).contains(&p)) {
            return Err(Error::invalid(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ));
        }
        if self.cpu_quota.is_some_and(|q| q > 0 && q < 1000) {
            return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
        }
        check_set(self.cpuset_cpus.as_deref(), "cpus")?;
        check_set(self.cpuset_mems.as_deref(), "mems")
    }
}

/// Numbers and ranges: `0-2,4`.
fn check_set(set: Option<&str>, which: &str) -> Result<()> {
    let number = |text: &str| text.parse::<u16>().ok();
    let part = |text: &str| match text.split_once('-') {
        Some((first, last)) => matches!((number(first), number(last)), (Some(f), Some(l)) if f <= l),
        None => number(text).is_some(),
    };
    match set {
        Some(set) if !set.is_empty() && !set.split(',').all(part) => {
            Err(Error::invalid(format!("Invalid value {set} for cpuset {which}: invalid format: {set}")))
        }
        _ => Ok(()),
    }
}

/// A limit of setrlimit(2); -1 means none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which: `nofile`, `core`, …
    pub name: String,
    /// What a process meets.
    pub soft: i64,
    /// How far it may raise that.
    pub hard: i64,
}

impl Ulimit {
    /// The words that `--ulimit` knows.
    pub const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
}

impl FromStr for Ulimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, limits) =
            text.split_once('=').ok_or_else(|| Error::invalid(format!("invalid ulimit argument: {text}")))?;
        if !Self::NAMES.contains(&name) {
            return Err(Error::invalid(format!("invalid ulimit type: {name}"))
                .hint(format!("the types are {}", Self::NAMES.join(", "))));
        }
        let number = |part: &str| {
            let valid = part.parse::<i64>().ok().filter(|n| *n >= -1);
            valid.ok_or_else(|| Error::invalid(format!("`{part}` is not a limit: a number, or -1 for none")))
        };
        let (soft, hard) = match limits.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err(Error::invalid(format!(
                    "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
                )));
            }
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(limits)?, number(limits)?),
        };
        let order = |limit: i64| if limit == -1 { i64::MAX } else { limit };
        match order(soft) > order(hard) {
            true => Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            ))),
            false => Ok(Self { name: name.to_owned(), soft, hard }),
        }
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.soft, self.hard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn limits_fit_together() {
        let memory = |m: u64| Resources { memory: Some(m * MIB), ..Resources::default() };
        let swap = |m: Option<u64>, s: i64| Resources {
            memory: m.map(|m| m * MIB),
            memory_swap: Some(s),
            ..Resources::default()
        };
        let cpus = |nano: i64| Resources { nano_cpus: Some(nano), ..Resources::default() };
        let set = |set: &str| Resources { cpuset_cpus: Some(set.to_owned()), ..Resources::default() };
        for (resources, expected) in [
            (memory(6), Ok(Some(12 * 1024 * 1024))),
            (memory(5), Err("Minimum memory limit allowed is 6MB")),
            (memory(0), Ok(None)),
            (swap(Some(8), -1), Ok(Some(-1))),
            (swap(Some(8), 1), Err("Minimum memoryswap limit should be larger than memory limit, see usage")),
            (
                swap(None, 8 << 20),
                Err("You should always set the Memory limit when using Memoryswap limit, see usage"),
            ),
            (cpus(NANO * 2), Ok(None)),
            (cpus(0), Ok(None)),
            (cpus(NANO * 3), Err("range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available")),
            (cpus(-NANO), Err("range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available")),
            (
                Resources { nano_cpus: Some(NANO), cpu_quota: Some(1000), ..Resources::default() },
                Err("Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
            ),
            (
                Resources { cpu_period: Some(1), ..Resources::default() },
                Err("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
            ),
            (set("0-1,3"), Ok(None)),
            (set("0,a"), Err("Invalid value 0,a for cpuset cpus: invalid format: 0,a")),
            (set("3-1"), Err("Invalid value 3-1 for cpuset cpus: invalid format: 3-1")),
        ] {
            let got = resources.clone().checked(2).map(|r| r.memory_swap).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{resources:?}");
        }
    }

    #[test]
    fn limits_of_a_process() {
        for (text, expected) in [
            ("nofile=1024", "nofile=1024:1024"),
            ("nofile=1024:2048", "nofile=1024:2048"),
            ("core=-1", "core=-1:-1"),
            ("core=0:-1", "core=0:-1"),
            ("nofile", "invalid ulimit argument: nofile"),
            ("files=1", "invalid ulimit type: files"),
            ("nofile=x", "`x` is not a limit: a number, or -1 for none"),
            ("nofile=-2", "`-2` is not a limit: a number, or -1 for none"),
            ("nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            ("nofile=-1:1", "ulimit soft limit must be less than or equal to hard limit: -1 > 1"),
            (
                "nofile=1:2:3",
                "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
            ),
        ] {
            let got = text.parse::<Ulimit>().map_or_else(|e| e.to_string(), |u| u.to_string());
            assert_eq!(got, expected);
        }
    }
}
