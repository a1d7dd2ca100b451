//! What a container finds around it: namespaces, hooks, mounts, limits, streams.

use super::bundle::Bundle;
use crate::support::skipped;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn hooks_run_at_their_moments_with_the_state() {
    let Some(mut bundle) = Bundle::of("cat /tmp/inside") else { return };
    let log = bundle.path("hooks");
    let moments = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    let mut hooks = json!({});
    for moment in moments {
        let script = format!("echo {moment} $(cat) >> {}", log.display());
        hooks[moment] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }]);
    }
    hooks["startContainer"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "/bin/cat > /tmp/inside"] }]);
    bundle.config["hooks"] = hooks;
    bundle.config["annotations"] = json!({ "a": "b" });
    let said = bundle.run();
    assert_eq!(said.code, Some(0), "{said:?}");
    let inside: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&inside["status"], &inside["annotations"]["a"]), (&json!("created"), &json!("b")));
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<(&str, Value)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(moment, state)| (moment, serde_json::from_str(state).unwrap()))
        .collect();
    assert_eq!(lines.iter().map(|(moment, _)| *moment).collect::<Vec<_>>(), moments);
    let statuses: Vec<_> = lines.iter().map(|(_, state)| state["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["created", "creating", "creating", "running", "stopped"]);
    assert!(lines.iter().all(|(_, state)| state["id"] == *bundle.id && state["bundle"].is_string()));
}

#[test]
fn a_hook_that_fails_stops_what_it_is_about() {
    for (moment, runs) in [
        ("prestart", false),
        ("createRuntime", false),
        ("createContainer", false),
        ("startContainer", false),
        ("poststart", true),
        ("poststop", true),
    ] {
        let Some(mut bundle) = Bundle::of("echo ran") else { return };
        bundle.config["hooks"][moment] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 3"] }]);
        let said = bundle.run();
        assert_eq!(said.stdout == "ran\n", runs, "{moment}: {said:?}");
        let log = std::fs::read_to_string(bundle.path("log")).unwrap();
        assert!(log.contains(&format!("error running {moment} hook #0")) && log.contains("because"), "{log}");
        assert!(bundle.is_gone(), "{moment}");
    }
}

#[test]
fn a_user_namespace_has_its_own_root() {
    let script = "id -u; cat /proc/self/uid_map | tr -s ' '; echo x > /tmp/made; stat -c %u /tmp/made; echo > /dev/null";
    let Some(mut bundle) = Bundle::of(script) else { return };
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    for field in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][field] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    }
    for owned in ["rootfs/tmp", ""] {
        std::os::unix::fs::chown(bundle.path(owned), Some(100_000), Some(100_000)).unwrap();
    }
    // Nobody else passes through his own directory.
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(bundle.path(""), own).unwrap();
    // A directory that only the host's root may look into can still be shown.
    let closed = bundle.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::create_dir(closed.join("open")).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({ "destination": "/tmp/shown", "type": "bind", "source": closed.join("open"), "options": ["rbind"] }));
    let said = bundle.run();
    assert_eq!((said.code, &*said.stdout), (Some(0), "0\n 0 100000 65536\n0\n"), "{said:?}");
    let made = std::fs::metadata(bundle.path("rootfs/tmp/made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000);
}

#[test]
fn files_can_be_shown_with_other_owners() {
    let Some(mut bundle) = Bundle::of("stat -c %u:%g /mnt/file; echo x > /mnt/new") else { return };
    let source = bundle.path("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "").unwrap();
    for path in [&source, &source.join("file")] {
        std::os::unix::fs::chown(path, Some(1000), Some(1001)).unwrap();
    }
    let mapping = |from: u32, to: u32| json!([{ "containerID": from, "hostID": to, "size": 1 }]);
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({
        "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"],
        "uidMappings": mapping(1000, 0), "gidMappings": mapping(1001, 0),
    }));
    let said = bundle.run();
    assert_eq!((said.code, &*said.stdout), (Some(0), "0:0\n"), "{said:?}");
    let made = std::fs::metadata(source.join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 1000);
}

#[test]
fn clocks_limits_names_and_masks() {
    let script = "cut -d. -f1 /proc/uptime 2>/dev/null || sed 's/[.].*//' /proc/uptime; hostname; umask; id; uname -m; \
        ulimit -n; cat /proc/self/oom_score_adj; cat /proc/sys/net/ipv4/ip_forward; ls /proc/self/fd | wc -l";
    let Some(mut bundle) = Bundle::of(script) else { return };
    let config = &mut bundle.config;
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
    config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 900_000_000 } });
    config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    config["hostname"] = "here".into();
    config["process"]["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [7], "umask": 63 });
    config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    config["process"]["oomScoreAdj"] = 500.into();
    config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 });
    config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 3 });
    let said = bundle.run();
    let lines: Vec<_> = said.stdout.lines().collect();
    assert!(lines[0].starts_with('9') && lines[0].len() == 9, "{said:?}");
    let rest = ["here", "0077", "uid=5 gid=6 groups=7", "i686", "100", "500", "1", "4"];
    assert_eq!(lines[1..], rest, "{said:?}");
}

#[test]
fn the_scheduler_s_flags_reach_the_kernel() {
    let Some(mut bundle) = Bundle::of("exec sleep 100000") else { return };
    if Command::new("chrt").arg("--version").output().is_err() {
        return skipped("oci::surroundings", "there is no `chrt`");
    }
    bundle.config["process"]["scheduler"] =
        json!({ "policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
    assert_eq!(bundle.create(&["create", &bundle.id]), Some(0), "{}", bundle.output());
    let pid = bundle.state()["pid"].to_string();
    let said = Command::new("chrt").args(["--pid", &pid]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("SCHED_BATCH|SCHED_RESET_ON_FORK"), "{said}");
}

#[test]
fn real_time_needs_a_share_of_it_where_cgroups_limit_that() {
    let Some(mut bundle) = Bundle::of("exec sleep 100000") else { return };
    if !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return skipped("oci::surroundings", "real time is not limited by cgroups");
    }
    bundle.config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "priority": 10 });
    let said = bundle.run();
    let words = ["cannot set `process.scheduler` to SCHED_FIFO", "linux.resources.cpu.realtimeRuntime"];
    assert!(said.code == Some(1) && words.iter().all(|words| said.stderr.contains(words)), "{said:?}");
    bundle.config["linux"]["resources"]["cpu"] =
        json!({ "realtimeRuntime": 1000, "realtimePeriod": 1_000_000 });
    assert_eq!(bundle.create(&["create", &bundle.id]), Some(0), "{}", bundle.output());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bundle.state()["pid"])).unwrap();
    // proc(5): rt_priority and policy are the fields 40 and 41; the name before the third may have spaces.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[37..39], ["10", "1"], "{stat}");
}

#[test]
fn mounts_are_as_their_options_say() {
    let Some(mut bundle) = Bundle::of(
        "grep -E ' /(ro|rro|rro/sub|plain|up|late|late/in) ' /proc/self/mounts | while read _ at _ options _; do \
            echo $at ${options%%,*}; done; cat /up/there; stat -c %a /up /plain /new; cat /late/in; touch /late/x",
    ) else {
        return;
    };
    for name in ["up", "plain"] {
        std::fs::create_dir(bundle.path("rootfs").join(name)).unwrap();
    }
    std::fs::write(bundle.path("rootfs/up/there"), "copied\n").unwrap();
    std::fs::write(bundle.path("file"), "inside\n").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o710);
    std::fs::set_permissions(bundle.path("rootfs/plain"), open).unwrap();
    std::fs::create_dir_all(bundle.path("tree/sub")).unwrap();
    let tree = bundle.path("tree");
    let mount = |to: &str, typ: &str, from: &Path, options: &[&str]| json!({ "destination": to, "type": typ, "source": from, "options": options });
    let tmpfs = Path::new("tmpfs");
    bundle.config["mounts"].as_array_mut().unwrap().extend([
        mount("/ro", "bind", &tree, &["rbind", "ro"]),
        mount("/rro", "bind", &tree, &["rbind", "rro"]),
        mount("/plain", "tmpfs", tmpfs, &[]),
        mount("/new", "tmpfs", tmpfs, &[]),
        mount("/up", "tmpfs", tmpfs, &["tmpcopyup"]),
        mount("/late", "tmpfs", tmpfs, &["ro"]),
        mount("/late/in", "bind", Path::new("file"), &["bind"]),
    ]);
    let said = bundle.run();
    let expected =
        "/ro ro\n/rro ro\n/plain rw\n/up rw\n/late ro\n/late/in rw\ncopied\n755\n710\n1777\ninside\n";
    assert_eq!(said.stdout, expected, "{said:?}");
    assert!(said.stderr.contains("Read-only file system"), "{said:?}");
}

/// In a user namespace the sources are opened before it is entered.
#[test]
fn links_at_either_end_of_a_bind_are_meant_themselves_where_that_is_said() {
    for of_users in [false, true] {
        let script = "readlink /source; cat /both; cat /elsewhere; cat /followed; readlink /covered; readlink /new/copy";
        let Some(mut bundle) = Bundle::of(script) else { return };
        if of_users {
            bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
            for field in ["uidMappings", "gidMappings"] {
                bundle.config["linux"][field] = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            }
        }
        std::fs::write(bundle.path("file"), "of the host\n").unwrap();
        symlink(bundle.path("file"), bundle.path("link")).unwrap();
        for name in ["source", "both", "covered"] {
            symlink("elsewhere", bundle.path("rootfs").join(name)).unwrap();
        }
        std::fs::write(bundle.path("rootfs/elsewhere"), "of the image\n").unwrap();
        let bind = |to: &str, from: &str, options: &[&str]| json!({ "destination": to, "type": "bind", "source": bundle.path(from), "options": options });
        let mounts = [
            bind("/source", "link", &["bind", "src-nofollow", "dest-nofollow"]),
            bind("/both", "link", &["bind", "ro", "dest-nofollow"]),
            bind("/covered", "link", &["rbind", "src-nofollow", "dest-nofollow"]),
            bind("/followed", "link", &["bind"]),
            bind("/new/copy", "link", &["bind", "ro", "copy-symlink"]),
            bind("/new/file", "file", &["bind", "copy-symlink"]),
        ];
        bundle.config["mounts"].as_array_mut().unwrap().extend(mounts);
        let said = bundle.run();
        let link = bundle.path("file").display().to_string();
        let expected = format!("{link}\nof the host\nof the image\nof the host\n{link}\n{link}\n");
        assert_eq!((said.code, &*said.stdout), (Some(0), &*expected), "{of_users}: {said:?}");
        assert_eq!(std::fs::read_link(bundle.path("rootfs/new/copy")).unwrap(), bundle.path("file"));
    }
}

#[test]
fn a_program_says_that_it_is_ready_to_whoever_manages_services() {
    let script = "test -S $NOTIFY_SOCKET && echo $NOTIFY_SOCKET; exec sleep 100000";
    let Some(bundle) = Bundle::of(script) else { return };
    let address = bundle.path("manager");
    let manager = UnixDatagram::bind(&address).unwrap();
    let managed = |words: &[&str]| {
        let mut command = bundle.command(words);
        command.env("NOTIFY_SOCKET", &address).stdout(Stdio::piped());
        command
    };
    let inside = bundle.path("state").join(&bundle.id).join("notify/notify.sock");
    let heard = || {
        let mut bytes = [0; 100];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    // In the foreground we are the main process; in the background, the container's own is.
    for words in [&["run", &bundle.id][..], &["run", "--detach", &bundle.id]] {
        let mut run = managed(words).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "/run/notify/notify.sock\n");
        let program = UnixDatagram::unbound().unwrap();
        program.send_to(b"STATUS=READY=1 soon", &inside).unwrap();
        program.send_to(b"STATUS=here\nREADY=1\nMAINPID=1", &inside).unwrap();
        let main = format!("\nMAINPID={}", bundle.state()["pid"]);
        assert_eq!(heard(), format!("READY=1{}", if words.len() == 3 { &main } else { "" }));
        assert_eq!(heard(), "BARRIER=1");
        bundle.ok(&["kill", &bundle.id, "KILL"]);
        assert!(run.wait().unwrap().code().is_some());
        bundle.say(&["delete", "--force", &bundle.id]);
    }
    // One that ends without a word keeps nobody waiting.
    let mut silent = bundle;
    silent.script("true");
    assert_eq!(
        silent.command(&["create", &silent.id]).env("NOTIFY_SOCKET", &address).status().unwrap().code(),
        Some(0)
    );
    assert_eq!(
        silent.command(&["start", &silent.id]).env("NOTIFY_SOCKET", &address).status().unwrap().code(),
        Some(0)
    );
}

#[test]
fn an_interface_of_the_host_becomes_the_container_s() {
    let ip = |words: &str| {
        Command::new("ip").args(words.split(' ')).output().is_ok_and(|done| done.status.success())
    };
    let Some(mut bundle) = Bundle::of("ip -o addr show up | tr -s ' ' | cut -d' ' -f2-4") else { return };
    let (ours, theirs) = (format!("bh{}", std::process::id()), format!("bc{}", std::process::id()));
    if !ip(&format!("link add {ours} type veth peer name {theirs}")) {
        return skipped("oci::surroundings", "there is no `ip`, or no veth");
    }
    assert!(ip(&format!("addr add 198.51.100.9/28 dev {theirs}")));
    bundle.config["linux"]["netDevices"] = json!({ theirs.as_str(): { "name": "given0" } });
    let said = bundle.run();
    assert!(said.stdout.contains("given0 inet 198.51.100.9/28\n"), "{said:?}");
    // A pair goes as one, and with the container's namespace.
    for (name, wanted) in
        [(theirs.as_str(), "there is no network interface"), ("lo", "refused to give interface lo")]
    {
        bundle.config["linux"]["netDevices"] = json!({ name: { "name": "given0" } });
        let said = bundle.run();
        assert!(said.code == Some(1) && said.stderr.contains(wanted), "{said:?}");
    }
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    assert!(bundle.run().stderr.contains("needs a network namespace"));
}

#[test]
fn preserved_descriptors_reach_the_program_and_no_others() {
    let Some(bundle) = Bundle::of("cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' '") else { return };
    std::fs::write(bundle.path("a"), "a\n").unwrap();
    std::fs::write(bundle.path("b"), "b\n").unwrap();
    let run = |open: &str, count: &str| {
        let words = ["run", "--preserve-fds", count, &bundle.id];
        let command = bundle.command(&words);
        let words = command.get_args().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        let script = format!("exec {open}; exec {} {words}", command.get_program().to_str().unwrap());
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(bundle.path(""))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    // 5 is the directory that ls reads.
    assert_eq!(run("3<a 4<b 7<a", "2"), "a\nb\n0 1 2 3 4 5 ");
    assert!(run("3<a", "2").contains("descriptor 4 is to be preserved, but is not open"));
}

/// runc and crun start such containers, and the specification wants a warning.
#[test]
fn capabilities_that_cannot_be_ambient_are_left_out_with_a_warning() {
    let Some(mut bundle) = Bundle::of("grep -E 'Cap(Prm|Amb)' /proc/self/status | tr '\\t\\n' '  '") else {
        return;
    };
    let both = ["CAP_CHOWN", "CAP_KILL"];
    bundle.config["process"]["capabilities"] = json!({
        "bounding": both, "permitted": both, "effective": both, "inheritable": ["CAP_KILL"], "ambient": both,
    });
    let said = bundle.run();
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(0), "CapPrm: 0000000000000021 CapAmb: 0000000000000020 "),
        "{said:?}"
    );
    let log = std::fs::read_to_string(bundle.path("log")).unwrap();
    assert!(log.contains("cannot be given are left out: CAP_CHOWN\""), "{log}");
}

#[test]
fn what_is_hidden_behind_a_link_is_hidden() {
    let Some(mut bundle) =
        Bundle::of("cat /var/secret /opt/secret; ls /linked; touch /opt/x; touch /var/ro/x")
    else {
        return;
    };
    let rootfs = bundle.path("rootfs");
    for name in ["opt/ro", "directory"] {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    std::fs::write(rootfs.join("opt/secret"), "seen\n").unwrap();
    std::fs::write(rootfs.join("directory/file"), "").unwrap();
    symlink("/opt", rootfs.join("var")).unwrap();
    symlink("../../directory", rootfs.join("linked")).unwrap();
    symlink("/proc/self/root", rootfs.join("way")).unwrap();
    bundle.config["linux"]["maskedPaths"] = json!(["/var/secret", "linked", "/nosuch", "/sys/class/net/lo"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/var/ro"]);
    let said = bundle.run();
    assert_eq!(said.stdout, "", "{said:?}");
    assert!(said.stderr.contains("/var/ro/x: Read-only") && !said.stderr.contains("/opt/x"), "{said:?}");
    // A link of the kernel's leads out of the root.
    bundle.config["linux"]["maskedPaths"] = json!(["/way/etc"]);
    assert_eq!(bundle.run().code, Some(1));
}
