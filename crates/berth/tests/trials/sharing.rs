//! What containers share with each other and with the host: namespaces, memory, groups, devices.

use super::support::rig;

#[test]
fn memory_and_processes_of_another_container() {
    let Some(berth) = rig("memory_and_processes_of_another_container", "CMD true") else { return };
    berth.ok(&["run", "-d", "--name", "donor", "--ipc", "shareable", "box", "sleep", "1000"]);
    berth.ok(&["exec", "donor", "touch", "/dev/shm/note"]);
    assert_eq!(berth.ok(&["run", "--rm", "--ipc", "container:donor", "box", "ls", "/dev/shm"]), "note\n");
    let same = |kind: &str, flag: &[&str]| {
        let link = format!("/proc/self/ns/{kind}");
        let theirs = berth.ok(&["exec", "donor", "ls", "-l", &link]);
        let words: Vec<&str> =
            ["run", "--rm"].iter().chain(flag).chain(&["box", "ls", "-l", &link]).copied().collect();
        let name = |text: &str| text.rsplit(' ').next().unwrap_or_default().to_owned();
        name(&theirs) == name(&berth.ok(&words))
    };
    assert!(same("ipc", &["--ipc", "container:donor"]) && !same("ipc", &[]));
    assert!(same("pid", &["--pid", "container:donor"]) && !same("pid", &[]));
    berth.ok(&["run", "-d", "--name", "private", "box", "sleep", "1000"]);
    let refused = berth.run(&["run", "--rm", "--ipc", "container:private", "box", "true"]);
    assert!(refused.stderr().contains("non-shareable IPC"), "{}", refused.tell());
    berth.ok(&["stop", "--time", "0", "donor"]);
    let refused = berth.run(&["run", "--rm", "--pid", "container:donor", "box", "true"]);
    assert!(refused.stderr().contains("is not running"), "{}", refused.tell());
    berth.ok(&["rm", "donor"]);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(berth.path("run/containers").to_str().unwrap()), "{table}");
}

#[test]
fn the_hosts_name_stays_the_hosts() {
    let Some(berth) = rig("the_hosts_name_stays_the_hosts", "CMD true") else { return };
    let name = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = name();
    let words = ["run", "--rm", "--uts", "host", "box", "cat", "/proc/sys/kernel/hostname"];
    assert_eq!(berth.ok(&words), before);
    assert_eq!(name(), before);
}

#[test]
fn groups_have_names() {
    let Some(berth) = rig("groups_have_names", "CMD true") else { return };
    assert_eq!(berth.ok(&["run", "--rm", "box", "id", "-G"]), "0 10\n");
    berth.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--group-add",
        "audio",
        "--group-add",
        "77",
        "box",
        "sleep",
        "1000",
    ]);
    for words in [&["exec", "web", "id", "-G"][..], &["exec", "-u", "5", "web", "id", "-G"]] {
        let groups = berth.ok(words);
        assert!(groups.contains("29") && groups.contains("77"), "{groups}");
    }
    let refused = berth.run(&["run", "--rm", "--group-add", "nope", "box", "true"]);
    assert!(refused.stderr().contains("unable to find group nope"), "{}", refused.tell());
}

#[test]
fn devices_by_the_names_of_cdi() {
    let Some(berth) = rig("devices_by_the_names_of_cdi", "CMD true") else { return };
    let directory = berth.path("cdi");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(berth.path("berth.toml"), format!("cdi-spec-dirs = [\"{}\"]", directory.display()))
        .unwrap();
    let document = r#"
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
containerEdits:
  deviceNodes: [{path: /dev/fakectl, hostPath: /dev/full}]
  mounts: [{hostPath: /etc/hostname, containerPath: /lib/libfake.so, options: [ro, bind]}]
devices:
  - name: "0"
    containerEdits: {env: [CHOSEN=zero], deviceNodes: [{path: /dev/fake0, hostPath: /dev/null}]}
"#;
    std::fs::write(directory.join("gpu.yaml"), document).unwrap();
    let script =
        "echo $CHOSEN; echo x >/dev/fake0 && echo written; echo x >/dev/fakectl; cat /lib/libfake.so";
    for flag in [["--gpus", "1"], ["--device", "nvidia.com/gpu=0"]] {
        let outcome = berth.run(&["run", "--rm", flag[0], flag[1], "box", "sh", "-c", script]);
        let name = std::fs::read_to_string("/etc/hostname").unwrap();
        assert_eq!(outcome.stdout(), format!("zero\nwritten\n{name}"), "{}", outcome.tell());
        assert!(outcome.stderr().contains("No space left"), "{}", outcome.tell());
    }
    let refused = berth.run(&["run", "--rm", "--device", "nvidia.com/gpu=9", "box", "true"]);
    let stderr = refused.stderr();
    assert!(
        stderr.contains("unresolvable CDI devices nvidia.com/gpu=9") && stderr.contains("gpu=0"),
        "{stderr}"
    );
}
