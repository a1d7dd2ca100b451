//! User namespaces: which of its users and groups are which of ours.

use berth_oci::{AtPath, Context, Result};
use berth_sys::process::{Cloned, clone3, exit_now};
use oci_spec::runtime::LinuxIdMapping;
use rustix::process::{
    Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_parent_process_death_signal, waitid,
};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The mappings of one namespace, in the kernel's text form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mappings {
    uids: String,
    gids: String,
    root: Option<(u32, u32)>,
}

impl Mappings {
    pub(crate) fn new(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Self {
        let root = root(uids).zip(root(gids));
        Self { uids: text(uids), gids: text(gids), root }
    }

    /// Whose user and group the namespace's root is.
    pub(crate) fn root(&self) -> Option<(u32, u32)> {
        self.root
    }

    /// Everybody is who they are: a namespace that only takes away powers over what is not in it.
    pub(crate) fn identity() -> Result<Self> {
        let same = |file: &str| -> Result<String> {
            let path = format!("/proc/self/{file}");
            let text = fs::read_to_string(&path).at(&path)?;
            let line = |line: &str| {
                let mut fields = line.split_whitespace();
                let (inside, size) = (fields.next()?, fields.nth(1)?);
                Some(format!("{inside} {inside} {size}\n"))
            };
            Ok(text.lines().filter_map(line).collect())
        };
        Ok(Self { uids: same("uid_map")?, gids: same("gid_map")?, root: Some((0, 0)) })
    }

    /// Gives them to the process `pid`, which has just got a namespace.
    pub(crate) fn write(&self, pid: i32) -> Result<()> {
        for (file, text) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = format!("/proc/{pid}/{file}");
            fs::write(&path, text)
                .at(&path)
                .map_err(|error| error.hint(format!("the mappings are `{}`", text.trim())))?;
        }
        Ok(())
    }

    /// A namespace with them and nobody in it.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        let doing = || "cannot make a user namespace";
        match clone3(libc::CLONE_NEWUSER as u64, None).context(doing)? {
            Cloned::Child => {
                if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
                    exit_now(1);
                }
                loop {
                    rustix::event::pause();
                }
            }
            Cloned::Parent { pid, pidfd } => {
                let path = format!("/proc/{pid}/ns/user");
                let namespace = self.write(pid).and_then(|()| Ok(File::open(&path).at(&path)?.into()));
                pidfd_send_signal(&pidfd, Signal::KILL).map_err(io::Error::from).context(doing)?;
                waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                    .map_err(io::Error::from)
                    .context(doing)?;
                namespace
            }
        }
    }
}

fn text(mappings: &[LinuxIdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size())).collect()
}

fn root(mappings: &[LinuxIdMapping]) -> Option<u32> {
    mappings.iter().find(|m| m.container_id() == 0 && m.size() > 0).map(LinuxIdMapping::host_id)
}
