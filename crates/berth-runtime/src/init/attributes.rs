//! What a process is besides its user: how it is scheduled, where its memory lies, what security modules call it.
//!
//! Invariant: whatever is asked for is done or refused, in the words of the runtime specification's field.

use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::schedule::{self, Attributes};
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxIOPriority, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// A name that a security module gives to the program at its `execve`.
#[derive(Debug)]
pub(super) struct Label {
    file: File,
    text: String,
}

impl Label {
    pub(super) fn apply(&self) -> Result<()> {
        (&self.file).write_all(self.text.as_bytes()).context(|| format!("cannot apply `{}`", self.text))
    }
}

/// AppArmor's and SELinux's, opened through the host's `/proc`, because the container's may be anything. On a machine
/// without the module a label has no effect, which is told.
pub(super) fn labels(process: &Process, warnings: &mut Vec<String>) -> Result<Vec<Label>> {
    let apparmor = process.apparmor_profile().as_ref().filter(|profile| !profile.is_empty());
    let selinux = process.selinux_label().as_ref().filter(|label| !label.is_empty());
    let mut labels = Vec::new();
    match apparmor {
        Some(profile) if is_enabled("/sys/module/apparmor/parameters/enabled") => {
            labels.push(Label { file: attribute_file("apparmor/exec")?, text: format!("exec {profile}") });
        }
        Some(profile) => {
            warnings.push(format!("this machine has no AppArmor: profile `{profile}` has no effect"))
        }
        None => {}
    }
    match selinux {
        Some(label) if has_selinux() => {
            labels.push(Label { file: attribute_file("exec")?, text: label.clone() });
        }
        Some(label) => warnings.push(format!("this machine has no SELinux: label `{label}` has no effect")),
        None => {}
    }
    Ok(labels)
}

/// Whether SELinux decides on this machine.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn is_enabled(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.starts_with('Y'))
}

fn attribute_file(name: &str) -> Result<File> {
    let path = format!("/proc/thread-self/attr/{name}");
    let old = "/proc/thread-self/attr/exec";
    let open = |path: &str| File::options().write(true).open(path);
    open(&path).or_else(|_| open(old)).at(&path)
}

/// Policy of the scheduler and priority of input and output.
pub(super) fn for_scheduling(process: &Process) -> Result<()> {
    if let Some(priority) = process.io_priority() {
        schedule::set_io_priority(io_priority(priority)?)
            .context(|| format!("cannot set `process.ioPriority` to {priority:?}"))?;
    }
    if let Some(scheduler) = process.scheduler() {
        schedule::set_attributes(&scheduling(scheduler)?)
            .map_err(|error| cannot_schedule(scheduler, error))?;
    }
    Ok(())
}

fn cannot_schedule(scheduler: &Scheduler, error: io::Error) -> Error {
    let policy = scheduler.policy();
    let is_real_time = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    let is_denied = error.raw_os_error() == Some(libc::EPERM);
    let refused = Error::internal(format!("cannot set `process.scheduler` to {policy}")).caused_by(error);
    match is_real_time && is_denied {
        true => refused.hint(
            "it takes CAP_SYS_NICE and, where cgroup v1 limits real time, a share of it: \
             `linux.resources.cpu.realtimeRuntime`",
        ),
        false => refused,
    }
}

/// The kernel's form: the class above the level.
fn io_priority(priority: &LinuxIOPriority) -> Result<u32> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u32::try_from(priority.priority()).ok().filter(|level| *level < 8);
    let level = level.ok_or_else(|| {
        Error::invalid(format!("`process.ioPriority.priority` is {}, not 0 to 7", priority.priority()))
    })?;
    Ok(class << 13 | level)
}

fn scheduling(scheduler: &Scheduler) -> Result<Attributes> {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(Error::unsupported("Linux has no scheduling policy SCHED_ISO"));
        }
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
    };
    let priority = u32::try_from(scheduler.priority().unwrap_or(0))
        .map_err(|_| Error::invalid("`process.scheduler.priority` is negative"))?;
    Ok(Attributes {
        policy: policy.cast_unsigned(),
        flags: scheduler.flags().iter().flatten().map(flag).fold(0, |all, flag| all | flag),
        nice: scheduler.nice().unwrap_or(0),
        priority,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    })
}

fn flag(flag: &LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// Personality and memory policy.
pub(super) fn for_memory(linux: &Linux) -> Result<()> {
    if let Some(personality) = linux.personality() {
        if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
            return Err(Error::unsupported(
                "`linux.personality.flags` has no meaning in the specification yet",
            ));
        }
        let domain = match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        };
        schedule::set_personality(domain).context(|| "cannot set `linux.personality`")?;
    }
    if let Some(policy) = linux.memory_policy() {
        let nodes = numbers(policy.nodes().as_deref().unwrap_or(""), "linux.memoryPolicy.nodes")?;
        let mode = mode(&policy.mode());
        let flags = policy.flags().iter().flatten().map(mode_flag).fold(0, |all, flag| all | flag);
        schedule::set_memory_policy(mode | flags, &nodes).context(|| "cannot set `linux.memoryPolicy`")?;
    }
    Ok(())
}

fn mode(mode: &MemoryPolicyModeType) -> i32 {
    match mode {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

fn mode_flag(flag: &MemoryPolicyFlagType) -> i32 {
    match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    }
}

/// Only these processors, `0-3,7`; all that there are, without a list.
pub(super) fn use_processors(list: Option<&str>) -> Result<()> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(()) };
    let mut set = CpuSet::new();
    for number in numbers(list, "process.execCPUAffinity")? {
        if number as usize >= CpuSet::MAX_CPU {
            return Err(Error::invalid(format!("`process.execCPUAffinity` names processor {number}")));
        }
        set.set(number as usize);
    }
    sched_setaffinity(None, &set)
        .map_err(io::Error::from)
        .context(|| format!("cannot use only the processors `{list}`"))
}

/// The numbers of a list with ranges.
fn numbers(list: &str, field: &str) -> Result<Vec<u32>> {
    let invalid = || Error::invalid(format!("`{list}` in `{field}` is no list of numbers like `0-3,7`"));
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n < 4096).ok_or_else(invalid);
    let mut all = Vec::new();
    for part in list.split(',').filter(|part| !part.trim().is_empty()) {
        match part.split_once('-') {
            Some((first, last)) => all.extend(number(first)?..=number(last)?),
            None => all.push(number(part)?),
        }
    }
    Ok(all)
}

/// A session keyring of its own, so that the container finds no keys of ours. A machine whose user has too many, or a
/// kernel without any, is no reason not to start.
pub(super) fn new_keyring(name: Option<&str>, warnings: &mut Vec<String>) {
    if let Some(name) = name
        && let Err(error) = berth_sys::keyring::join_new_session(name)
        && error.raw_os_error() != Some(libc::ENOSYS)
    {
        warnings.push(format!("the container has no session keyring of its own: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxIOPriorityBuilder, SchedulerBuilder};

    #[test]
    fn lists_of_processors() {
        for (list, expected) in [
            ("0", Some(vec![0])),
            ("0-2,5", Some(vec![0, 1, 2, 5])),
            ("", Some(vec![])),
            ("a", None),
            ("1-", None),
            ("9999", None),
        ] {
            assert_eq!(numbers(list, "x").ok(), expected, "{list}");
        }
    }

    #[test]
    fn priorities_in_the_kernels_form() {
        let priority =
            |class, level| LinuxIOPriorityBuilder::default().class(class).priority(level).build().unwrap();
        assert_eq!(io_priority(&priority(IOPriorityClass::IoprioClassBe, 4i64)).ok(), Some(2 << 13 | 4));
        assert!(io_priority(&priority(IOPriorityClass::IoprioClassRt, 8i64)).is_err());
        let mut scheduler =
            SchedulerBuilder::default().policy(LinuxSchedulerPolicy::SchedBatch).build().unwrap();
        scheduler.set_nice(Some(5));
        let attributes = scheduling(&scheduler).unwrap();
        assert_eq!((attributes.policy, attributes.nice), (3, 5));
        scheduler.set_policy(LinuxSchedulerPolicy::SchedIso);
        assert!(scheduling(&scheduler).is_err());
    }
}
