//! Processes that a container without a cgroup and without a PID namespace of its own leaves behind.
//!
//! Here: finding them by the mount namespace that they share. Not here: those of any other container, which end with its
//! first process or are in its cgroup. Invariant: nobody is killed whose namespace is not the container's.

use berth_oci::{AtPath, Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

/// Kills all who are in this mount namespace, and waits until they have left it.
pub(super) fn kill(mounts: &File) -> Result<()> {
    let theirs = mounts.metadata().at("/proc/self/ns/mnt")?.ino();
    let deadline = Instant::now() + PATIENCE;
    // Whoever is born meanwhile is found the next time.
    while kill_once(theirs)? > 0 {
        if Instant::now() > deadline {
            return Err(Error::unavailable("processes of the container do not end"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// How many there were.
fn kill_once(mounts: u64) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc").at("/proc")? {
        let name = entry.at("/proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        // Before its namespace is looked at, so that it is this process which is killed.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let place = format!("/proc/{}/ns/mnt", pid.as_raw_nonzero());
        if fs::metadata(&place).is_ok_and(|found| found.ino() == mounts) {
            count += 1;
            match pidfd_send_signal(&process, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(std::io::Error::from(error)).at(&place),
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn all_in_a_namespace_are_killed_and_nobody_else() {
        let script = "sleep 1000 & echo ready; wait";
        let mut inside = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        inside.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        let mounts = File::open(format!("/proc/{}/ns/mnt", inside.id())).unwrap();
        kill(&mounts).unwrap();
        assert!(!inside.wait().unwrap().success());
        assert_eq!(kill_once(mounts.metadata().unwrap().ino()).unwrap(), 0);
    }
}
