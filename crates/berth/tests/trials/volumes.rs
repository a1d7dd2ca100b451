//! Volumes with real containers: what the image has goes into an empty one, what is written stays, and each goes
//! when it should.

use super::support::rig;
use std::os::unix::fs::MetadataExt;

#[test]
fn an_empty_volume_gets_the_images_files_once() {
    let Some(berth) = rig("an_empty_volume_gets_the_images_files_once", "CMD true") else { return };
    berth.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/srv",
        "box",
        "sh",
        "-c",
        "echo own >/srv/file; ln /srv/file /srv/more",
    ]);
    let data = berth.root().join("volumes/data/_data");
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "own\n");
    assert_eq!(std::fs::metadata(data.join("sub/program")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(std::fs::read_link(data.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    // It is not empty any more: nothing comes back, and nothing is added.
    std::fs::remove_file(data.join("link")).unwrap();
    assert_eq!(berth.ok(&["run", "--rm", "-v", "data:/srv:ro", "box", "ls", "/srv"]), "file\nmore\nsub\n");
    assert_eq!(berth.ok(&["run", "--rm", "-v", "bare:/srv:nocopy", "box", "ls", "/srv"]), "");
    let part = "type=volume,src=data,dst=/x,volume-subpath=sub";
    assert_eq!(berth.ok(&["run", "--rm", "--mount", part, "box", "ls", "/x"]), "program\n");
    let refused = berth.run(&["run", "--rm", "-v", "data:/srv:ro", "box", "touch", "/srv/new"]);
    assert!(refused.stderr().contains("Read-only file system"), "{}", refused.tell());
}

#[test]
fn a_part_of_a_volume_never_leads_out_of_it() {
    let Some(berth) = rig("a_part_of_a_volume_never_leads_out_of_it", "CMD true") else { return };
    berth.ok(&["run", "--rm", "-v", "data:/x", "box", "ln", "-s", "/etc", "/x/out"]);
    let part = "type=volume,src=data,dst=/y,volume-subpath=out";
    let outcome = berth.run(&["run", "--rm", "--mount", part, "box", "ls", "/y"]);
    assert!(outcome.stderr().contains("cannot access path `out`"), "{}", outcome.tell());
}

#[test]
fn volumes_without_a_name_go_with_their_container() {
    let Some(berth) = rig("volumes_without_a_name_go_with_their_container", "VOLUME /srv /var") else {
        return;
    };
    let count = || berth.ok(&["volume", "ls", "-q"]).lines().count();
    assert_eq!(berth.ok(&["run", "--rm", "box", "cat", "/srv/file"]), "of the image");
    assert_eq!(count(), 0, "--rm takes them along");
    berth.ok(&[
        "run",
        "--name",
        "web",
        "-v",
        "/more",
        "-v",
        "named:/named",
        "box",
        "sh",
        "-c",
        "echo own >/srv/file",
    ]);
    assert_eq!(count(), 4);
    assert_eq!(
        berth.ok(&[
            "run",
            "--rm",
            "--volumes-from",
            "web:ro",
            "box",
            "sh",
            "-c",
            "cat /srv/file; touch /more/x 2>/dev/null || echo read-only"
        ]),
        "own\nread-only\n"
    );
    assert_eq!(count(), 4, "what web has is web's");
    let refused = berth.run(&["volume", "rm", "named"]);
    assert!(refused.stderr().contains("remove named: volume is in use - ["), "{}", refused.tell());
    assert_eq!(berth.ok(&["volume", "prune", "--all", "--force"]), "Total reclaimed space: 0B\n");
    berth.ok(&["rm", "--volumes", "web"]);
    assert_eq!(berth.ok(&["volume", "ls", "-q"]), "named\n");
    assert!(
        berth.ok(&["system", "df"]).contains("Local Volumes   1         0"),
        "{}",
        berth.ok(&["system", "df"])
    );
    berth.ok(&["volume", "rm", "named"]);
    assert_eq!(std::fs::read_dir(berth.root().join("volumes")).unwrap().count(), 0);
    berth.check().unwrap();
}

#[test]
fn a_failed_create_leaves_no_volume() {
    let Some(berth) = rig("a_failed_create_leaves_no_volume", "VOLUME /srv") else { return };
    berth.ok(&["create", "--name", "web", "box", "true"]);
    for words in [
        &["create", "--name", "web", "-v", "new:/new", "box", "true"][..],
        &["create", "-v", "new:/new", "-v", "other:/etc/passwd", "box", "true"],
        &["create", "-v", "new:/new", "--mount", "type=volume,dst=/x,volume-driver=foo", "box", "true"],
    ] {
        let outcome = berth.run(words);
        assert!(!outcome.succeeded(), "{}", outcome.tell());
        assert_eq!(berth.ok(&["volume", "ls", "-q"]).lines().count(), 1, "{}", outcome.tell());
    }
    assert_eq!(berth.ok(&["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn a_volume_in_memory_is_empty_for_the_next() {
    let Some(berth) = rig("a_volume_in_memory_is_empty_for_the_next", "CMD true") else { return };
    berth.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=64k", "mem"]);
    let run = |name: &str, words: &[&str]| {
        let mut all = vec!["run", "-d", "--name", name, "-v", "mem:/mem", "box"];
        all.extend(words);
        berth.ok(&all)
    };
    run("first", &["sleep", "1000"]);
    berth.ok(&["exec", "first", "touch", "/mem/file"]);
    // Both see the same memory while one of them lives.
    assert_eq!(berth.ok(&["run", "--rm", "-v", "mem:/mem", "box", "ls", "/mem"]), "file\n");
    berth.ok(&["rm", "-f", "first"]);
    assert_eq!(berth.ok(&["run", "--rm", "-v", "mem:/mem", "box", "ls", "/mem"]), "");
    berth.ok(&["volume", "rm", "mem"]);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(berth.root().join("volumes").to_str().unwrap()), "{table}");
}

#[test]
fn removing_a_bound_volume_keeps_what_it_showed() {
    let Some(berth) = rig("removing_a_bound_volume_keeps_what_it_showed", "CMD true") else { return };
    let precious = berth.path("precious");
    std::fs::create_dir(&precious).unwrap();
    let device = format!("device={}", precious.display());
    berth.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "bound"]);
    berth.ok(&["run", "--rm", "-v", "bound:/srv", "box", "true"]);
    assert!(precious.join("sub/program").exists(), "filled through the volume");
    assert_eq!(berth.ok(&["volume", "prune", "--all", "--force"]), "Total reclaimed space: 0B\n");
    berth.ok(&["volume", "rm", "bound"]);
    assert!(precious.join("sub/program").exists());
}
