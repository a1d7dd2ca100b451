//! What goes on in a container: its processes, what it uses, and that its memory has run out.

use super::Runtime;
use super::record::{Condition, Record};
use crate::cgroup::{Cgroup, Statistics, Watch};
use berth_oci::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Something that a follower of a container's events hears.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Time for numbers.
    Statistics(Box<Statistics>),
    /// The kernel has killed something for want of memory.
    OutOfMemory,
}

/// Follows a container until it ends.
#[derive(Debug)]
pub struct Follower {
    cgroup: Cgroup,
    process: OwnedFd,
    watch: Option<Watch>,
    kills: u64,
    interval: Duration,
    next: Instant,
}

impl Runtime {
    /// The numbers of all its processes.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>> {
        let (_, record) = self.load(id)?;
        record.cgroup.processes()
    }

    /// What it uses now.
    pub fn statistics(&self, id: &str) -> Result<Statistics> {
        Ok(self.alive(id)?.cgroup.statistics())
    }

    /// Follows it, with its numbers this often.
    pub fn follow(&self, id: &str, interval: Duration) -> Result<Follower> {
        let record = self.alive(id)?;
        let process = record.process()?.ok_or_else(|| Error::conflict("container not running"))?;
        let (watch, kills) = (Watch::over(&record.cgroup), record.cgroup.oom_kills());
        Ok(Follower {
            cgroup: record.cgroup,
            process,
            watch,
            kills,
            interval,
            next: Instant::now() + interval,
        })
    }

    fn alive(&self, id: &str) -> Result<Record> {
        let alive = [Condition::Created, Condition::Running, Condition::Paused];
        self.in_condition(id, &alive, "not running")
    }
}

impl Follower {
    /// Waits for the next thing to happen; `None` when the container has ended.
    pub fn wait_for_next(&mut self) -> Result<Option<Happening>> {
        loop {
            if self.cgroup.oom_kills() > self.kills {
                self.kills = self.cgroup.oom_kills();
                return Ok(Some(Happening::OutOfMemory));
            }
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.next = Instant::now() + self.interval;
                return Ok(Some(Happening::Statistics(Box::new(self.cgroup.statistics()))));
            }
            if self.wait(left)? {
                return Ok((self.cgroup.oom_kills() > self.kills).then(|| {
                    self.kills = u64::MAX;
                    Happening::OutOfMemory
                }));
            }
        }
    }

    /// Until something may have happened; whether the container has ended.
    fn wait(&mut self, left: Duration) -> Result<bool> {
        let timeout = Timespec::try_from(left).map_err(|_| Error::invalid("the interval is too long"))?;
        let watched = self.watch.as_ref().map_or(self.process.as_fd(), AsFd::as_fd);
        let mut polled =
            [PollFd::new(&self.process, PollFlags::IN), PollFd::from_borrowed_fd(watched, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let [ended, memory] = polled.map(|fd| !fd.revents().is_empty());
        if let (true, Some(watch)) = (memory, &self.watch) {
            watch.drain();
            // v1 tells before it kills: soon afterwards the count says so.
            self.next = self.next.min(Instant::now() + Duration::from_millis(100));
        }
        Ok(ended)
    }
}
