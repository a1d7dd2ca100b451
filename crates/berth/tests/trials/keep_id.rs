//! `--userns keep-id` and `nomap`: an ordinary user is himself in a container, or nobody; root as podman has it.

use super::support::{Machine, User, boxed, busybox_tar, skipped};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

/// A user with the image `box`, whose file `/srv/file` belongs to 33 and directory `/home/node` to 1000, the same as
/// `of33`, which runs as 33, and a directory `src` of his own.
fn with_box(test: &str, machine: Machine) -> Option<User> {
    let Some(mut tar) = busybox_tar() else {
        skipped(test, "there is no static busybox at /bin/busybox");
        return None;
    };
    let user = User::new(test, machine)?;
    tar.directory("etc");
    tar.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n");
    tar.file("etc/group", 0o644, b"root:x:0:\n");
    tar.directory("srv");
    tar.directory("home");
    tar.own(33);
    tar.file("srv/file", 0o600, b"of 33");
    tar.own(1000);
    tar.directory("home/node");
    fs::write(user.path("box.tar"), tar.finish()).unwrap();
    user.ok(&["import", user.path("box.tar").to_str().unwrap(), "box"]);
    user.ok(&["import", "--change", "USER 33", user.path("box.tar").to_str().unwrap(), "of33"]);
    let src = user.home().join("src");
    fs::create_dir(&src).unwrap();
    fs::set_permissions(&src, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&src, Some(user.uid()), Some(user.uid())).unwrap();
    Some(user)
}

fn run(user: &User, mode: &str, more: &[&str], script: &str) -> String {
    user.ok(&[&["run", "--rm", "--userns", mode][..], more, &["box", "sh", "-c", script]].concat())
}

#[test]
fn a_user_is_himself_in_his_container() {
    let Some(user) = with_box("a_user_is_himself_in_his_container", Machine::default()) else { return };
    let uid = user.uid();
    let me = "id -u; id -un; stat -c %u /src; touch /src/made";
    assert_eq!(run(&user, "keep-id", &["-v", "./src:/src"], me), format!("{uid}\ntrial\n{uid}\n"));
    assert_eq!(fs::metadata(user.home().join("src/made")).unwrap().uid(), uid);
    let owners = "stat -c %u /bin /srv/file /home/node /etc/hosts | xargs; cat /srv/file 2>&1; touch /bin/x 2>/dev/null \
                  || echo refused";
    let seen = format!("0 33 1000 {uid}\ncat: can't open '/srv/file': Permission denied\nrefused\n");
    assert_eq!(run(&user, "keep-id", &[], owners), seen, "the image's files are whose they were");
    // One of the users of the image.
    let node = ["-v", "./src:/src", "-w", "/home/node"];
    let work = "id -u; touch mine /src/made && stat -c %u mine /src/made | xargs; echo $HOME; whoami";
    assert_eq!(run(&user, "keep-id:uid=1000,gid=1000", &node, work), "1000\n1000 1000\n/home/node\ntrial\n");
    let root =
        "id -u; stat -c %u /src /srv/file | xargs; touch /bin/x && chown 5 /bin/x && stat -c %u /bin/x";
    let as_root = ["-v", "./src:/src", "-u", "0"];
    assert_eq!(
        run(&user, "keep-id:uid=1000", &as_root, root),
        "0\n1000 33\n5\n",
        "its root is somebody else"
    );
    // The image's word for its user counts; the caller's group comes along.
    let image = ["run", "--rm", "--userns", "keep-id:uid=1000,gid=1001", "of33", "sh", "-c", "id -u; id -G"];
    assert_eq!(user.ok(&image), "33\n0 1001\n");
    let himself = run(&user, "keep-id:uid=0,gid=0", &[], "id -u; stat -c %u /bin /srv/file | xargs");
    assert_eq!(himself, "0\n0 33\n");
    let network = run(&user, "keep-id", &["--network", "host", "--privileged"], "id -u");
    assert_eq!(network, format!("{uid}\n"));
}

#[test]
fn what_a_kept_user_makes_is_his_wherever_it_goes() {
    let test = "what_a_kept_user_makes_is_his_wherever_it_goes";
    let Some(user) = with_box(test, Machine::default()) else { return };
    let mode = "keep-id:uid=1000,gid=1000";
    user.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--userns",
        mode,
        "-v",
        "data:/data",
        "box",
        "sh",
        "-c",
        "echo x > /home/node/x; echo y > /data/y; echo ready; exec sleep 1000",
    ]);
    let owner = |path: &str| user.ok(&["exec", "web", "stat", "-c", "%u:%g", path]);
    assert_eq!(user.ok(&["exec", "web", "id", "-u"]), "1000\n");
    fs::write(user.home().join("src/in"), "").unwrap();
    user.ok(&["cp", "--archive", "src/in", "web:/home/node/in"]);
    user.ok(&["cp", "web:/home/node/x", "src/x"]);
    assert_eq!(owner("/srv/file"), "33:33\n");
    user.ok(&["stop", "--time", "0", "web"]);
    let changed = user.ok(&["diff", "web"]);
    assert!(changed.contains("A /home/node/x") && !changed.contains("/srv"), "{changed}");
    user.ok(&["start", "web"]);
    assert_eq!(
        (owner("/home/node/x"), owner("/data/y")),
        ("1000:1000\n".to_owned(), "1000:1000\n".to_owned())
    );
    user.ok(&["commit", "--pause=false", "web", "made"]);
    let plain =
        ["run", "--rm", "-u", "0", "made", "stat", "-c", "%u:%g", "/home/node/x", "/srv/file", "/home/node"];
    assert_eq!(user.ok(&plain), "1000:1000\n33:33\n1000:1000\n", "a layer has the container's numbers");
    let tar = user.path("home/web.tar");
    user.ok(&["export", "-o", tar.to_str().unwrap(), "web"]);
    let listed =
        std::process::Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&tar).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.lines().any(|l| l.contains("1000/1000") && l.ends_with("home/node/x")), "{listed}");
    assert!(listed.lines().any(|l| l.contains(" 33/33 ") && l.ends_with("srv/file")), "{listed}");
    user.ok(&["rm", "--force", "web"]);
    user.ok(&["system", "check"]);
}

#[test]
fn a_user_is_nobody_in_his_container() {
    let Some(user) = with_box("a_user_is_nobody_in_his_container", Machine::default()) else { return };
    let root = ["-v", "./src:/src", "-v", "new:/new", "-u", "0"];
    let script = "id -u; stat -c %u /bin /srv/file /src /new | xargs; touch /new/x; touch /src/x 2>/dev/null || echo no";
    assert_eq!(run(&user, "nomap", &root, script), "0\n0 33 65534 0\nno\n");
    assert_eq!(user.ok(&["run", "--rm", "--userns", "nomap", "of33", "id", "-u"]), "33\n");
}

#[test]
fn users_that_cannot_be_kept() {
    let without = Machine { without_range: true, ..Machine::default() };
    if let Some(user) = with_box("users_that_cannot_be_kept", without) {
        for mode in ["keep-id", "nomap"] {
            let outcome = user.run(&["run", "--rm", "--userns", mode, "box", "true"]);
            assert!(outcome.stderr().contains("you have no users but yourself"), "{}", outcome.tell());
        }
    }
    let Some(sealed) = boxed("users_that_cannot_be_kept") else { return };
    for (mode, expected) in [
        ("nomap", "nomap is only supported in rootless mode"),
        ("keep-id:uid=x", "--userns: invalid option of keep-id: uid=x"),
        ("keep-id:foo=1", "--userns: invalid option of keep-id: foo=1"),
    ] {
        let outcome = sealed.run(&["run", "--rm", "--userns", mode, "box", "true"]);
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(expected), "{}", outcome.tell());
    }
    let script = "id -u; stat -c %u /bin/busybox; readlink /proc/self/ns/user";
    let kept = sealed.ok(&["run", "--rm", "--userns", "keep-id", "box", "sh", "-c", script]);
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    assert!(kept.starts_with("0\n0\nuser:[") && !kept.contains(own.to_str().unwrap()), "{kept}");
}
