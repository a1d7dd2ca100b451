//! A docker-like bundle around a real busybox, in a temporary directory of its own.

use berth_runtime::{Bundle, Log, RootfsMount, Seccomp, Stdin};
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, Mount,
    MountBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What every busybox in these tests is called by.
const APPLETS: &str = "awk cat chmod cp date dd echo env false find grep head hostname id ip kill ln ls mkdir mknod \
    mount nproc ps reboot readlink rm seq sh sleep sort stat stty sysctl tail test touch tr true tty ulimit umount \
    unshare wc whoami yes";

/// A static busybox of this machine.
pub(crate) fn busybox() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/busybox");
    let bytes = fs::read(&path).ok()?;
    // A dynamic one names its loader in the first page.
    let dynamic = bytes[..bytes.len().min(4096)].windows(7).any(|w| w == b"/lib64/");
    (!dynamic).then_some(path)
}

/// A directory that is a root file system.
pub(crate) fn make_rootfs(dir: &Path, busybox: &Path) {
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "data"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::copy(busybox, dir.join("bin/busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/data:/bin/sh\n").unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\nweb:x:33:\nvideo:x:44:web\n").unwrap();
}

const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// A process with docker's capabilities.
pub(crate) fn process(arguments: &[&str]) -> Process {
    let set: std::collections::HashSet<_> = CAPABILITIES.into_iter().collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()
        .unwrap();
    ProcessBuilder::default()
        .args(arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
        .env(vec!["PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin".to_owned()])
        .cwd("/")
        .user(UserBuilder::default().uid(0u32).gid(0u32).build().unwrap())
        .capabilities(capabilities)
        .rlimits(Vec::new())
        .no_new_privileges(false)
        .build()
        .unwrap()
}

/// One mount of the specification.
pub(crate) fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(destination)
        .typ(typ)
        .source(source)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
        .build()
        .unwrap()
}

/// What docker mounts.
pub(crate) fn mounts() -> Vec<Mount> {
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
    ]
}

fn strings(text: &str) -> Vec<String> {
    text.split_whitespace().map(Into::into).collect()
}

/// A specification as docker writes it.
pub(crate) fn spec(arguments: &[&str]) -> Spec {
    let kinds = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Cgroup,
    ];
    let namespaces: Vec<_> =
        kinds.into_iter().map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().unwrap()).collect();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .masked_paths(strings(
            "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
             /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware",
        ))
        .readonly_paths(strings("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"))
        .build()
        .unwrap();
    let mut spec = SpecBuilder::default()
        .root(RootBuilder::default().path("rootfs").readonly(false).build().unwrap())
        .process(process(arguments))
        .mounts(mounts())
        .hostname("berth")
        .linux(linux)
        .build()
        .unwrap();
    spec.set_hooks(None);
    spec
}

/// A bundle whose everything is below `dir`; the layer is `lower`.
pub(crate) fn bundle(dir: &Path, lower: &Path, exe: &Path, id: &str, arguments: &[&str]) -> Bundle {
    for name in ["state", "upper", "work"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    Bundle {
        id: id.into(),
        dir: dir.join("state"),
        run_dir: dir.join("run"),
        exe: exe.into(),
        runtime: None,
        spec: spec(arguments),
        parts: Default::default(),
        layers: Default::default(),
        memory: None,
        rootfs: RootfsMount::Overlay {
            lowers: vec![lower.into()],
            upper: dir.join("upper"),
            work: dir.join("work"),
        },
        is_given: false,
        user: None,
        seccomp: Seccomp::Default,
        cgroup_parent: format!("/berth-test-{id}"),
        stdin: Stdin::Null,
        log: Log::json_file(dir.join("log.json")),
        networks: Vec::new(),
        names: None,
        hosts: None,
        linked: Vec::new(),
        on_exit: None,
        life: berth_runtime::Life::default(),
        tied: false,
    }
}
