//! What a bundle may not ask for, said before anything is made: nothing in a specification is silently ignored.

use crate::bundle::{Bundle, RootfsMount};
use berth_oci::{Error, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

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
    process(&bundle.spec)?;
    let has_network = bundle
        .spec
        .linux()
        .iter()
        .flat_map(|l| l.namespaces().iter().flatten())
        .any(|n| n.typ() == LinuxNamespaceType::Network && n.path().is_none());
    if bundle.network.is_some() && !has_network {
        return Err(Error::invalid("a container can be connected only in a network namespace of its own"));
    }
    unsupported(&bundle.spec)
}

fn process(spec: &Spec) -> Result<()> {
    let process =
        spec.process().as_ref().ok_or_else(|| Error::invalid("the runtime specification has no process"))?;
    if process.args().as_ref().is_none_or(|args| args.is_empty() || args[0].is_empty()) {
        return Err(Error::invalid("no command specified"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid(format!(
            "the working directory `{}` is invalid, it needs to be an absolute path",
            process.cwd().display()
        )));
    }
    Ok(())
}

fn unsupported(spec: &Spec) -> Result<()> {
    let hooks = spec.hooks().as_ref();
    let linux = spec.linux().as_ref();
    let process = spec.process().as_ref();
    let has_userns = |l: &oci_spec::runtime::Linux| {
        l.namespaces().iter().flatten().any(|n| n.typ() == LinuxNamespaceType::User)
    };
    let refused = [
        ("hooks", hooks.is_some_and(|h| *h != oci_spec::runtime::Hooks::default())),
        ("linux.namespaces of type user", linux.is_some_and(has_userns)),
        (
            "linux.uidMappings",
            linux.is_some_and(|l| l.uid_mappings().as_ref().is_some_and(|m| !m.is_empty())),
        ),
        (
            "linux.gidMappings",
            linux.is_some_and(|l| l.gid_mappings().as_ref().is_some_and(|m| !m.is_empty())),
        ),
        ("linux.netDevices", linux.is_some_and(|l| l.net_devices().as_ref().is_some_and(|d| !d.is_empty()))),
        ("linux.memoryPolicy", linux.is_some_and(|l| l.memory_policy().is_some())),
        ("linux.rootfsPropagation", linux.is_some_and(|l| l.rootfs_propagation().is_some())),
        ("linux.cgroupsPath", linux.is_some_and(|l| l.cgroups_path().is_some())),
        ("linux.intelRdt", linux.is_some_and(|l| l.intel_rdt().is_some())),
        ("linux.mountLabel", linux.is_some_and(|l| l.mount_label().is_some())),
        ("linux.personality", linux.is_some_and(|l| l.personality().is_some())),
        (
            "linux.timeOffsets",
            linux.is_some_and(|l| l.time_offsets().as_ref().is_some_and(|t| !t.is_empty())),
        ),
        ("process.apparmorProfile", process.is_some_and(|p| p.apparmor_profile().is_some())),
        ("process.selinuxLabel", process.is_some_and(|p| p.selinux_label().is_some())),
        ("process.ioPriority", process.is_some_and(|p| p.io_priority().is_some())),
        ("process.scheduler", process.is_some_and(|p| p.scheduler().is_some())),
        ("process.execCPUAffinity", process.is_some_and(|p| p.exec_cpu_affinity().is_some())),
    ];
    match refused.iter().find(|(_, is_set)| *is_set) {
        Some((what, _)) => {
            Err(Error::unsupported(format!("`{what}` of the runtime specification is not supported")))
        }
        None => Ok(()),
    }
}
