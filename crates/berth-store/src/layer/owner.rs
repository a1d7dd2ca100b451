//! Whose files this process makes unless it says otherwise.

use crate::overlay::is_of_a_user;
use berth_oci::{AtPath, Error, Result};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::Path;

/// What a new file gets by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) umask: u16,
    /// Nobody else has a number in this user namespace: everything is his.
    pub(super) alone: bool,
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
            alone: is_of_a_user() && berth_sys::users::last_group().at("/proc/self/gid_map")? == 0,
        })
    }

    /// Whether a file of these two has to be given to them.
    pub(super) fn is_foreign(self, uid: u32, gid: u32) -> bool {
        !self.alone && (uid, gid) != (self.uid, self.gid)
    }
}

/// Says which number a user namespace lacks, where that is why the kernel refused an owner.
pub(super) fn given(answer: rustix::io::Result<()>, uid: u32, gid: u32) -> io::Result<()> {
    match answer {
        Err(Errno::INVAL) if is_of_a_user() => Err(Error::unsupported(format!(
            "its owner {uid}:{gid} is beyond the users that you have been given"
        ))
        .hint("give yourself a larger range in /etc/subuid and /etc/subgid, then `berth system reset`")
        .into()),
        answer => answer.map_err(Into::into),
    }
}
