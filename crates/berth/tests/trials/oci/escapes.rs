//! Ways out of containers that other runtimes had: each is tried on ours.

use super::bundle::Bundle;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: what protects `/proc` is put on something else, because the image has
/// a link in its place.
#[test]
fn proc_behind_a_link_is_refused() {
    for name in ["proc", "sys"] {
        let Some(bundle) = Bundle::of("true") else { return };
        fs::remove_dir(bundle.path("rootfs").join(name)).unwrap();
        fs::create_dir(bundle.path("rootfs/elsewhere")).unwrap();
        symlink("elsewhere", bundle.path("rootfs").join(name)).unwrap();
        let said = bundle.run();
        assert!(
            said.code == Some(1) && said.stderr.contains("must be a directory, not a link"),
            "{name}: {said:?}"
        );
        assert!(bundle.is_gone());
    }
}

/// CVE-2021-30465: the place of a mount is exchanged for a link to the host between the check and the mount.
#[test]
fn a_race_for_the_place_of_a_mount_leads_nowhere() {
    let Some(mut bundle) = Bundle::of("true") else { return };
    let (outside, race) = (bundle.path("outside"), bundle.path("rootfs/race"));
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::create_dir_all(race.join("deep")).unwrap();
    let source = bundle.path("source");
    fs::create_dir(&source).unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    for place in ["/race/deep/one", "/race/two", "/race/deep"] {
        mounts.push(json!({ "destination": place, "type": "bind", "source": source, "options": ["bind"] }));
    }
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let aside = bundle.path("rootfs/aside");
            while !ends.load(Ordering::Relaxed) {
                // Each may fail while the runtime makes what it misses.
                let _ = fs::rename(&race, &aside);
                let _ = symlink(&outside, &race);
                let _ = fs::remove_file(&race);
                let _ = fs::rename(&aside, &race);
                let _ = fs::remove_dir_all(&aside);
            }
        });
        for _ in 0..25 {
            bundle.run();
        }
        ends.store(true, Ordering::Relaxed);
    });
    assert_eq!((count(&outside), count(&outside.join("deep")), count(&source)), (1, 0, 0));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(outside.to_str().unwrap()));
}

/// CVE-2025-31133: a path is hidden with a `/dev/null` that the image has made a link of. And the same for the rest of
/// `/dev`: what is made there is made inside.
#[test]
fn a_link_in_the_place_of_null_hides_nothing_else() {
    let Some(mut bundle) =
        Bundle::of("cat /proc/timer_list | wc -c; cat /proc/version | wc -c; ls /dev/null -l | cut -c1")
    else {
        return;
    };
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/timer_list", "/proc/version"]);
    fs::write(bundle.path("rootfs/etc/bait"), "bait").unwrap();
    symlink("/etc/bait", bundle.path("rootfs/dev/null")).unwrap();
    let said = bundle.run();
    assert_eq!(said.stdout, "0\n0\nl\n", "{said:?}");
    assert_eq!(fs::read_to_string(bundle.path("rootfs/etc/bait")).unwrap(), "bait");
}

/// CVE-2026-41579: `/dev` itself is a link out of the root.
#[test]
fn dev_behind_a_link_stays_inside() {
    let Some(bundle) = Bundle::of("test -c /dev/null && echo inside") else { return };
    let outside = bundle.path("outside");
    fs::create_dir(&outside).unwrap();
    for target in [outside.clone(), "../../../../../../outside".into(), "../outside".into()] {
        let dev = bundle.path("rootfs/dev");
        drop(fs::remove_dir(&dev).or_else(|_| fs::remove_file(&dev)));
        symlink(&target, &dev).unwrap();
        bundle.run();
        assert_eq!(count(&outside), 0, "{}", target.display());
    }
}

/// CVE-2025-52565: the container's terminal is put on a link, and what protects `/proc` comes after it.
#[test]
fn a_terminal_on_a_link_uncovers_nothing() {
    let script = "cat /proc/timer_list | wc -c; echo 4711 > /proc/sys/kernel/panic; echo 4711 > /proc/sys/kernel/pid_max";
    let Some(mut bundle) = Bundle::of(script) else { return };
    bundle.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
    bundle.config["process"]["terminal"] = true.into();
    for place in ["/proc/timer_list", "/proc/sys/kernel/panic", "/proc/sys"] {
        let console = bundle.path("rootfs/dev/console");
        let _ = fs::remove_file(&console);
        symlink(place, &console).unwrap();
        let said = bundle.run();
        // What is written there is written to the terminal, if to anything.
        assert!(said.code == Some(1) || said.stdout.starts_with("0\r\n"), "{place}: {said:?}");
        for setting in ["panic", "pid_max"] {
            let value = fs::read_to_string(format!("/proc/sys/kernel/{setting}")).unwrap();
            assert_ne!(value.trim(), "4711", "{place}: {setting}");
        }
    }
}

/// CVE-2025-52881: what is written to the kernel goes to a file that the image has put in its place, or the other way
/// round.
#[test]
fn settings_go_to_the_kernel_whatever_lies_on_proc() {
    let Some(mut bundle) = Bundle::of("cat /real/sys/net/ipv4/ip_forward") else { return };
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.iter_mut().find(|mount| mount["destination"] == "/proc").unwrap()["destination"] = json!("/real");
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    fs::create_dir(bundle.path("rootfs/real")).unwrap();
    let fake = bundle.path("rootfs/proc/sys/net/ipv4");
    fs::create_dir_all(&fake).unwrap();
    fs::write(fake.join("ip_forward"), "fake").unwrap();
    let said = bundle.run();
    assert_eq!(said.stdout, "1\n", "{said:?}");
    assert_eq!(fs::read_to_string(fake.join("ip_forward")).unwrap(), "fake");
}

/// CVE-2024-21626: the working directory is a descriptor that leads to the host.
#[test]
fn a_working_directory_is_inside_the_container() {
    let Some(mut bundle) = Bundle::of("ls; ls ../../../..; pwd") else { return };
    fs::write(bundle.path("rootfs/marker"), "").unwrap();
    let host: Vec<String> =
        fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let only_there =
        host.iter().find(|name| !bundle.path("rootfs").join(name).exists()).expect("a host has more");
    for number in 0..24 {
        bundle.config["process"]["cwd"] = format!("/proc/self/fd/{number}").into();
        let said = bundle.run();
        assert!(!said.stdout.lines().any(|line| line == only_there), "descriptor {number}: {said:?}");
    }
    bundle.config["process"]["cwd"] = "/".into();
    bundle.script("while :; do sleep 0.01; done");
    assert_eq!(bundle.create(&["run", "--detach", &bundle.id.clone()]), Some(0));
    for number in 0..24 {
        let cwd = format!("/proc/self/fd/{number}");
        let said = bundle.say(&["exec", "--cwd", &cwd, &bundle.id, "ls", "../../../.."]);
        assert!(!said.stdout.lines().any(|line| line == only_there), "descriptor {number}: {said:?}");
    }
}

/// The root of a mount namespace need not be the container's: whoever enters by the namespace alone is on the host.
#[test]
fn who_enters_has_the_container_s_root() {
    let Some(mut bundle) = Bundle::of("while :; do sleep 0.01; done") else { return };
    fs::write(bundle.path("rootfs/marker"), "").unwrap();
    let mut unshare = Command::new("unshare");
    let mut other = unshare
        .args(["--mount", "sh", "-c", "echo; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is in its own namespace when it says something.
    assert_eq!(other.stdout.take().unwrap().read(&mut [0; 1]).unwrap(), 1);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    let mounts = namespaces.iter_mut().find(|namespace| namespace["type"] == "mount").unwrap();
    mounts["path"] = format!("/proc/{}/ns/mnt", other.id()).into();
    let id = bundle.id.clone();
    let created = bundle.create(&["run", "--detach", &id]);
    let said = bundle.say(&["exec", &id, "ls", "/marker"]);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!((created, &*said.stdout), (Some(0), "/marker\n"), "{said:?} {}", bundle.output());
}

/// CVE-2019-5736 and CVE-2016-9962: who enters a container lends it neither this program's file to write to, nor
/// descriptors of the host.
#[test]
fn who_enters_brings_nothing_of_the_host() {
    let script = "while :; do for p in /proc/[0-9]*; do \
        exe=$(readlink $p/exe); case $exe in */busybox|'') ;; *) echo \"exe $exe\"; (: > $p/exe) 2>/dev/null && echo written;; esac; \
        for f in $p/fd/*; do t=$(readlink $f); case $t in ''|/dev/*|/proc/*|/out|pipe:*|socket:*|anon_inode:*|/) ;; \
        *) echo \"fd $t\";; esac; done; done; done";
    let Some(mut bundle) = Bundle::of(script) else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_berth"));
    let before = fs::metadata(program).unwrap().modified().unwrap();
    let id = bundle.id.clone();
    let capabilities = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = capabilities.clone();
    }
    let output = bundle.path("out");
    assert_eq!(bundle.create(&["run", "--detach", &id]), Some(0));
    for _ in 0..15 {
        // The program of the second one is ours, if the container can make it so.
        bundle.ok(&["exec", &id, "true"]);
        let _ = bundle.command(&["exec", &id, "/proc/self/exe", "--version"]).stdout(Stdio::null()).output();
    }
    let seen = fs::read_to_string(&output).unwrap();
    let at_home = bundle.path("").display().to_string();
    for line in seen.lines() {
        let leaks = line == "written"
            || line.starts_with("fd ") && !line.ends_with("/out") && line.contains(&at_home);
        assert!(!leaks, "the container has seen `{line}`");
    }
    assert_eq!(fs::metadata(program).unwrap().modified().unwrap(), before);
}

/// CVE-2022-24769 and CVE-2022-29162: capabilities that programs of other users would inherit.
#[test]
fn nothing_is_inheritable_unless_asked_for() {
    let Some(bundle) = Bundle::of("grep CapInh /proc/self/status; while :; do sleep 0.01; done") else {
        return;
    };
    let id = bundle.id.clone();
    assert_eq!(bundle.create(&["run", "--detach", &id]), Some(0));
    for words in [
        &["exec", &id, "grep", "CapInh", "/proc/self/status"][..],
        &["exec", "--cap", "CAP_NET_ADMIN", &id, "grep", "CapInh", "/proc/self/status"],
        &["exec", "--user", "1000", "--cap", "CAP_NET_ADMIN", &id, "grep", "CapInh", "/proc/self/status"],
    ] {
        assert_eq!(bundle.ok(words), "CapInh:\t0000000000000000\n", "{words:?}");
    }
}

/// `/proc/self` is a link; who covers it decides what every program, and the runtime, takes for itself.
#[test]
fn a_link_of_the_kernel_is_not_covered() {
    let Some(mut bundle) = Bundle::of("true") else { return };
    symlink("anything", bundle.path("link")).unwrap();
    let mount = json!({
        "destination": "/proc/self", "type": "bind", "source": bundle.path("link"),
        "options": ["bind", "src-nofollow", "dest-nofollow"],
    });
    bundle.config["mounts"].as_array_mut().unwrap().push(mount);
    let said = bundle.run();
    assert!(said.code == Some(1) && said.stderr.contains("must not be covered"), "{said:?}");
}

/// Without a namespace for it, the name would be the host's.
#[test]
fn the_host_is_not_renamed() {
    let ours = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = ours();
    for field in ["hostname", "domainname"] {
        for path in [None, Some("/proc/self/ns/uts")] {
            let Some(mut bundle) = Bundle::of("true") else { return };
            bundle.config.as_object_mut().unwrap().remove("hostname");
            // What is there already: nothing changes even if this fails.
            bundle.config[field] =
                fs::read_to_string(format!("/proc/sys/kernel/{field}")).unwrap().trim().into();
            let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "uts");
            namespaces.extend(path.map(|path| json!({ "type": "uts", "path": path })));
            let said = bundle.run();
            let words = format!("unable to set {field} without a private UTS namespace");
            assert!(said.code == Some(1) && said.stderr.contains(&words), "{field}, {path:?}: {said:?}");
        }
    }
    assert_eq!(ours(), before);
}
