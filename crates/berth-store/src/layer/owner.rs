//! Whose files this process makes unless it says otherwise.

use berth_oci::{AtPath, Error, Result};
use std::fs;
use std::path::Path;

/// What a new file gets by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) umask: u16,
}

impl Owner {
    /// The umask is read, not set and reset: other threads make files, too.
    pub(super) fn of_process() -> Result<Self> {
        let path = Path::new("/proc/self/status");
        let status = fs::read_to_string(path).at(path)?;
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|text| u16::from_str_radix(text.trim(), 8).ok());
        Ok(Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: umask.ok_or_else(|| Error::internal("`/proc/self/status` does not tell the umask"))?,
        })
    }
}
