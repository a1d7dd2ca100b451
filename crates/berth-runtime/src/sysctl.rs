//! Which of the kernel's settings are a container's own: those of a namespace that it does not share with the host.
//!
//! Not here: setting them. Invariant: what is not known to be a namespace's is the host's, and refused.

use berth_oci::{AtPath, Error, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use rustix::fs::stat;
use std::io;

const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Whether the kernel keeps a setting for each IPC namespace: sysvipc(7), mq_overview(7).
#[must_use]
pub fn is_of_ipc(key: &str) -> bool {
    OF_IPC.contains(&key) || key.starts_with("fs.mqueue.")
}

/// Refuses settings of `linux.sysctl` that would be the host's.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let settings = linux.sysctl().iter().flatten();
    settings.map(|(key, value)| (key.replace('/', "."), value)).try_for_each(|(key, value)| {
        check_one(linux, &key)?;
        let other = spec.domainname().as_ref().filter(|name| key == "kernel.domainname" && *name != value);
        match other {
            Some(name) => {
                Err(Error::invalid(format!("sysctl {key:?} conflicts with the domainname {name:?}")))
            }
            None => Ok(()),
        }
    })
}

fn check_one(linux: &Linux, key: &str) -> Result<()> {
    let refused = |words: &str| Err(Error::invalid(format!("sysctl {key:?} {words}")));
    // Dots and slashes become slashes: with nothing between two of them, another setting is written than is read here.
    if key.split('.').any(str::is_empty) {
        return refused("contains an invalid path");
    }
    if is_of_ipc(key) {
        return match is_own(linux, LinuxNamespaceType::Ipc, "ipc")? {
            true => Ok(()),
            false => refused("is not allowed in the hosts ipc namespace"),
        };
    }
    if key.starts_with("net.") {
        return match is_own(linux, LinuxNamespaceType::Network, "net")? {
            true => Ok(()),
            false => refused("not allowed in host network namespace"),
        };
    }
    match key {
        "kernel.domainname" if is_own(linux, LinuxNamespaceType::Uts, "uts")? => Ok(()),
        "kernel.domainname" => refused("is not allowed in the host uts namespace"),
        "kernel.hostname" => refused("is not allowed as it conflicts with the OCI \"hostname\" field"),
        _ if key.starts_with("user.") && is_own(linux, LinuxNamespaceType::User, "user")? => Ok(()),
        _ => refused("is not in a separate kernel namespace"),
    }
}

/// Whether the container has a namespace of this kind that is not ours, new or joined.
pub(crate) fn is_own(linux: &Linux, kind: LinuxNamespaceType, name: &str) -> Result<bool> {
    let Some(namespace) = linux.namespaces().iter().flatten().find(|n| n.typ() == kind) else {
        return Ok(false);
    };
    let Some(path) = namespace.path() else { return Ok(true) };
    let theirs = stat(path).map_err(io::Error::from).at(path)?;
    let ours = format!("/proc/self/ns/{name}");
    let ours = stat(&ours).map_err(io::Error::from).at(&ours)?;
    Ok((theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceBuilder, SpecBuilder};

    #[test]
    fn only_settings_of_own_namespaces() {
        let namespace = |kind, path: Option<&str>| {
            let builder = LinuxNamespaceBuilder::default().typ(kind);
            path.into_iter().fold(builder, |builder, path| builder.path(path)).build().unwrap()
        };
        let check = |key: &str, namespaces: &[(LinuxNamespaceType, Option<&str>)]| {
            let linux = LinuxBuilder::default()
                .namespaces(namespaces.iter().map(|(kind, path)| namespace(*kind, *path)).collect::<Vec<_>>())
                .sysctl([(key.to_owned(), "1".to_owned())])
                .build()
                .unwrap();
            check(&SpecBuilder::default().linux(linux).build().unwrap()).map_err(|error| error.to_string())
        };
        use LinuxNamespaceType::{Ipc, Network, User, Uts};
        for (key, namespaces, expected) in [
            ("kernel.msgmax", &[(Ipc, None)][..], None),
            ("kernel.msgmax", &[], Some("hosts ipc namespace")),
            ("fs.mqueue.queues_max", &[(Ipc, Some("/proc/self/ns/ipc"))], Some("hosts ipc namespace")),
            ("net.ipv4.ip_forward", &[(Network, None)], None),
            ("net/ipv4/ip_forward", &[(Network, None)], None),
            ("net.ipv4.ip_forward", &[(Network, Some("/proc/self/ns/net"))], Some("host network namespace")),
            ("kernel.domainname", &[(Uts, None)], None),
            ("kernel.domainname", &[], Some("host uts namespace")),
            ("net/../kernel/sysrq", &[(Network, None)], Some("contains an invalid path")),
            ("/net/ipv4/ip_forward", &[(Network, None)], Some("contains an invalid path")),
            (".net.ipv4.ip_forward", &[(Network, None)], Some("contains an invalid path")),
            ("net.ipv4.", &[(Network, None)], Some("contains an invalid path")),
            ("kernel.hostname", &[(Uts, None)], Some("conflicts")),
            ("user.max_user_namespaces", &[(User, None)], None),
            ("user.max_user_namespaces", &[], Some("not in a separate")),
            ("kernel.core_pattern", &[(Ipc, None), (Network, None), (Uts, None)], Some("not in a separate")),
            ("vm.overcommit_memory", &[(User, None)], Some("not in a separate")),
        ] {
            match (check(key, namespaces), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{key}: {error}"),
                (got, _) => panic!("{key} with {namespaces:?}: {got:?}"),
            }
        }
    }
}
