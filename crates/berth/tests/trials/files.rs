//! A container's files from outside: `cp`, `diff`, `export`, `commit`, with containers that run, that do not, and that
//! put links in the way.

use super::support::{Sealed, rig};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

fn copy(berth: &Sealed, from: &str, to: &str) {
    berth.ok(&["cp", from, to]);
}

#[test]
fn files_go_in_and_out() {
    let Some(berth) = rig("files_go_in_and_out", "CMD true") else { return };
    let here = berth.path("here");
    fs::create_dir_all(here.join("tree/sub")).unwrap();
    fs::write(here.join("tree/sub/file"), "content").unwrap();
    let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
    berth.ok(&["run", "-d", "--name", "web", "-v", "data:/data", "box", "sleep", "1000"]);
    for stopped in [false, true] {
        if stopped {
            berth.ok(&["stop", "--time", "0", "web"]);
        }
        for (source, target, back) in [
            (path("tree"), "/data", "/data/tree/sub/file"),
            (path("tree"), "/new", "/new/sub/file"),
            (path("tree/."), "/srv", "/srv/sub/file"),
            (path("tree/sub/file"), "/data/", "/data/file"),
            (path("tree/sub/file"), "/srv/renamed", "/srv/renamed"),
        ] {
            copy(&berth, &source, &format!("web:{target}"));
            let out = path("out");
            copy(&berth, &format!("web:{back}"), &out);
            assert_eq!(text(Path::new(&out)), "content", "{source} {target}");
            fs::remove_file(out).unwrap();
        }
        let volume = berth.root().join("volumes/data/_data/tree/sub/file");
        assert_eq!(text(&volume), "content", "a volume is seen, whether the container runs or not");
        berth.ok(&["volume", "rm", "--force", "none"]);
        fs::remove_dir_all(volume.parent().unwrap().parent().unwrap()).unwrap();
    }
}

#[test]
fn links_of_a_container_stay_in_it() {
    let Some(berth) = rig("links_of_a_container_stay_in_it", "CMD true") else { return };
    let secret = berth.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    let script =
        format!("ln -s {} /way; ln -s {}/key /key; ln -s /etc /own", secret.display(), secret.display());
    for keep in ["true", "exec sleep 1000"] {
        berth.ok(&["run", "-d", "--name", "web", "box", "sh", "-c", &format!("{script}; {keep}")]);
        // The links are there when the last of them is.
        while !berth.run(&["cp", "web:/own", "-"]).succeeded() {}
        for words in [
            &["cp", "web:/way/key", "-"][..],
            &["cp", "-L", "web:/key", "-"],
            &["cp", "web:/way/../secret/key", "-"],
        ] {
            let outcome = berth.run(words);
            assert!(!outcome.stdout().contains("secret"), "{}", outcome.tell());
        }
        let file = berth.path("file");
        fs::write(&file, "planted").unwrap();
        berth.run(&["cp", file.to_str().unwrap(), "web:/way/planted"]);
        berth.run(&["cp", file.to_str().unwrap(), "web:/key"]);
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
        assert_eq!(text(&secret.join("key")), "secret");
        berth.ok(&["cp", file.to_str().unwrap(), "web:/own/planted"]);
        assert!(berth.ok(&["cp", "web:/etc/planted", "-"]).contains("planted"));
        berth.ok(&["rm", "-f", "web"]);
    }
}

/// CVE-2018-15664: a directory of the container is exchanged for a link to the host between the look at it and the copy.
#[test]
fn a_race_for_a_directory_leads_no_copy_to_the_host() {
    let Some(berth) = rig("a_race_for_a_directory_leads_no_copy_to_the_host", "CMD true") else { return };
    let (outside, planted) = (berth.path("outside"), berth.path("planted"));
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/key"), "secret").unwrap();
    fs::write(&planted, "planted").unwrap();
    berth.ok(&["run", "-d", "--name", "web", "box", "sleep", "100000"]);
    berth.ok(&["exec", "web", "sh", "-c", "mkdir -p /race/deep; echo own > /race/deep/key"]);
    let pid = berth.ok(&["inspect", "--format", "{{.State.Pid}}", "web"]);
    let root = Path::new("/proc").join(pid.trim()).join("root");
    let (race, aside) = (root.join("race"), root.join("aside"));
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                // Each may fail while a copy makes what it misses.
                let _ = fs::rename(&race, &aside);
                let _ = symlink(&outside, &race);
                let _ = fs::remove_file(&race);
                let _ = fs::rename(&aside, &race);
            }
        });
        let planted = planted.to_str().unwrap();
        for _ in 0..25 {
            for from in ["web:/race/deep/key", "web:/race/deep", "web:/race"] {
                let outcome = berth.run(&["cp", "-L", from, "-"]);
                assert!(!outcome.stdout().contains("secret"), "{}", outcome.tell());
            }
            for to in ["web:/race/deep/key", "web:/race/deep/", "web:/race/"] {
                berth.run(&["cp", planted, to]);
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    let names = |directory: &Path| fs::read_dir(directory).unwrap().count();
    assert_eq!((names(&outside), names(&outside.join("deep"))), (1, 1));
    assert_eq!(text(&outside.join("deep/key")), "secret");
}

#[test]
fn changes_are_told_and_become_an_image() {
    let Some(berth) = rig("changes_are_told_and_become_an_image", "CMD true") else { return };
    let script = "echo new >/srv/new; rm /srv/file; mkdir -p /a/b; chmod 700 /srv/sub";
    berth.ok(&["run", "--name", "web", "-e", "A=1", "-v", "/volume", "box", "sh", "-c", script]);
    assert_eq!(berth.ok(&["diff", "web"]), "A /a\nA /a/b\nC /srv\nD /srv/file\nA /srv/new\nC /srv/sub\n");
    berth.ok(&["commit", "-m", "why", "-c", "CMD [\"cat\", \"/srv/new\"]", "web", "made"]);
    assert_eq!(berth.ok(&["run", "--rm", "made"]), "new\n");
    assert_eq!(berth.ok(&["run", "--rm", "made", "sh", "-c", "ls /srv; echo $A"]), "link\nnew\nsub\n1\n");
    assert!(berth.ok(&["history", "made"]).contains("why"));
    berth.check().unwrap();
    let tar = berth.path("web.tar");
    berth.ok(&["export", "-o", tar.to_str().unwrap(), "web"]);
    berth.ok(&["import", tar.to_str().unwrap(), "flat"]);
    assert_eq!(berth.ok(&["run", "--rm", "flat", "cat", "/srv/new"]), "new\n");
    berth.ok(&["run", "-d", "--name", "runs", "box", "sleep", "1000"]);
    assert_eq!(berth.ok(&["diff", "runs"]), "");
    let top = berth.ok(&["top", "runs", "-o", "pid,args"]);
    assert!(top.starts_with("PID ") && top.contains("sleep 1000") && top.lines().count() == 2, "{top}");
}

#[test]
fn volumes_travel_as_archives() {
    let Some(berth) = rig("volumes_travel_as_archives", "CMD true") else { return };
    berth.ok(&["run", "--rm", "-v", "data:/srv", "box", "true"]);
    let tar = berth.path("data.tar");
    berth.ok(&["volume", "export", "-o", tar.to_str().unwrap(), "data"]);
    berth.ok(&["volume", "create", "copy"]);
    let mut import = berth.command(&["volume", "import", "copy", "-"], None);
    let status = import.stdin(Stdio::from(fs::File::open(&tar).unwrap())).status().unwrap();
    assert!(status.success());
    assert_eq!(berth.ok(&["run", "--rm", "-v", "copy:/x", "box", "ls", "/x"]), "file\nlink\nsub\n");
}
