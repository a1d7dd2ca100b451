//! What a bundle may not ask for, said before anything is made: nothing in a specification is silently ignored.

use crate::bundle::{Bundle, RootfsMount};
use crate::init::{has_new, has_selinux};
use crate::sysctl;
use berth_oci::{Error, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

/// Refuses what we cannot do as asked.
pub(crate) fn bundle(bundle: &Bundle) -> Result<()> {
    let id = &bundle.id;
    if id.is_empty()
        || id.starts_with('.')
        || id.contains(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c))
    {
        return Err(Error::invalid(format!("`{id}` cannot be a container's id")));
    }
    if let RootfsMount::Overlay { lowers, .. } = &bundle.rootfs
        && lowers.is_empty()
    {
        return Err(Error::invalid("an overlay needs at least one lower directory"));
    }
    if bundle.spec.process().is_none() {
        return Err(Error::invalid("the runtime specification has no process"));
    }
    spec(&bundle.spec)?;
    let has_network = bundle.spec.linux().as_ref().is_some_and(|l| has_new(l, LinuxNamespaceType::Network));
    if !bundle.networks.is_empty() && !has_network {
        return Err(Error::invalid("a container can be connected only in a network namespace of its own"));
    }
    if bundle.spec.linux().as_ref().is_some_and(has_devices) {
        return Err(Error::invalid(
            "a container's interfaces come from its networks, not from `linux.netDevices`",
        ));
    }
    if bundle.spec.linux().as_ref().is_some_and(|l| l.cgroups_path().is_some()) {
        return Err(Error::invalid(
            "the container's cgroup comes from the bundle, not from `linux.cgroupsPath`",
        ));
    }
    Ok(())
}

/// Refuses a specification that contradicts itself or asks for what is not there.
pub(crate) fn spec(spec: &Spec) -> Result<()> {
    if let Some(wanted) = spec.process() {
        process(wanted)?;
    }
    if let Some(linux) = spec.linux() {
        namespaces(linux)?;
    }
    names(spec)?;
    sysctl::check(spec)?;
    unsupported(spec)
}

pub(crate) fn process(process: &Process) -> Result<()> {
    if process.args().as_ref().is_none_or(|args| args.is_empty() || args[0].is_empty()) {
        return Err(Error::invalid("no command specified"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid(format!(
            "the working directory `{}` is invalid, it needs to be an absolute path",
            process.cwd().display()
        )));
    }
    let kinds: Vec<_> = process.rlimits().iter().flatten().map(|limit| limit.typ()).collect();
    match kinds.iter().enumerate().find(|(at, kind)| kinds[..*at].contains(kind)) {
        Some((_, kind)) => Err(Error::invalid(format!("`process.rlimits` has {kind} twice"))),
        None => Ok(()),
    }
}

fn namespaces(linux: &Linux) -> Result<()> {
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(|n| n.typ()).collect();
    if let Some((_, kind)) = kinds.iter().enumerate().find(|(at, kind)| kinds[..*at].contains(kind)) {
        return Err(Error::invalid(format!("`linux.namespaces` has {kind} twice")));
    }
    if let Some(relative) =
        linux.namespaces().iter().flatten().filter_map(|n| n.path().as_ref()).find(|p| !p.is_absolute())
    {
        return Err(Error::invalid(format!("the namespace path `{}` is not absolute", relative.display())));
    }
    let mapped = [linux.uid_mappings(), linux.gid_mappings()];
    let mapped = mapped.map(|mappings| mappings.as_ref().is_some_and(|m| !m.is_empty()));
    match (has_new(linux, LinuxNamespaceType::User), kinds.contains(&LinuxNamespaceType::User)) {
        (true, _) if mapped[0] != mapped[1] => Err(Error::invalid(
            "a new user namespace needs both `linux.uidMappings` and `linux.gidMappings`, or neither",
        )),
        (_, false) if mapped != [false, false] => {
            Err(Error::invalid("`linux.uidMappings` and `linux.gidMappings` need a user namespace"))
        }
        _ if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty())
            && !has_new(linux, LinuxNamespaceType::Time) =>
        {
            Err(Error::invalid("`linux.timeOffsets` needs a new time namespace"))
        }
        _ if has_devices(linux) && !kinds.contains(&LinuxNamespaceType::Network) => {
            Err(Error::invalid("`linux.netDevices` needs a network namespace"))
        }
        _ => Ok(()),
    }
}

/// Without a namespace for them they would be the host's.
fn names(spec: &Spec) -> Result<()> {
    let is_own = match spec.linux() {
        Some(linux) => sysctl::is_own(linux, LinuxNamespaceType::Uts, "uts")?,
        None => false,
    };
    let names = [("hostname", spec.hostname()), ("domainname", spec.domainname())];
    match names.iter().find(|(_, name)| name.as_ref().is_some_and(|name| !name.is_empty())) {
        Some((what, _)) if !is_own => {
            Err(Error::invalid(format!("unable to set {what} without a private UTS namespace")))
        }
        _ => Ok(()),
    }
}

fn has_devices(linux: &Linux) -> bool {
    linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())
}

/// What this program does not do. Where there is no SELinux, labels of mounts have no effect.
fn unsupported(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let refused = [
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.mountLabel", has_selinux() && linux.mount_label().as_ref().is_some_and(|l| !l.is_empty())),
    ];
    match refused.iter().find(|(_, is_set)| *is_set) {
        Some((what, _)) => {
            Err(Error::unsupported(format!("`{what}` of the runtime specification is not supported")))
        }
        None => Ok(()),
    }
}
