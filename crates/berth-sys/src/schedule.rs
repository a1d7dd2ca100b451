//! What a process asks of the scheduler, the memory and the emulation of older systems, for itself.

use crate::check;
use std::io;

/// What `sched_setattr` is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the ordinary policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for the deadline policy.
    pub runtime: u64,
    /// Nanoseconds, for the deadline policy.
    pub deadline: u64,
    /// Nanoseconds, for the deadline policy.
    pub period: u64,
}

/// `struct sched_attr` in its second version, since Linux 5.3; an older kernel takes it while what it does not know is 0.
#[repr(C)]
struct KernelAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    utilization_min: u32,
    utilization_max: u32,
}

/// How this thread is scheduled from now on.
pub fn set_attributes(attributes: &Attributes) -> io::Result<()> {
    let kernel = KernelAttributes {
        size: size_of::<KernelAttributes>() as u32,
        policy: attributes.policy,
        flags: attributes.flags,
        nice: attributes.nice,
        priority: attributes.priority,
        runtime: attributes.runtime,
        deadline: attributes.deadline,
        period: attributes.period,
        utilization_min: 0,
        utilization_max: 0,
    };
    // SAFETY: a struct that says its own size; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const kernel, 0) };
    check(result).map(drop)
}

/// The priority of this thread's input and output: a class above bit 13, a level below.
pub fn set_io_priority(priority: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: three numbers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
    check(result).map(drop)
}

/// Which system's conventions this process follows.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: a number; the domains that change how memory is laid out count from the next execve on.
    let result = unsafe { libc::personality(persona.into()) };
    check(result.into()).map(drop)
}

/// Where this thread's memory comes from: `MPOL_*` and the nodes it is about.
pub fn set_memory_policy(mode: i32, nodes: &[u32]) -> io::Result<()> {
    let bits = libc::c_ulong::BITS;
    let words = nodes.iter().max().map_or(0, |last| last / bits + 1);
    let mut mask: Vec<libc::c_ulong> = vec![0; words as usize];
    for node in nodes {
        mask[(node / bits) as usize] |= 1 << (node % bits);
    }
    // The kernel counts one bit fewer than it is told.
    let count = libc::c_ulong::from(words * bits + u32::from(words > 0));
    let words = if mask.is_empty() { std::ptr::null() } else { mask.as_ptr() };
    // SAFETY: as many words as `count` says, or a null pointer; the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, words, count) };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_what_anybody_may_ask_for() {
        std::thread::spawn(|| {
            set_attributes(&Attributes { policy: 3, nice: 1, ..Attributes::default() }).unwrap();
            set_io_priority(2 << 13 | 7).unwrap();
            set_memory_policy(0, &[]).unwrap();
            assert!(set_attributes(&Attributes { policy: 99, ..Attributes::default() }).is_err());
        })
        .join()
        .unwrap();
    }
}
