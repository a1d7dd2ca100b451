//! Limits that change, numbers that are told, and settings of the kernel that are not a container's.

use super::bundle::Bundle;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// The first of these files of the container's cgroup that is there, in v1's place or in v2's.
fn limit(bundle: &Bundle, files: &str) -> String {
    let script = format!(
        "for f in {files}; do for d in /sys/fs/cgroup /sys/fs/cgroup/*; do test -e $d/$f && cat $d/$f && exit; done; done"
    );
    bundle.ok(&["exec", &bundle.id, "sh", "-c", &script]).trim().to_owned()
}

const MEMORY: &str = "memory.limit_in_bytes memory.max";
const PIDS: &str = "pids.max";
const CPU: &str = "cpu.cfs_quota_us cpu.max";

#[test]
fn limits_change_while_it_runs() {
    let Some(mut bundle) = Bundle::of("while :; do sleep 0.01; done") else { return };
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    let id = bundle.id.clone();
    assert_eq!(bundle.create(&["run", "--detach", &id]), Some(0), "{}", bundle.output());
    assert_eq!(limit(&bundle, MEMORY), (64 << 20).to_string());
    bundle.ok(&["update", "--pids-limit", "77", "--memory", "32m", "--cpu-quota", "20000", &id]);
    assert_eq!((limit(&bundle, MEMORY), limit(&bundle, PIDS)), ((32 << 20).to_string(), "77".to_owned()));
    assert!(limit(&bundle, CPU).starts_with("20000"), "{}", limit(&bundle, CPU));
    bundle.ok(&["update", "--cpuset-cpus", "0", &id]);
    let allowed = bundle.ok(&["exec", &id, "grep", "Cpus_allowed_list", "/proc/1/status"]);
    assert_eq!(allowed, "Cpus_allowed_list:\t0\n");
    // As containerd does it: all limits in one document, and 0 for those that stay.
    let mut command = bundle.command(&["update", "--resources", "-", &id]);
    let mut update = command.stdin(Stdio::piped()).spawn().unwrap();
    let all = json!({ "memory": { "limit": 48 << 20, "swap": 0 }, "cpu": { "quota": 0, "cpus": "" }, "devices": [] });
    update.stdin.take().unwrap().write_all(all.to_string().as_bytes()).unwrap();
    assert!(update.wait().unwrap().success());
    assert_eq!((limit(&bundle, MEMORY), limit(&bundle, PIDS)), ((48 << 20).to_string(), "77".to_owned()));
    for (words, expected) in [
        (&["update", "--memory", "much", &id][..], "invalid size: 'much'"),
        (&["update", "--resources", "/nonexistent", &id], "/nonexistent"),
        (&["update", "--cpuset-cpus", "4000-4001", &id], "cpuset.cpus"),
        (&["update", "--cpuset-cpus", "x", &id], "cpuset.cpus"),
        (&["update", "--pids-limit", "1", "nobody"], "container does not exist"),
    ] {
        let said = bundle.say(words);
        assert!(said.code == Some(1) && said.stderr.contains(expected), "{words:?}: {said:?}");
    }
    bundle.ok(&["kill", &id, "KILL"]);
    bundle.wait();
    assert!(bundle.say(&["update", "--pids-limit", "5", &id]).stderr.contains("not running"));
}

#[test]
fn events_tell_numbers_and_want_of_memory() {
    let Some(mut bundle) = Bundle::of("cat /tmp/go; tail /dev/zero; cat /tmp/end") else { return };
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 24 << 20, "swap": 24 << 20 });
    for name in ["go", "end"] {
        rustix::fs::mkfifoat(rustix::fs::CWD, bundle.path("rootfs/tmp").join(name), 0o600.into()).unwrap();
    }
    let id = bundle.id.clone();
    assert_eq!(bundle.create(&["run", "--detach", &id]), Some(0), "{}", bundle.output());
    let event: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", &id])).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    assert_eq!(event["data"]["memory"]["usage"]["limit"], json!(24 << 20), "{event}");
    assert!(event["data"]["pids"]["current"].as_u64() >= Some(1), "{event}");
    let mut events =
        bundle.command(&["events", "--interval", "10ms", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(events.stdout.take().unwrap()).lines();
    let mut types = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["type"].clone());
    assert_eq!(types.next(), Some(json!("stats")), "it follows");
    let open = |name: &str| std::fs::write(bundle.path("rootfs/tmp").join(name), "x").unwrap();
    open("go");
    assert!(types.any(|kind| kind == "oom"), "the kernel has killed something");
    open("end");
    // It ends with the container.
    assert!(types.all(|kind| kind == "stats" || kind == "oom"));
    assert!(events.wait().unwrap().success());
    assert!(bundle.say(&["events", &id]).stderr.contains("not running"));
}

#[test]
fn settings_of_the_host_are_not_a_container_s() {
    for (key, words) in [
        ("kernel.panic_on_oops", "not in a separate kernel namespace"),
        ("kernel.hostname", "conflicts with the OCI"),
        ("vm.swappiness", "not in a separate kernel namespace"),
        ("net.core.somaxconn", "not allowed in host network namespace"),
    ] {
        let Some(mut bundle) = Bundle::of("true") else { return };
        bundle.config["linux"]["sysctl"] = json!({ key: "1" });
        let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        let said = bundle.run();
        assert!(said.code == Some(1) && said.stderr.contains(words), "{key}: {said:?}");
        assert!(bundle.is_gone());
    }
}

#[test]
fn options_do_their_work_or_are_refused() {
    let Some(bundle) = Bundle::of("true") else { return };
    let mut other = bundle.config.clone();
    other["process"]["args"] = json!(["echo", "other"]);
    std::fs::write(bundle.path("other.json"), other.to_string()).unwrap();
    assert_eq!(bundle.say(&["run", "--config", "other.json", &bundle.id]).stdout, "other\n");
    let root = bundle.path("state");
    let say = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(["oci-runtime", "--root"]).arg(&root).args(words);
        let output = command.current_dir(bundle.path("")).stdin(Stdio::null()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
        )
    };
    for (words, code, expected) in [
        (&["--version"][..], 0, "berth oci-runtime version"),
        (&["--rootless", "true", "list"], 1, "root's containers only"),
        (&["--rootless", "false", "--cgroup-manager", "cgroupfs", "list", "-q"], 0, ""),
        (&["--rootless", "perhaps", "list"], 1, "none of true, false, auto"),
        (&["--systemd-cgroup", "list", "-q"], 0, ""),
        (&["delete", "--regex", "("], 1, "no regular expression"),
        (&["delete", "--regex", "nobody-.*"], 0, ""),
        (&["--log", "nowhere/log", "list"], 1, "cannot open the log"),
        (&["kill", "a/b"], 1, "invalid character `/` in the ID: `a/b` is no container ID"),
    ] {
        let (got, text) = say(words);
        assert!(got == Some(code) && text.contains(expected), "{words:?}: {got:?} {text}");
    }
}

#[test]
fn systemd_makes_the_cgroup_or_the_reason_is_told() {
    let Some(mut bundle) = Bundle::of("true") else { return };
    bundle.config["linux"]["cgroupsPath"] = format!("system.slice:berth:{}", bundle.id).into();
    let said = bundle.say(&["--systemd-cgroup", "run", &bundle.id]);
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let booted = std::path::Path::new("/run/systemd/system").is_dir();
    match (unified, booted) {
        (true, true) => assert_eq!(said.code, Some(0), "{said:?}"),
        (true, false) => assert!(said.stderr.contains("systemd does not run this machine"), "{said:?}"),
        (false, _) => assert!(said.stderr.contains("unified hierarchy"), "{said:?}"),
    }
    assert!(bundle.is_gone());
}
