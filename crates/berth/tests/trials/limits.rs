//! Limits as the kernel has them in the end, in both generations of control groups.
//!
//! `tests/cgroup-v2` runs these in a machine that has the second generation alone.

use super::support::{Sealed, boxed, skipped};
use std::fs;
use std::path::{Path, PathBuf};

/// The control group of a running container that has this file.
fn file_of(berth: &Sealed, name: &str, file: &str) -> Option<PathBuf> {
    let pid = berth.ok(&["inspect", "--format", "{{.State.Pid}}", name]);
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).expect("it is alive");
    // `4:memory:/berth/c1`; the second generation has no number and no controllers.
    let places = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mounts = match controllers {
            "" => vec!["/sys/fs/cgroup".to_owned(), "/sys/fs/cgroup/unified".to_owned()],
            names => vec![format!("/sys/fs/cgroup/{}", names.trim_start_matches("name="))],
        };
        mounts.into_iter().map(move |mount| Path::new(&format!("{mount}{path}")).join(file))
    });
    places.into_iter().find(|path| path.exists())
}

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A disk of this machine, as a path and as the kernel's numbers.
fn disk() -> Option<(String, String)> {
    let mut names: Vec<_> =
        fs::read_dir("/sys/block").ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let real = |name: &String| !["loop", "ram", "zram", "sr"].iter().any(|kind| name.starts_with(kind));
    let name = names.into_iter().find(|name| real(name) && Path::new(&format!("/dev/{name}")).exists())?;
    let numbers = fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
    Some((format!("/dev/{name}"), numbers.trim().to_owned()))
}

/// Options, and what is in a file of either generation then.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

#[test]
fn the_kernel_has_the_limits_that_were_asked_for() {
    let test = "the_kernel_has_the_limits_that_were_asked_for";
    let Some(berth) = boxed(test) else { return };
    let mut rows: Vec<Row<'_>> = vec![
        (
            &["-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"],
            &[("memory.limit_in_bytes", "67108864"), ("memory.soft_limit_in_bytes", "33554432")],
            &[("memory.max", "67108864"), ("memory.swap.max", "33554432"), ("memory.low", "33554432")],
        ),
        (
            &["-m", "64m"],
            &[("memory.limit_in_bytes", "67108864")],
            // As much swap as memory.
            &[("memory.max", "67108864"), ("memory.swap.max", "67108864")],
        ),
        (&["-m", "64m", "--memory-swap", "-1"], &[], &[("memory.swap.max", "max")]),
        (
            &["--cpus", "0.5", "--cpu-shares", "512"],
            &[("cpu.cfs_quota_us", "50000"), ("cpu.shares", "512")],
            &[("cpu.max", "50000 100000"), ("cpu.weight", "59")],
        ),
        (&["--cpuset-cpus", "0"], &[("cpuset.cpus", "0")], &[("cpuset.cpus", "0")]),
        (&["--pids-limit", "20"], &[("pids.max", "20")], &[("pids.max", "20")]),
    ];
    let disk = disk();
    let (device, numbers) = disk.clone().unwrap_or_default();
    let (rate, count) = (format!("{device}:1mb"), format!("{device}:50"));
    let options = ["--device-write-bps", &rate, "--device-read-iops", &count];
    let (v1_rate, v1_count) = (format!("{numbers} 1048576"), format!("{numbers} 50"));
    let v2 = format!("{numbers} rbps=max wbps=1048576 riops=50 wiops=max");
    let v1 = [
        ("blkio.throttle.write_bps_device", v1_rate.as_str()),
        ("blkio.throttle.read_iops_device", v1_count.as_str()),
    ];
    let v2 = [("io.max", v2.as_str())];
    match disk {
        Some(_) => rows.push((&options, &v1, &v2)),
        None => skipped(test, "of --device-write-bps: there is no disk in /dev"),
    }
    for (options, v1, v2) in rows {
        let words = [&["run", "-d", "--name", "it"][..], options, &["box", "sleep", "1000"]].concat();
        berth.ok(&words);
        for (file, expected) in if is_v2() { v2 } else { v1 } {
            let path = file_of(&berth, "it", file).unwrap_or_else(|| panic!("{options:?}: no {file}"));
            assert_eq!(fs::read_to_string(&path).unwrap().trim(), *expected, "{options:?}: {file}");
        }
        berth.ok(&["rm", "-f", "it"]);
    }
}

#[test]
fn a_container_sees_its_own_limits() {
    let Some(berth) = boxed("a_container_sees_its_own_limits") else { return };
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; \
                  cat /proc/self/cgroup | cut -d: -f3 | sort -u; echo x > /sys/fs/cgroup/cgroup.procs";
    let outcome = berth.run(&["run", "--rm", "-m", "32m", "box", "sh", "-c", script]);
    // Its own control group is the root of all it sees, and closed to it.
    assert_eq!(outcome.stdout(), "33554432\n/\n", "{}", outcome.tell());
    assert!(outcome.stderr().contains("ead-only file system"), "{}", outcome.tell());
}

#[test]
fn only_devices_that_were_given_can_be_used() {
    let Some(berth) = boxed("only_devices_that_were_given_can_be_used") else { return };
    // The kernel's log, which has the same numbers on every machine. Making a node is allowed, opening it is not.
    let script = "mknod /there c 1 11 && echo made && exec 9</there && echo opened";
    for (options, opened) in [
        (&[][..], false),
        (&["--device-cgroup-rule", "c 1:11 w"], false),
        (&["--device-cgroup-rule", "c 1:11 rw"], true),
        (&["--device-cgroup-rule", "c *:* r"], true),
        (&["--privileged"], true),
    ] {
        let words = [&["run", "--rm", "--cap-add", "SYSLOG"][..], options, &["box", "sh", "-c", script]];
        let outcome = berth.run(&words.concat());
        assert_eq!(outcome.succeeded(), opened, "{options:?}: {}", outcome.tell());
        assert!(outcome.stdout().contains("made\n"), "{options:?}: {}", outcome.tell());
        assert_eq!(outcome.stderr().contains("not permitted"), !opened, "{options:?}: {}", outcome.tell());
    }
    let words = ["run", "--rm", "box", "sh", "-c", "head -c 3 /dev/zero | wc -c; echo x >/dev/full"];
    let outcome = berth.run(&words);
    assert_eq!(outcome.stdout(), "3\n");
    assert!(outcome.stderr().contains("No space left"), "{}", outcome.tell());
}

#[test]
fn a_paused_container_does_nothing_and_goes_on() {
    let Some(berth) = boxed("a_paused_container_does_nothing_and_goes_on") else { return };
    berth.ok(&["run", "-d", "--name", "it", "box", "sh", "-c", "while :; do echo tick; sleep 0.01; done"]);
    while berth.ok(&["logs", "it"]).is_empty() {}
    berth.ok(&["pause", "it"]);
    assert_eq!(
        berth.ok(&["inspect", "--format", "{{.State.Status}} {{.State.Paused}}", "it"]),
        "paused true\n"
    );
    let before = berth.ok(&["logs", "it"]);
    let used = |berth: &Sealed| {
        let file = if is_v2() { "cpu.stat" } else { "cpuacct.usage" };
        let path = file_of(berth, "it", file).expect("processor time is counted");
        let text = fs::read_to_string(path).unwrap();
        text.lines().next().map(ToOwned::to_owned)
    };
    let spent = used(&berth);
    assert_eq!((berth.ok(&["logs", "it"]), used(&berth)), (before.clone(), spent));
    let refused = berth.run(&["exec", "it", "true"]);
    assert!(refused.stderr().contains("is paused"), "{}", refused.tell());
    berth.ok(&["unpause", "it"]);
    while berth.ok(&["logs", "it"]) == before {}
    berth.ok(&["kill", "it"]);
    assert_eq!(berth.ok(&["wait", "it"]), "137\n");
}
