//! What this runtime says of itself: a specification to begin with, and what it understands.

use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxDeviceCgroupBuilder, LinuxIdMappingBuilder,
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResourcesBuilder, Mount, MountBuilder,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The version of the runtime specification that is implemented.
pub const SPECIFICATION: &str = "1.3.0";

const KINDS: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Cgroup,
];

/// A shell in `rootfs`, well confined.
#[must_use]
pub fn default_spec() -> Spec {
    let few: HashSet<_> = [Capability::AuditWrite, Capability::Kill, Capability::NetBindService].into();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(few.clone())
        .effective(few.clone())
        .permitted(few)
        .inheritable(HashSet::new())
        .ambient(HashSet::new());
    let process = ProcessBuilder::default()
        .terminal(true)
        .user(UserBuilder::default().uid(0u32).gid(0u32).build().expect("both numbers are there"))
        .args(vec!["sh".to_owned()])
        .env(vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "TERM=xterm".to_owned(),
        ])
        .cwd("/")
        .capabilities(capabilities.build().expect("every set is there"))
        .rlimits(Vec::new())
        .no_new_privileges(true);
    let nothing = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().expect("a rule");
    let linux = LinuxBuilder::default()
        .resources(LinuxResourcesBuilder::default().devices(vec![nothing]).build().expect("rules are enough"))
        .namespaces(KINDS.map(namespace).to_vec())
        .masked_paths(words(
            "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats \
             /proc/timer_list /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware \
             /sys/devices/virtual/powercap",
        ))
        .readonly_paths(words("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"));
    let mut spec = SpecBuilder::default()
        .version(SPECIFICATION)
        .root(RootBuilder::default().path("rootfs").readonly(true).build().expect("a path is enough"))
        .process(process.build().expect("all that is needed"))
        .hostname("berth")
        .mounts(mounts())
        .linux(linux.build().expect("nothing is needed"))
        .build()
        .expect("nothing is needed");
    spec.set_hooks(None).set_annotations(None);
    spec
}

/// The same for an ordinary user: he is root in there, and what only the machine's root may give is left out.
#[must_use]
pub fn default_spec_for(uid: u32, gid: u32) -> Spec {
    let mut spec = default_spec();
    let mapping = |id: u32| {
        let builder = LinuxIdMappingBuilder::default().container_id(0u32).host_id(id).size(1u32);
        vec![builder.build().expect("three numbers")]
    };
    if let Some(linux) = spec.linux_mut() {
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Network);
        namespaces.push(namespace(LinuxNamespaceType::User));
        linux.set_namespaces(Some(namespaces)).set_resources(None);
        linux.set_uid_mappings(Some(mapping(uid))).set_gid_mappings(Some(mapping(gid)));
    }
    // With the host's network, the machine's own /sys is all that may be shown.
    let sys = mount(("/sys", "none", "/sys", "rbind nosuid noexec nodev ro"));
    let mut mounts = mounts();
    mounts.retain(|mount| !mount.destination().starts_with("/sys"));
    for mount in &mut mounts {
        let mut options = mount.options().clone().unwrap_or_default();
        options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        mount.set_options(Some(options));
    }
    spec.set_mounts(Some(mounts.into_iter().chain([sys]).collect()));
    spec
}

fn namespace(kind: LinuxNamespaceType) -> LinuxNamespace {
    LinuxNamespaceBuilder::default().typ(kind).build().expect("a kind is enough")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(Into::into).collect()
}

fn mounts() -> Vec<Mount> {
    let rows = [
        ("/proc", "proc", "proc", ""),
        ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
        ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ];
    rows.into_iter().map(mount).collect()
}

fn mount((destination, typ, source, options): (&str, &str, &str, &str)) -> Mount {
    let builder = MountBuilder::default().destination(destination).typ(typ).source(source);
    builder.options(words(options)).build().expect("a destination is enough")
}

/// The document that the specification calls "features".
#[must_use]
pub fn features(version: &str) -> Value {
    let kinds: Vec<_> = KINDS.iter().chain(&[LinuxNamespaceType::User, LinuxNamespaceType::Time]).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPECIFICATION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": crate::mount::option_words(),
        "linux": {
            "namespaces": kinds,
            "capabilities": all_capabilities(),
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "archs": crate::seccomp::architectures(),
                "knownFlags": SECCOMP_FLAGS,
                "supportedFlags": SECCOMP_FLAGS,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {
                "modes": [
                    "MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
                ],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": { "org.berth.version": version },
    })
}

const SECCOMP_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

fn all_capabilities() -> Vec<String> {
    crate::init::CAPABILITIES.iter().map(|c| format!("CAP_{}", screaming(&format!("{c:?}")))).collect()
}

/// `NetAdmin` as `NET_ADMIN`.
fn screaming(name: &str) -> String {
    let parts = name.char_indices().map(|(at, letter)| match letter.is_uppercase() && at > 0 {
        true => format!("_{letter}"),
        false => letter.to_ascii_uppercase().to_string(),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_to_begin_with_is_one_that_we_accept() {
        let text = serde_json::to_string(&default_spec()).unwrap();
        let spec: Spec = serde_json::from_str(&text).unwrap();
        crate::validate::spec(&spec).unwrap();
        assert!(text.contains("\"ociVersion\":\"1.3.0\""), "{text}");
        crate::validate::spec(&default_spec_for(1000, 1000)).unwrap();
    }

    #[test]
    fn features_name_every_capability_as_the_specification_does() {
        let features = features("1");
        let named = features["linux"]["capabilities"].as_array().unwrap();
        assert_eq!(named.len(), 41);
        for name in named {
            serde_json::from_value::<Capability>(name.clone()).unwrap();
        }
    }
}
