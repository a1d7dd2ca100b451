//! What is known about the end of a container besides its exit code: who asked, which memory, how many processes.
//!
//! Here: the facts, and the reading of the kernel's own words about them. Not here: what they mean to a person.
//! Invariant: nothing is guessed; what is not known is absent.

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

/// The facts of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circumstances {
    /// The signal that its first process died of.
    pub signal: Option<i32>,
    /// The last signal that came through the monitor.
    pub asked: Option<Asked>,
    /// It did not end when it was asked to, and was killed.
    pub lost_patience: bool,
    /// What the kernel killed for want of memory.
    pub memory: Option<OutOfMemory>,
    /// It had run as long as it was allowed to.
    pub overran: bool,
    /// It was killed because its check called it unhealthy.
    pub unhealthy: bool,
    /// The most processes it had at once.
    pub processes: Option<u64>,
    /// Why it could not be started: what to do about it.
    pub hint: Option<String>,
}

/// A signal that somebody asked a monitor to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which.
    pub signal: i32,
    /// When.
    pub at: Timestamp,
    /// Who, by number.
    pub pid: i32,
    /// As which user.
    pub uid: u32,
    /// Who, by words.
    pub command: String,
}

/// What the kernel killed for want of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutOfMemory {
    /// How many processes.
    pub kills: u64,
    /// The name of the last one.
    pub process: Option<String>,
    /// Its number on the host.
    pub pid: Option<i32>,
    /// The most bytes that the container had.
    pub peak: Option<u64>,
    /// How many it may have.
    pub limit: Option<u64>,
    /// Not the container's own limit was reached but that of something around it, or of the machine.
    pub beyond: bool,
}

/// What the kernel's log says of the last process that it killed in the cgroup `name`.
pub(crate) fn last_kill(name: &str) -> Option<Kill> {
    let log = kernel_log()?;
    log.rsplit('\n').find_map(|line| Kill::parse(line, name))
}

/// One line of the kernel's log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) process: String,
    pub(crate) pid: i32,
    pub(crate) beyond: bool,
}

impl Kill {
    /// `oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/a/ID,task_memcg=/a/ID,task=tail,pid=12,uid=0`
    fn parse(line: &str, name: &str) -> Option<Self> {
        let fields = line.split_once("oom-kill:")?.1;
        let field = |key: &str| fields.split(',').find_map(|f| f.strip_prefix(key)?.strip_prefix('='));
        let is_ours = |path: &str| path.split('/').any(|part| part == name);
        if !is_ours(field("task_memcg")?) {
            return None;
        }
        Some(Self {
            process: field("task")?.to_owned(),
            pid: field("pid")?.parse().ok()?,
            beyond: !field("oom_memcg").is_some_and(is_ours),
        })
    }
}

/// Everything that is in the kernel's log now; `None` where we may not read it.
fn kernel_log() -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok()?;
    let mut text = String::new();
    let mut record = [0; 8192];
    loop {
        match rustix::io::read(&file, &mut record) {
            Ok(length) => text.push_str(&String::from_utf8_lossy(&record[..length])),
            // Records that were overwritten while we read.
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::INTR) => {}
            Err(_) => return Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_what_it_killed() {
        let line = |memcg: &str, task: &str| {
            format!(
                "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,{memcg}task_memcg=/berth/{task},task=tail,pid=12,uid=0"
            )
        };
        let kill = |beyond| Some(Kill { process: "tail".into(), pid: 12, beyond });
        for (line, expected) in [
            (line("oom_memcg=/berth/c1,", "c1"), kill(false)),
            (line("oom_memcg=/berth/c1,", "c1/below"), kill(false)),
            (line("oom_memcg=/berth,", "c1"), kill(true)),
            (line("global_oom,", "c1"), kill(true)),
            (line("oom_memcg=/berth/c2,", "c2"), None),
            ("4,1,2,-;something else".to_owned(), None),
        ] {
            assert_eq!(Kill::parse(&line, "c1"), expected, "{line}");
        }
    }
}
