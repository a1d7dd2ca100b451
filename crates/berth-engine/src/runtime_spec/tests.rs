//! One row per flag: what it adds to the specification, as JSON.

use super::*;
use crate::spec::{NetworkMode, VolumeFlag, parse_mount, parse_ram, parse_tmpfs, parse_volume};
use berth_oci::RuntimeConfig;
use serde_json::{Value, json};
use std::path::Path;

fn around() -> Surroundings {
    Surroundings {
        last_group: u32::MAX,
        hostname: "abc".to_owned(),
        volumes: [("data".to_owned(), "/volumes/data".into())].into(),
        etc: vec![EtcFile { source: "/c/hosts".into(), target: "/etc/hosts".into() }],
        ..Surroundings::default()
    }
}

fn json(spec: &ContainerSpec, around: &Surroundings) -> Value {
    let image = RuntimeConfig { cmd: Some(vec!["true".to_owned()]), ..RuntimeConfig::default() };
    let checked = spec.clone().checked(4).unwrap();
    let around = &Surroundings { mounts: checked.mounts.clone(), ..around.clone() };
    let process = Process::new(&image, &checked).unwrap();
    serde_json::to_value(runtime_spec(&process, &checked, around).unwrap()).unwrap()
}

fn base() -> ContainerSpec {
    ContainerSpec::default()
}

/// What stands at `pointer` when `spec` is asked for.
#[track_caller]
fn check(spec: ContainerSpec, pointer: &str, expected: Value) {
    let whole = json(&spec, &around());
    assert_eq!(whole.pointer(pointer).cloned().unwrap_or(Value::Null), expected, "{pointer} of {whole:#}");
}

fn mount_at(spec: &ContainerSpec, target: &str) -> Value {
    let whole = json(spec, &around());
    let mounts = whole["mounts"].as_array().unwrap().clone();
    let mut at = mounts.into_iter().filter(|mount| mount["destination"] == target);
    let found = at.next().unwrap_or(Value::Null);
    assert!(at.next().is_none(), "two mounts at {target}");
    found
}

#[test]
fn the_process() {
    check(base(), "/process/args", json!(["true"]));
    check(base(), "/process/cwd", json!("/"));
    check(base(), "/process/oomScoreAdj", json!(0));
    check(base(), "/process/noNewPrivileges", json!(false));
    check(base(), "/process/rlimits", json!([]));
    check(
        base(),
        "/process/env",
        json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=abc"]),
    );
    check(ContainerSpec { tty: true, ..base() }, "/process/env/2", json!("TERM=xterm"));
    check(ContainerSpec { tty: true, ..base() }, "/process/terminal", json!(true));
    check(ContainerSpec { working_dir: Some("/srv".into()), ..base() }, "/process/cwd", json!("/srv"));
    check(
        ContainerSpec { command: vec!["a".into(), "b".into()], ..base() },
        "/process/args",
        json!(["a", "b"]),
    );
    check(ContainerSpec { oom_score_adj: 500, ..base() }, "/process/oomScoreAdj", json!(500));
    check(ContainerSpec { no_new_privileges: true, ..base() }, "/process/noNewPrivileges", json!(true));
    let grouped = Surroundings { groups: vec![27], ..around() };
    assert_eq!(json(&base(), &grouped).pointer("/process/user/additionalGids"), Some(&json!([27])));
    check(
        ContainerSpec { ulimits: vec!["nofile=10:-1".parse().unwrap()], ..base() },
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX}]),
    );
    let sized = Surroundings { terminal_size: Some((24, 80)), ..around() };
    let whole = json(&ContainerSpec { tty: true, ..base() }, &sized);
    assert_eq!(whole["process"]["consoleSize"], json!({"height": 24, "width": 80}));
}

#[test]
fn every_limit_has_a_name_in_the_specification() {
    for name in Ulimit::NAMES {
        rlimit(&format!("{name}=1").parse().unwrap()).unwrap();
    }
    assert_eq!(capability_set(&crate::spec::CAPABILITIES).unwrap().len(), 41);
}

#[test]
fn capabilities_have_three_equal_sets() {
    let whole = json(&base(), &around());
    let sets = &whole["process"]["capabilities"];
    assert_eq!(sets["bounding"].as_array().unwrap().len(), 14);
    let sorted = |set: &str| {
        let mut names: Vec<String> = sets[set].as_array().unwrap().iter().map(|c| c.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(sorted("bounding"), sorted("effective"));
    assert_eq!(sorted("bounding"), sorted("permitted"));
    assert!(sets["inheritable"].as_array().is_none_or(Vec::is_empty));
    let dropped = ContainerSpec { cap_drop: vec!["ALL".parse().unwrap()], ..base() };
    check(dropped, "/process/capabilities/bounding", json!([]));
}

#[test]
fn the_root_and_the_names() {
    check(base(), "/root/readonly", json!(false));
    check(base(), "/hostname", json!("abc"));
    check(ContainerSpec { read_only: true, ..base() }, "/root/readonly", json!(true));
    check(ContainerSpec { domainname: Some("d".into()), ..base() }, "/domainname", json!("d"));
    check(
        ContainerSpec { annotations: [("a".to_owned(), "b".to_owned())].into(), ..base() },
        "/annotations",
        json!({"a": "b"}),
    );
}

#[test]
fn mounts() {
    let with = |mount: Mount| ContainerSpec { mounts: vec![mount], ..base() };
    use crate::spec::Mount;
    let bound = |text: &str| match parse_volume(text, Path::new("/")).unwrap() {
        VolumeFlag::Mount(mount) => mount,
        VolumeFlag::Anonymous(_) => unreachable!("it has a source"),
    };
    let volume = |text: &str| with(bound(text));
    let flag = |text: &str| with(parse_mount(text).unwrap().resolve(Path::new("/")).unwrap());
    for (spec, target, options) in [
        (volume("/a:/b"), "/b", json!(["rbind", "rprivate"])),
        (volume("/a:/b:ro"), "/b", json!(["rbind", "rro", "rprivate"])),
        (volume("/a:/b:rshared"), "/b", json!(["rbind", "rshared"])),
        (flag("type=bind,src=/a,dst=/b,ro,bind-nonrecursive"), "/b", json!(["bind", "ro", "rprivate"])),
        (
            flag("type=bind,src=/a,dst=/b,ro,bind-recursive=writable"),
            "/b",
            json!(["rbind", "ro", "rprivate"]),
        ),
        (volume("data:/b"), "/b", json!(["rbind", "rprivate"])),
        (volume("data:/b:ro"), "/b", json!(["rbind", "rro", "rprivate"])),
        (with(parse_tmpfs("/t").unwrap()), "/t", json!(["noexec", "nosuid", "nodev", "rprivate"])),
        (
            with(parse_tmpfs("/t:exec,size=1m").unwrap()),
            "/t",
            json!(["nosuid", "nodev", "rprivate", "exec", "size=1m"]),
        ),
        (base(), "/dev/shm", json!(["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"])),
        (
            ContainerSpec { shm_size: Some(parse_ram("1m").unwrap()), ..base() },
            "/dev/shm",
            json!(["nosuid", "noexec", "nodev", "mode=1777", "size=1048576"]),
        ),
        (base(), "/sys", json!(["nosuid", "noexec", "nodev", "ro"])),
        (ContainerSpec { privileged: true, ..base() }, "/sys", json!(["nosuid", "noexec", "nodev"])),
        (base(), "/etc/hosts", json!(["rbind", "rprivate"])),
        (volume("/a:/etc/hosts:ro"), "/etc/hosts", json!(["rbind", "rro", "rprivate"])),
        (volume("/a:/dev/shm"), "/dev/shm", json!(["rbind", "rprivate"])),
        (volume("/dev:/dev"), "/dev/pts", Value::Null),
    ] {
        assert_eq!(mount_at(&spec, target)["options"], options, "{target}");
    }
    let deep = ContainerSpec { mounts: ["/a:/x/y/z", "/a:/x", "/a:/x/y"].map(bound).into(), ..base() };
    let whole = json(&deep, &around());
    let order: Vec<_> =
        whole["mounts"].as_array().unwrap()[7..].iter().map(|m| m["destination"].clone()).collect();
    assert_eq!(order, ["/x", "/x/y", "/etc/hosts", "/x/y/z"]);
}

#[test]
fn limits() {
    let with = |change: fn(&mut crate::spec::Resources)| {
        let mut spec = base();
        change(&mut spec.resources);
        spec
    };
    let at = "/linux/resources";
    check(base(), &format!("{at}/memory"), Value::Null);
    check(base(), &format!("{at}/cpu"), Value::Null);
    check(base(), &format!("{at}/pids"), Value::Null);
    check(
        with(|r| r.memory = Some(8 << 20)),
        &format!("{at}/memory"),
        json!({"limit": 8_388_608, "swap": 16_777_216}),
    );
    check(
        with(|r| (r.memory, r.memory_swap) = (Some(8 << 20), Some(-1))),
        &format!("{at}/memory"),
        json!({"limit": 8_388_608, "swap": -1}),
    );
    check(
        with(|r| r.memory_reservation = Some(8 << 20)),
        &format!("{at}/memory"),
        json!({"reservation": 8_388_608}),
    );
    check(
        with(|r| r.nano_cpus = Some(1_500_000_000)),
        &format!("{at}/cpu"),
        json!({"quota": 150_000, "period": 100_000}),
    );
    check(with(|r| r.cpu_shares = Some(512)), &format!("{at}/cpu"), json!({"shares": 512}));
    check(
        with(|r| (r.cpu_quota, r.cpu_period) = (Some(5000), Some(10000))),
        &format!("{at}/cpu"),
        json!({"quota": 5000, "period": 10000}),
    );
    check(with(|r| r.cpuset_cpus = Some("0-1".into())), &format!("{at}/cpu"), json!({"cpus": "0-1"}));
    check(with(|r| r.pids = Some(100)), &format!("{at}/pids"), json!({"limit": 100}));
    check(with(|r| r.pids = Some(-1)), &format!("{at}/pids"), Value::Null);
}

#[test]
fn devices() {
    let fuse = DeviceNode {
        target: "/dev/x".into(),
        block: false,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "rw".to_owned(),
    };
    let whole = json(&base(), &Surroundings { devices: vec![fuse], ..around() });
    let rule = json!([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]);
    assert_eq!(whole["linux"]["resources"]["devices"], rule);
    let node = json!([{"path": "/dev/x", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}]);
    assert_eq!(whole["linux"]["devices"], node);
    check(base(), "/linux/resources/devices", json!([]));
    let all = json!([{"allow": true, "access": "rwm"}]);
    check(ContainerSpec { privileged: true, ..base() }, "/linux/resources/devices", all);
}

#[test]
fn what_is_hidden_and_shared() {
    let types = |spec: ContainerSpec| {
        let whole = json(&spec, &around());
        let list = whole["linux"]["namespaces"].as_array().unwrap().clone();
        list.iter().map(|n| n["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(types(base()), "mount uts pid ipc cgroup network");
    assert_eq!(
        types(ContainerSpec { network: NetworkMode::None, ..base() }),
        "mount uts pid ipc cgroup network"
    );
    assert_eq!(types(ContainerSpec { network: NetworkMode::Host, ..base() }), "mount uts pid ipc cgroup");
    check(base(), "/linux/maskedPaths", json!(MASKED_PATHS));
    check(base(), "/linux/readonlyPaths", json!(READONLY_PATHS));
    for open in [ContainerSpec { privileged: true, ..base() }, ContainerSpec { unmask: true, ..base() }] {
        check(open.clone(), "/linux/maskedPaths", json!([]));
        check(open, "/linux/readonlyPaths", json!([]));
    }
    let thermal = Surroundings { masked: vec!["/sys/x".to_owned()], ..around() };
    assert_eq!(json(&base(), &thermal)["linux"]["maskedPaths"][12], "/sys/x");
    check(base(), "/linux/sysctl/net.ipv4.ip_unprivileged_port_start", json!("0"));
    check(ContainerSpec { network: NetworkMode::Host, ..base() }, "/linux/sysctl", json!({}));
    let sysctls = [("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned())];
    check(
        ContainerSpec { sysctls: sysctls.into(), ..base() },
        "/linux/sysctl/net.ipv4.ip_unprivileged_port_start",
        json!("80"),
    );
    check(base(), "/linux/seccomp", Value::Null);
    let profile = Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.to_owned());
    check(
        ContainerSpec { seccomp: profile.clone(), ..base() },
        "/linux/seccomp/defaultAction",
        json!("SCMP_ACT_ALLOW"),
    );
    check(ContainerSpec { seccomp: profile, privileged: true, ..base() }, "/linux/seccomp", Value::Null);
}

#[test]
fn what_is_shared() {
    let types = |spec: &ContainerSpec, around: &Surroundings| {
        let whole = json(spec, around);
        let list = whole.pointer("/linux/namespaces").unwrap().as_array().unwrap().clone();
        let text = |n: &Value| {
            let path = n.get("path").and_then(Value::as_str).map_or(String::new(), |path| format!("={path}"));
            format!("{}{path}", n["type"].as_str().unwrap())
        };
        list.iter().map(text).collect::<Vec<_>>().join(" ")
    };
    let pid = |text: &str| ContainerSpec { pid: text.parse().unwrap(), ..base() };
    let ipc = |text: &str| ContainerSpec { ipc: text.parse().unwrap(), ..base() };
    let joined = |typ, path: &str| Surroundings {
        shared: Shared { namespaces: vec![(typ, path.into())], memory: Some("/run/x/shm".into()) },
        ..around()
    };
    for (spec, around, expected) in [
        (base(), around(), "mount uts pid ipc cgroup network"),
        (pid("host"), around(), "mount uts ipc cgroup network"),
        (
            pid("container:x"),
            joined(oci::LinuxNamespaceType::Pid, "/proc/7/ns/pid"),
            "mount uts ipc cgroup network pid=/proc/7/ns/pid",
        ),
        (ipc("host"), around(), "mount uts pid cgroup network"),
        (ipc("shareable"), around(), "mount uts pid ipc cgroup network"),
        (ContainerSpec { host_uts: true, ..base() }, around(), "mount pid ipc cgroup network"),
        (ContainerSpec { host_cgroups: true, ..base() }, around(), "mount uts pid ipc network"),
    ] {
        assert_eq!(types(&spec, &around), expected);
    }
    check(ContainerSpec { host_uts: true, ..base() }, "/hostname", Value::Null);
    assert_eq!(mount_at(&ipc("none"), "/dev/shm"), Value::Null);
    let whole = json(&ipc("shareable"), &joined(oci::LinuxNamespaceType::Ipc, "/x"));
    let shm = whole["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/dev/shm").unwrap();
    assert_eq!((&shm["type"], &shm["source"]), (&json!("bind"), &json!("/run/x/shm")));
}

#[test]
fn disks_masks_and_rules() {
    let rate = |text: &str| crate::spec::parse_bps(text).unwrap();
    let io = crate::spec::BlockIo {
        weight: Some(300),
        read_bps: vec![rate("/dev/vda:1mb")],
        ..crate::spec::BlockIo::default()
    };
    let resources = crate::spec::Resources {
        block_io: io,
        memory_swappiness: Some(7),
        oom_kill_disable: true,
        ..crate::spec::Resources::default()
    };
    let spec = ContainerSpec {
        resources,
        device_rules: vec!["c 188:* rw".parse().unwrap()],
        mask: vec!["/proc/cpuinfo".to_owned()],
        unmasked: vec!["/proc/acpi".to_owned(), "/proc/bus".to_owned()],
        writable_cgroups: true,
        ..base()
    };
    let around = Surroundings { disks: [("/dev/vda".into(), (254, 0))].into(), ..around() };
    let whole = json(&spec, &around);
    let at = |pointer: &str| whole.pointer(pointer).cloned().unwrap_or(Value::Null);
    assert_eq!(at("/linux/resources/blockIO/weight"), json!(300));
    assert_eq!(
        at("/linux/resources/blockIO/throttleReadBpsDevice"),
        json!([{"major": 254, "minor": 0, "rate": 1_048_576}])
    );
    assert_eq!(at("/linux/resources/memory/swappiness"), json!(7));
    assert_eq!(at("/linux/resources/memory/disableOOMKiller"), json!(true));
    let rule = json!({"allow": true, "type": "c", "major": 188, "minor": -1, "access": "rw"});
    assert_eq!(at("/linux/resources/devices/0"), rule);
    let paths = |pointer: &str| at(pointer).as_array().unwrap().clone();
    assert!(paths("/linux/maskedPaths").contains(&json!("/proc/cpuinfo")));
    assert!(!paths("/linux/maskedPaths").contains(&json!("/proc/acpi")));
    assert!(!paths("/linux/readonlyPaths").contains(&json!("/proc/bus")));
    let writable = ContainerSpec { writable_cgroups: true, ..base() };
    assert_eq!(mount_at(&writable, "/sys/fs/cgroup")["options"], json!(["nosuid", "noexec", "nodev"]));
    assert_eq!(mount_at(&base(), "/sys/fs/cgroup")["options"], json!(["ro", "nosuid", "noexec", "nodev"]));
}
