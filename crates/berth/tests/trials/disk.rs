//! A disk that is full or read-only: what runs goes on, what is asked is answered, and what is in the way can go.

use super::support::{Sealed, boxed, furnished, skipped};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::mount::{MountFlags, mount, mount_remount};
use std::fs::{self, File};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any check needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A berth whose root is a disk of its own.
fn with_own_disk(test: &str) -> Option<Sealed> {
    let sealed = Sealed::new();
    fs::create_dir(sealed.root()).expect("the directory is ours");
    mount("none", sealed.root(), c"tmpfs", MountFlags::empty(), c"size=160m").expect("we are root");
    furnished(sealed, test)
}

/// To the last byte.
fn fill(berth: &Sealed) {
    let path = berth.root().join("fill");
    let mut file = File::create(&path).expect("there is room for a name");
    for step in [1 << 20, 1 << 12] {
        let mut length = file.metadata().expect("it is ours").len();
        while fallocate(&file, FallocateFlags::empty(), length, step).is_ok() {
            length += step;
        }
    }
    assert!(fs::write(berth.root().join("more"), [0; 4096]).is_err());
    drop(file.flush());
}

fn field(berth: &Sealed, name: &str, template: &str) -> String {
    berth.ok(&["inspect", "--format", template, name]).trim().to_owned()
}

#[test]
fn a_full_disk_ends_nothing() {
    let Some(berth) = with_own_disk("a_full_disk_ends_nothing") else { return };
    let checked = ["--health-cmd", "true", "--health-interval", "20ms"];
    berth.ok(&[&["run", "-d", "--name", "checked"][..], &checked, &["box", "sleep", "1000"]].concat());
    berth.ok(&["run", "-d", "--name", "plain", "box", "sleep", "1000"]);
    let script = "trap 'exit 7' TERM; echo begun; while :; do sleep 0.05; done";
    berth.ok(&["run", "-d", "--name", "polite", "box", "sh", "-c", script]);
    fill(&berth);
    // Its check is written down somewhere else from now on.
    let id = field(&berth, "checked", "{{.Id}}");
    let refuge = berth.path("run/containers").join(id).join("state.json");
    let deadline = Instant::now() + PATIENCE;
    while !refuge.exists() && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(field(&berth, "checked", "{{.State.Status}} {{.State.Health.Status}}"), "running healthy");
    assert_eq!(berth.ok(&["ps", "-q"]).lines().count(), 3);
    berth.ok(&["exec", "checked", "true"]);
    berth.ok(&["pause", "plain"]);
    assert_eq!(field(&berth, "plain", "{{.State.Status}}"), "paused");
    berth.ok(&["unpause", "plain"]);
    berth.ok(&["stop", "-t", "1000", "polite"]);
    assert_eq!(field(&berth, "polite", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    assert_eq!(berth.ok(&["logs", "polite"]), "begun\n");
    let refused = berth.run(&["run", "--name", "more", "box", "true"]);
    assert_eq!(refused.output.status.code(), Some(125), "{}", refused.tell());
    assert!(refused.stderr().contains("hint: the disk is full: `berth system df`"), "{}", refused.tell());
    berth.ok(&["system", "df"]);
    // Whoever wants room can make it.
    berth.ok(&["rm", "polite"]);
    berth.ok(&["rm", "-f", "checked"]);
    // Its record was made; its program had nowhere to be.
    berth.ok(&["rm", "more"]);
    assert_eq!(berth.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]), "plain running\n");
    fs::remove_file(berth.root().join("fill")).expect("it is ours");
    assert_eq!(berth.ok(&["run", "--rm", "box", "echo", "well"]), "well\n");
    berth.ok(&["stop", "-t", "0", "plain"]);
    berth.ok(&["start", "plain"]);
    berth.check().expect("all is well again");
}

#[test]
fn a_read_only_disk_is_told_and_ends_nothing() {
    let Some(berth) = with_own_disk("a_read_only_disk_is_told_and_ends_nothing") else { return };
    let script = "trap 'exit 7' TERM; while :; do sleep 0.05; done";
    berth.ok(&["run", "-d", "--name", "polite", "box", "sh", "-c", script]);
    berth.ok(&["create", "--name", "made", "box", "true"]);
    // A file that is open for writing keeps a disk writable: the log's, until the container is stopped.
    let read_only = |on| {
        let flags = if on { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(berth.root(), flags, c"")
    };
    berth.ok(&["stop", "polite"]);
    read_only(true).expect("nobody writes");
    for words in
        [&["run", "box", "true"][..], &["start", "made"], &["rm", "made"], &["volume", "create", "data"]]
    {
        let refused = berth.run(words);
        assert!(!refused.succeeded(), "{}", refused.tell());
        let told = refused.stderr();
        assert!(told.contains("read-only") || told.contains("readonly"), "{}", refused.tell());
    }
    read_only(false).expect("it was before");
    assert_eq!(berth.ok(&["start", "-a", "made"]), "");
    berth.check().expect("all is well again");
}

#[test]
fn a_folder_that_is_a_file_is_named() {
    let Some(berth) = boxed("a_folder_that_is_a_file_is_named") else { return };
    let file = berth.path("file").display().to_string();
    fs::write(&file, "x").expect("the directory is ours");
    for flag in ["--root", "--runroot"] {
        let refused = berth.run(&[flag, &file, "run", "box", "true"]);
        assert_eq!(refused.output.status.code(), Some(125), "{}", refused.tell());
        assert!(refused.stderr().contains(&file), "{}", refused.tell());
    }
}

/// A berth whose root is an ext4 that counts by projects; none where the kernel cannot.
fn with_projects(test: &str) -> Option<Sealed> {
    let sealed = Sealed::new();
    fs::create_dir(sealed.root()).expect("the directory is ours");
    let disk = sealed.path("disk");
    File::create(&disk).and_then(|file| file.set_len(256 << 20)).expect("there is room");
    let run = |program: &str, words: &[&str]| {
        let status =
            std::process::Command::new(program).args(words).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let (disk, root) = (disk.to_str().expect("a plain name"), sealed.root());
    let made = run("mkfs.ext4", &["-q", "-F", "-O", "quota,project", disk])
        && run("mount", &["-o", "loop,prjquota", disk, root.to_str().expect("a plain name")]);
    if !made {
        skipped(test, "this machine has no ext4 that counts by projects (kernel, mkfs.ext4)");
        return None;
    }
    furnished(sealed, test)
}

#[test]
fn a_container_gets_no_more_of_the_disk_than_its_size() {
    let test = "a_container_gets_no_more_of_the_disk_than_its_size";
    let Some(berth) = with_projects(test) else { return };
    let write = |name: &str, megabytes: u32| {
        let script = format!(
            "dd if=/dev/zero of=/file bs=1M count={megabytes} 2>&1 | grep -v records; stat -c %s /file"
        );
        berth.run(&["exec", name, "sh", "-c", &script]).stdout()
    };
    for name in ["small", "other"] {
        berth.ok(&["run", "-d", "--name", name, "--storage-opt", "size=8m", "box", "sleep", "1000"]);
    }
    assert_eq!(field(&berth, "small", "{{json .HostConfig.StorageOpt}}"), r#"{"size":"8m"}"#);
    let refused = write("small", 20);
    let length: u64 = refused.lines().last().and_then(|line| line.parse().ok()).unwrap_or_default();
    assert!((4 << 20..=8 << 20).contains(&length), "{refused}");
    assert_eq!(write("other", 4), format!("{}\n", 4 << 20), "each has its own");
    berth.ok(&["run", "-d", "--name", "free", "box", "sleep", "1000"]);
    assert_eq!(write("free", 20), format!("{}\n", 20 << 20));
    // Room that is made can be used again, and a restart remembers.
    berth.ok(&["exec", "small", "rm", "/file"]);
    berth.ok(&["restart", "--time", "0", "small"]);
    assert_eq!(write("small", 4), format!("{}\n", 4 << 20));
    assert_ne!(write("small", 20), format!("{}\n", 20 << 20));
    // What it reports and writes into its log is not counted.
    berth.ok(&["logs", "small"]);
    for name in ["small", "other", "free"] {
        berth.ok(&["rm", "--force", name]);
    }
    berth.check().expect("all is well");
}

#[test]
fn sizes_that_cannot_be_kept() {
    let Some(berth) = with_own_disk("sizes_that_cannot_be_kept") else { return };
    for (option, expected) in [
        ("size=1g", "does not count by projects"),
        ("size=x", "invalid size: 'x'"),
        ("size=0", "invalid size: '0'"),
        ("foo=1", "unknown storage option: foo"),
        ("foo", "invalid storage option"),
    ] {
        let outcome = berth.run(&["run", "--rm", "--storage-opt", option, "box", "true"]);
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{}", outcome.tell());
    }
    assert_eq!(berth.ok(&["ps", "-aq"]), "", "nothing is left of them");
}
