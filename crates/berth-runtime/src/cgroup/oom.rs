//! The kernel's word that memory has run out in a cgroup, as something to wait for.
//!
//! Not here: what it has killed ([`Cgroup::oom_kills`]). v1 tells before it kills, and once.

use super::{Cgroup, Version};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Becomes readable when that happens.
#[derive(Debug)]
pub(crate) struct Watch {
    fd: OwnedFd,
    /// v1 tells of this file only while it is open.
    _watched: Option<File>,
}

impl Watch {
    /// None where the kernel has no way to tell: then it is learnt at the end.
    pub(crate) fn over(cgroup: &Cgroup) -> Option<Self> {
        let (dir, version) = cgroup.memory()?;
        match version {
            Version::V1 => over_v1(dir),
            Version::V2 => over_v2(dir),
        }
        .ok()
    }

    /// What has been told is no longer new.
    pub(crate) fn drain(&self) {
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
