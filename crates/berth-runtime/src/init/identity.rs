//! Who the program will be: user, groups and capabilities.

use crate::user::{Identity, resolve_user};
use berth_oci::{Context, Error, Result};
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_gid, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;

/// The caller's word, or the specification's numbers.
pub(super) fn resolve(root: BorrowedFd<'_>, user: Option<&str>, process: &Process) -> Result<Identity> {
    let spec = process.user();
    let mut identity = match user {
        Some(text) => with_primary_group(resolve_user(root, text)?),
        // An engine that wants the primary group in the list has put it there.
        None => {
            let home = resolve_user(root, &spec.uid().to_string()).ok().and_then(|found| found.home);
            Identity { uid: spec.uid(), gid: spec.gid(), groups: Vec::new(), home }
        }
    };
    for gid in spec.additional_gids().iter().flatten() {
        if !identity.groups.contains(gid) {
            identity.groups.push(*gid);
        }
    }
    Ok(identity)
}

/// The annotation with which podman asks for `--group-add keep-groups`, of this name because crun had it first.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Whether the program is to have the supplementary groups of whoever called us: because it is asked for, or because a user
/// who has mapped himself alone may not choose any; nobody can name those that he has in there. To be asked while `/proc`
/// is the host's.
pub(super) fn keeps_groups(annotations: Option<&HashMap<String, String>>) -> Result<bool> {
    let is_asked = annotations.and_then(|all| all.get(KEEP_GROUPS)).is_some_and(|value| value == "1");
    let may_choose = berth_sys::users::may_set_groups().context(|| "cannot read `/proc/self/setgroups`")?;
    Ok(is_asked || !may_choose)
}

/// A group that is only the primary one could be left by a set-group-id program: it is in the list too, as docker has
/// it since CVE-2022-36109.
fn with_primary_group(mut identity: Identity) -> Identity {
    if !identity.groups.contains(&identity.gid) {
        identity.groups.insert(0, identity.gid);
    }
    identity
}

/// Becomes that user with those capabilities. Afterwards there is no way back.
pub(super) fn assume(
    identity: &Identity,
    capabilities: Option<&LinuxCapabilities>,
    keep_groups: bool,
) -> Result<()> {
    let none = LinuxCapabilities::default();
    let wanted = capabilities.cloned().unwrap_or_else(|| empty(none));
    let possible = possible();
    limit_bounding(set_of(wanted.bounding()))?;
    // Changing from root to another user clears the capabilities, unless they are to be kept for a moment.
    step(set_keep_capabilities(true), "keep capabilities")?;
    become_user(identity, keep_groups)?;
    step(set_keep_capabilities(false), "keep capabilities")?;
    let sets = CapabilitySets {
        effective: set_of(wanted.effective()) & possible,
        permitted: set_of(wanted.permitted()) & possible,
        inheritable: set_of(wanted.inheritable()) & possible,
    };
    step(set_capabilities(None, sets), "set capabilities")?;
    step(clear_ambient_capability_set(), "clear ambient capabilities")?;
    for capability in ambient(&wanted, possible).iter() {
        step(configure_capability_in_ambient_set(capability, true), "set ambient capabilities")?;
    }
    Ok(())
}

/// The kernel has ambient only what is permitted and inheritable already: capabilities(7).
fn ambient(wanted: &LinuxCapabilities, possible: CapabilitySet) -> CapabilitySet {
    set_of(wanted.ambient()) & set_of(wanted.permitted()) & set_of(wanted.inheritable()) & possible
}

/// Those that [`assume`] leaves out. In a user namespace of its own everything is possible.
pub(crate) fn left_out(wanted: &LinuxCapabilities, is_in_user_namespace: bool) -> Vec<Capability> {
    let possible = if is_in_user_namespace { CapabilitySet::all() } else { possible() };
    let sets = [wanted.bounding(), wanted.effective(), wanted.permitted(), wanted.inheritable()];
    let impossible =
        sets.into_iter().map(set_of).fold(CapabilitySet::empty(), |all, set| all | set) & !possible;
    let all = impossible | (set_of(wanted.ambient()) & !ambient(wanted, possible));
    let is_left_out = |capability: &Capability| set_of(&Some([*capability].into())).intersects(all);
    CAPABILITIES.into_iter().filter(is_left_out).collect()
}

/// The specification's default set is not empty; ours is.
fn empty(capabilities: LinuxCapabilities) -> LinuxCapabilities {
    let mut capabilities = capabilities;
    capabilities
        .set_bounding(None)
        .set_effective(None)
        .set_inheritable(None)
        .set_permitted(None)
        .set_ambient(None);
    capabilities
}

fn become_user(identity: &Identity, keep_groups: bool) -> Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    if !keep_groups {
        step(set_thread_groups(&groups), "set supplementary groups")?;
    }
    step(set_thread_gid(gid), "set the group")?;
    step(set_thread_res_gid(gid, gid, gid), "set the group")?;
    step(set_thread_res_uid(uid, uid, uid), "set the user")
}

fn step(result: rustix::io::Result<()>, what: &str) -> Result<()> {
    result.map_err(io::Error::from).map_err(|e| Error::internal(format!("cannot {what}")).caused_by(e))
}

fn limit_bounding(keep: CapabilitySet) -> Result<()> {
    for capability in possible().iter().filter(|c| !keep.contains(*c)) {
        remove_capability_from_bounding_set(capability)
            .map_err(io::Error::from)
            .context(|| "cannot limit capabilities")?;
    }
    Ok(())
}

/// What can be had at all: known to this kernel, and in our own bounding set.
fn possible() -> CapabilitySet {
    let all = (0..64).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    all.take_while(|c| capability_is_in_bounding_set(*c).is_ok())
        .filter(|c| capability_is_in_bounding_set(*c) == Ok(true))
        .collect()
}

fn set_of(capabilities: &Option<Capabilities>) -> CapabilitySet {
    capabilities.iter().flatten().map(|c| CapabilitySet::from_bits_retain(1 << number(*c))).collect()
}

/// All of them, in the order of the kernel's numbers.
pub(crate) const CAPABILITIES: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

fn number(capability: Capability) -> u32 {
    CAPABILITIES.iter().position(|c| *c == capability).expect("all 41 are in the list") as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_kernels_numbers() {
        for (capability, expected) in [
            (Capability::Chown, CapabilitySet::CHOWN),
            (Capability::SysAdmin, CapabilitySet::SYS_ADMIN),
            (Capability::Setfcap, CapabilitySet::SETFCAP),
            (Capability::CheckpointRestore, CapabilitySet::CHECKPOINT_RESTORE),
        ] {
            assert_eq!(1 << number(capability), expected.bits(), "{capability:?}");
        }
    }

    #[test]
    fn what_cannot_be_ambient_is_left_out() {
        let (chown, kill) = (Capability::Chown, Capability::Kill);
        for (permitted, inheritable, ambient, expected) in [
            (&[chown, kill][..], &[chown, kill][..], &[chown, kill][..], &[][..]),
            (&[chown, kill], &[chown], &[chown, kill], &[kill]),
            (&[kill], &[chown, kill], &[chown, kill], &[chown]),
            (&[], &[], &[kill, chown], &[chown, kill]),
            (&[chown], &[], &[], &[]),
        ] {
            let set = |all: &[Capability]| Some(all.iter().copied().collect());
            let mut wanted = empty(LinuxCapabilities::default());
            wanted.set_permitted(set(permitted)).set_inheritable(set(inheritable)).set_ambient(set(ambient));
            assert_eq!(left_out(&wanted, true), expected, "{wanted:?}");
        }
    }
}
