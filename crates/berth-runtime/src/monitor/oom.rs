//! Noticing that the kernel kills something for want of memory, when it does so.

use super::Monitor;
use crate::cgroup::{Cgroup, Version};
use crate::circumstances::OutOfMemory;
use crate::state;
use berth_oci::Result;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// So often, and so long after each other: who waits for memory on a loaded machine can take seconds to die.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// Becomes readable when that happens.
#[derive(Debug)]
pub(super) struct Watch {
    fd: OwnedFd,
    /// v1 tells of this file only while it is open.
    _watched: Option<File>,
}

impl Watch {
    /// None where the kernel has no way to tell: then it is learnt at the end.
    pub(super) fn over(cgroup: &Cgroup) -> Option<Self> {
        let (dir, version) = cgroup.memory()?;
        match version {
            Version::V1 => over_v1(dir),
            Version::V2 => over_v2(dir),
        }
        .ok()
    }

    fn drain(&self) {
        let mut bytes = [0; 4096];
        // One read empties an eventfd; what is left of inotify's queue wakes us again.
        let _ = rustix::io::read(&self.fd, &mut bytes);
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn over_v1(dir: &Path) -> io::Result<Watch> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let watched = File::open(dir.join("memory.oom_control"))?;
    fs::write(dir.join("cgroup.event_control"), format!("{} {}", fd.as_raw_fd(), watched.as_raw_fd()))?;
    Ok(Watch { fd, _watched: Some(watched) })
}

fn over_v2(dir: &Path) -> io::Result<Watch> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, dir.join("memory.events"), inotify::WatchFlags::MODIFY)?;
    Ok(Watch { fd, _watched: None })
}

impl Monitor {
    /// v1 wakes us before it kills, and not again afterwards: where nothing is counted yet, we look a little later.
    pub(super) fn memory_ran_out(&mut self) -> Result<()> {
        if let Some(oom) = &self.oom {
            oom.drain();
        }
        self.due.memory = Some((Instant::now(), LOOKS));
        Ok(())
    }

    /// Looks whether the kernel has killed by now.
    pub(super) fn look_for_kills(&mut self, looks: u32) -> Result<()> {
        let known = self.kills();
        self.note_oom_kills()?;
        if self.kills() == known && looks > 0 {
            self.due.memory = Some((Instant::now() + PAUSE, looks - 1));
        }
        Ok(())
    }

    fn kills(&self) -> u64 {
        self.state.circumstances.memory.as_ref().map_or(0, |memory| memory.kills)
    }

    /// Writes down what was killed since the last time.
    pub(super) fn note_oom_kills(&mut self) -> Result<()> {
        let kills = self.cgroup.oom_kills();
        if kills <= self.kills() {
            return Ok(());
        }
        self.state.oom_killed = true;
        self.state.circumstances.memory.get_or_insert_with(OutOfMemory::default).kills = kills;
        self.tell("oom", &[]);
        state::write(&self.bundle.dir, &self.state)
    }
}
