//! The namespaces a container's first process is in, as far as the clone that made it did not see to them.

use super::become_program::setup;
use crate::cgroup::Placement;
use crate::ended::OfProcess;
use berth_oci::{AtPath, Context, Error, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxTimeOffset, Spec};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Enters and makes what is left. Cgroups first: the namespace's root is the cgroup we are in when we make it. The
/// mappings of a new user namespace are written by now.
pub(super) fn enter(linux: &Linux, placement: Placement) -> Result<()> {
    placement.join()?;
    if has_new(linux, LinuxNamespaceType::User) {
        become_root()?;
    }
    for namespace in linux.namespaces().iter().flatten() {
        match (namespace.typ(), namespace.path()) {
            (LinuxNamespaceType::Cgroup, None) => berth_sys::namespace::unshare_cgroup().map_err(setup)?,
            (LinuxNamespaceType::Time, None) => new_time(linux.time_offsets().as_ref())?,
            // Our parent entered the first for us (it counts for children only), and the second before any other.
            (LinuxNamespaceType::Pid | LinuxNamespaceType::User, _) | (_, None) => {}
            (kind, Some(path)) => join(kind, path)?,
        }
    }
    if has_new(linux, LinuxNamespaceType::Network) {
        berth_sys::loopback::up().context(|| "cannot bring up the loopback device")?;
    }
    Ok(())
}

/// Whether the container gets a namespace of this kind to itself.
pub(crate) fn has_new(linux: &Linux, kind: LinuxNamespaceType) -> bool {
    linux.namespaces().iter().flatten().any(|n| n.typ() == kind && n.path().is_none())
}

/// In a user namespace with its mappings written: what we make from here on belongs to its root.
pub(crate) fn become_root() -> Result<()> {
    match set_thread_groups(&[]) {
        // Denied for good in a namespace whose maker had no power over groups.
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(setup(error.into())),
    }
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(unmapped)?;
    set_thread_res_uid(uid, uid, uid).map_err(unmapped)
}

fn unmapped(error: Errno) -> Error {
    match error {
        Errno::INVAL => Error::invalid("the mappings of the user namespace have no root")
            .hint("map containerID 0 in both uidMappings and gidMappings"),
        error => setup(error.into()),
    }
}

/// Clocks can be set only before anybody is in the namespace, so it is entered after it is made.
fn new_time(offsets: Option<&HashMap<String, LinuxTimeOffset>>) -> Result<()> {
    berth_sys::namespace::unshare_time().map_err(setup)?;
    let path = "/proc/self/timens_offsets";
    let lines: String = offsets
        .into_iter()
        .flatten()
        .map(|(clock, by)| format!("{clock} {} {}\n", by.secs().unwrap_or(0), by.nanosecs().unwrap_or(0)))
        .collect();
    if !lines.is_empty() {
        fs::write(path, lines).at(path)?;
    }
    join(LinuxNamespaceType::Time, &PathBuf::from("/proc/self/ns/time_for_children"))
}

fn join(kind: LinuxNamespaceType, path: &PathBuf) -> Result<()> {
    let kind = match kind {
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Time => LinkNameSpaceType::Time,
        LinuxNamespaceType::User => LinkNameSpaceType::User,
        LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
        LinuxNamespaceType::Pid => LinkNameSpaceType::ProcessID,
    };
    let file = File::open(path).of_process(path)?;
    move_into_link_name_space(file.as_fd(), Some(kind))
        .map_err(io::Error::from)
        .context(|| format!("cannot join the namespace `{}`", path.display()))
}

/// Host and domain name.
pub(super) fn names(spec: &Spec) -> Result<()> {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        rustix::system::sethostname(name.as_bytes())
            .map_err(io::Error::from)
            .context(|| "cannot set the host name")?;
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(io::Error::from)
            .context(|| "cannot set the domain name")?;
    }
    Ok(())
}
