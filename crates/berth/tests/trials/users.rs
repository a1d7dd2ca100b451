//! Containers whose users are not the host's, and mounts whose files have other owners in them than outside.

use super::support::{Sealed, rig, skipped};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// A berth that has users to give away; the machine says which in `/etc/subuid`.
fn with_users(test: &str) -> Option<Sealed> {
    let has = |path: &str| {
        fs::read_to_string(path).unwrap_or_default().lines().any(|line| {
            line.strip_prefix("containers:").or(line.strip_prefix("root:")).is_some_and(|l| l.contains(':'))
        })
    };
    if !has("/etc/subuid") || !has("/etc/subgid") {
        skipped(test, "/etc/subuid and /etc/subgid have no line for `containers` or root");
        return None;
    }
    let berth = rig(test, "CMD true")?;
    let mapped = berth.run(&["run", "--rm", "--userns", "auto", "box", "true"]);
    if mapped.stderr().contains("cannot be shown with other owners") {
        skipped(test, "the disk of the store cannot show files with other owners");
        return None;
    }
    assert!(mapped.succeeded(), "{}", mapped.tell());
    Some(berth)
}

/// The user of the host that the container's root is.
fn root_of(berth: &Sealed, name: &str) -> u32 {
    let map = berth.ok(&["exec", "-u", "0", name, "cat", "/proc/self/uid_map"]);
    let mut numbers = map.split_whitespace();
    assert_eq!(numbers.next(), Some("0"));
    numbers.next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn root_is_nobody_outside_and_sees_its_own_files() {
    let Some(berth) = with_users("root_is_nobody_outside_and_sees_its_own_files") else { return };
    let script = "stat -c '%u:%g %a %n' / /etc/passwd /srv/file /srv/sub/program; \
                  echo said >/dev/stdout; echo x >/srv/made; chown 33:44 /srv/made; rm /srv/link; sleep 1000";
    berth.ok(&["run", "-d", "--name", "one", "--userns", "auto", "box", "sh", "-c", script]);
    while !berth.ok(&["diff", "one"]).contains("D /srv/link") {}
    assert_eq!(
        berth.ok(&["logs", "one"]),
        "0:0 755 /\n0:0 644 /etc/passwd\n0:0 640 /srv/file\n0:0 4755 /srv/sub/program\nsaid\n"
    );
    berth.ok(&["run", "-d", "--name", "two", "--userns", "auto:size=1000", "box", "sleep", "1000"]);
    let (one, two) = (root_of(&berth, "one"), root_of(&berth, "two"));
    assert!(one > 0 && one.abs_diff(two) >= 1000, "{one} {two}");
    assert_eq!(berth.ok(&["inspect", "--format", "{{.HostConfig.UsernsMode}}", "two"]), "auto:size=1000\n");
    let pid = berth.ok(&["inspect", "--format", "{{.State.Pid}}", "one"]);
    assert_eq!(fs::metadata(format!("/proc/{}/root", pid.trim())).unwrap().uid(), one);

    // From outside, running or not, its files have the owners that it knows.
    let note = berth.path("note");
    fs::write(&note, "a note").unwrap();
    for state in ["running", "stopped"] {
        berth.ok(&["cp", note.to_str().unwrap(), &format!("one:/srv/{state}")]);
        // The owner as the header of a tar has it, in octal digits.
        let tar = berth.ok(&["cp", "one:/srv/made", "-"]);
        let number = |at: usize| u32::from_str_radix(tar[at..at + 7].trim_matches(['\0', ' ']), 8);
        assert_eq!((number(108), number(116)), (Ok(33), Ok(44)), "{state}");
        berth.ok(&["stop", "-t", "0", "one"]);
    }
    berth.ok(&["commit", "one", "after"]);
    let script = "stat -c '%u:%g %n' /srv/made /srv/running /srv/stopped; cat /srv/running";
    let expected = "33:44 /srv/made\n0:0 /srv/running\n0:0 /srv/stopped\na note";
    assert_eq!(berth.ok(&["run", "--rm", "after", "sh", "-c", script]), expected);
    assert_eq!(berth.ok(&["run", "--rm", "--userns", "auto", "after", "sh", "-c", script]), expected);
}

#[test]
fn volumes_are_the_same_for_everybody_and_binds_are_the_hosts() {
    let Some(berth) = with_users("volumes_are_the_same_for_everybody_and_binds_are_the_hosts") else {
        return;
    };
    let make = "touch /srv/new; chown 5:6 /srv/new; stat -c %u:%g /srv/file /srv/new";
    let own = ["run", "--rm", "--userns", "auto", "-v", "data:/srv", "box", "sh", "-c", make];
    assert_eq!(berth.ok(&own), "0:0\n5:6\n");
    let look = ["run", "--rm", "-v", "data:/srv", "box", "stat", "-c", "%u:%g", "/srv/file", "/srv/new"];
    assert_eq!(berth.ok(&look), "0:0\n5:6\n");
    let bind = berth.path("bind");
    fs::create_dir(&bind).unwrap();
    let bind = format!("{}:/b", bind.display());
    let outcome = berth.run(&["run", "--rm", "--userns", "auto", "-v", &bind, "box", "touch", "/b/x"]);
    assert!(outcome.stderr().contains("Permission denied"), "{}", outcome.tell());
}

#[test]
fn files_are_shown_as_the_programs_and_stay_the_callers() {
    let test = "files_are_shown_as_the_programs_and_stay_the_callers";
    let Some(berth) = with_users(test) else { return };
    let source = berth.path("source");
    let reset = |uid: u32| {
        let _ = fs::remove_dir_all(&source);
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "").unwrap();
        chown(&source, Some(uid), Some(uid + 1)).unwrap();
        chown(source.join("file"), Some(uid), Some(uid + 1)).unwrap();
    };
    let owner = |path: &Path| fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    let bind = format!("{}:/s:idmap", source.display());
    let mount = format!("type=bind,src={},dst=/s,idmap", source.display());
    let explicit = format!("{}:/s:idmap=uids=1000-7-1;gids=1001-8-1", source.display());
    for (options, seen, made) in [
        (&["-v", &bind][..], "0:0", (1000, 1001)),
        (&["-v", &bind, "-u", "33:44"], "33:44", (1000, 1001)),
        (&["--mount", &mount, "--userns", "auto"], "0:0", (1000, 1001)),
        (&["--mount", &mount, "--userns", "auto", "-u", "33:44"], "33:44", (1000, 1001)),
        (&["-v", &explicit, "-u", "7:8"], "7:8", (1000, 1001)),
    ] {
        reset(1000);
        let script = "stat -c %u:%g /s/file; touch /s/made";
        let words = [&["run", "--rm"][..], options, &["box", "sh", "-c", script]].concat();
        assert_eq!(berth.ok(&words).trim(), seen, "{options:?}");
        assert_eq!(owner(&source.join("made")), made, "{options:?}");
        assert_eq!(owner(&source.join("file")), (1000, 1001), "{options:?}");
    }
    // Given away for good.
    reset(1000);
    let given = format!("{}:/s:U", source.display());
    berth.ok(&["run", "--rm", "-v", &given, "-u", "33:44", "box", "touch", "/s/made"]);
    assert_eq!((owner(&source), owner(&source.join("file"))), ((33, 44), (33, 44)));
    for (options, expected) in [
        (&["-v", "/etc:/s:U"][..], "is not given to a container's user"),
        (&["-v", "/proc/sys:/s:idmap", "-u", "33"], "cannot be shown with other owners"),
        (&["-v", "/tmp:/s:idmap=uids=0"], "invalid idmap `uids=0`"),
        (&["--userns", "auto", "--privileged"], "privileged mode is incompatible with user namespaces"),
        (&["--userns", "auto", "--network", "host"], "cannot share the host's network namespace"),
        (&["--userns", "auto", "--pid", "host"], "cannot share the host PID namespace"),
        (&["--userns", "other"], "--userns: invalid USER mode"),
        (&["--userns", "auto:size=4000000000"], "users left that no container has"),
    ] {
        let outcome = berth.run(&[&["run", "--rm"][..], options, &["box", "true"]].concat());
        assert!(!outcome.succeeded() && outcome.stderr().contains(expected), "{}", outcome.tell());
    }
}
