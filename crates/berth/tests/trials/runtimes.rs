//! `--runtime`: containers whose processes another OCI runtime makes. Here that is `berth oci-runtime`, called as any
//! other, and runc where this machine has it.

use super::support::{Machine, Sealed, Story, User, boxed, busybox_tar, skipped};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A program that is our own runtime for everybody who calls runtimes.
fn runtime(sealed: &Sealed) -> String {
    let path = sealed.path("berth-oci-runtime");
    if !path.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_berth"), &path).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

fn inspect(sealed: &Sealed, name: &str, template: &str) -> String {
    sealed.ok(&["inspect", "--format", template, name]).trim_end().to_owned()
}

/// The life of a container with this runtime.
fn live(sealed: &Sealed, runtime: &str) {
    let run = |words: &[&str]| sealed.run(&[&["run", "--rm", "--runtime", runtime][..], words].concat());
    let said = run(&["-u", "33:44", "--group-add", "7", "box", "sh", "-c", "id; echo err >&2; exit 3"]);
    assert_eq!(said.output.status.code(), Some(3), "{}", said.tell());
    assert_eq!((said.stdout().as_str(), said.stderr().as_str()), ("uid=33 gid=44 groups=7\n", "err\n"));
    let seen =
        run(&["box", "sh", "-c", "grep -c ^Seccomp:.2 /proc/self/status; hostname -i; ls /sys/class/net"]);
    assert!(seen.stdout().starts_with("1\n10.") && seen.stdout().contains("eth0"), "{}", seen.tell());
    let terminal = run(&["-t", "box", "busybox", "tty"]);
    assert_eq!(terminal.stdout().trim_end(), "/dev/pts/0", "{}", terminal.tell());
    for (program, code, words) in
        [("nope", 127, "executable file not found"), ("/etc/passwd", 126, "permission denied")]
    {
        let refused = run(&["box", program]);
        assert_eq!(refused.output.status.code(), Some(code), "{}", refused.tell());
        assert!(refused.stderr().contains(words), "{}", refused.tell());
    }
    let script = "echo on; trap 'echo off; exit 0' TERM; while true; do sleep 0.1; done";
    sealed.ok(&["run", "-d", "--name", "web", "--runtime", runtime, "-m", "64m", "box", "sh", "-c", script]);
    assert_eq!(inspect(sealed, "web", "{{.HostConfig.Runtime}}"), runtime);
    let exec = |words: &[&str]| sealed.run(&[&["exec"][..], words].concat());
    assert_eq!(exec(&["-e", "A=1", "web", "sh", "-c", "echo $A; exit 7"]).output.status.code(), Some(7));
    assert_eq!(exec(&["-t", "web", "busybox", "tty"]).stdout().trim_end(), "/dev/pts/0");
    assert_eq!(exec(&["web", "nope"]).output.status.code(), Some(127));
    let used = sealed.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "web"]);
    assert!(used.contains("/ 64MiB"), "{used}");
    sealed.ok(&["pause", "web"]);
    assert_eq!(inspect(sealed, "web", "{{.State.Status}}"), "paused");
    sealed.ok(&["unpause", "web"]);
    sealed.ok(&["cp", "web:/etc/passwd", sealed.path("copied").to_str().unwrap()]);
    sealed.ok(&["restart", "web"]);
    sealed.ok(&["stop", "web"]);
    assert_eq!(sealed.ok(&["logs", "web"]), "on\noff\non\noff\n");
    assert_eq!(inspect(sealed, "web", "{{.State.ExitCode}}"), "0");
    sealed.ok(&["rm", "web"]);
}

#[test]
fn another_runtime_makes_the_processes() {
    let Some(sealed) = boxed("another_runtime_makes_the_processes") else { return };
    live(&sealed, &runtime(&sealed));
    match Path::new("/usr/sbin/runc") {
        runc if runc.exists() => live(&sealed, "/usr/sbin/runc"),
        _ => skipped("another_runtime_makes_the_processes", "this machine has no runc"),
    }
    sealed.check().unwrap();
}

#[test]
fn a_container_of_another_runtime_is_started_again() {
    let Some(sealed) = boxed("a_container_of_another_runtime_is_started_again") else { return };
    let runtime = runtime(&sealed);
    let mut story = Story::of(&sealed);
    let run = ["run", "-d", "--name", "web", "--runtime", &runtime];
    sealed.ok(&[&run[..], &["--restart", "on-failure:1", "box", "sh", "-c", "echo run; exit 5"]].concat());
    story.until("die web 5");
    story.until("die web 5");
    assert_eq!(sealed.ok(&["logs", "web"]), "run\nrun\n");
    sealed.ok(&["rm", "--force", "web"]);
    sealed.ok(&[&run[..], &["box", "sleep", "1000"]].concat());
    let pid: i32 = inspect(&sealed, "web", "{{.State.Pid}}").parse().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    assert!(std::process::Command::new("kill").args(["-9", monitor]).status().unwrap().success());
    // Whoever looks when it has died finds that nobody attends to the container, and ends it.
    let start = std::time::Instant::now();
    while inspect(&sealed, "web", "{{.State.Status}}") != "exited" {
        assert!(start.elapsed().as_secs() < 30, "the monitor {monitor} was killed");
    }
    sealed.ok(&["start", "web"]);
    sealed.ok(&["exec", "web", "true"]);
    sealed.ok(&["rm", "--force", "web"]);
    sealed.check().unwrap();
}

#[test]
fn an_ordinary_user_has_another_runtime() {
    let test = "an_ordinary_user_has_another_runtime";
    let (Some(tar), true) = (busybox_tar(), Path::new("/usr/sbin/runc").exists()) else {
        skipped(test, "this machine has no runc, or no static busybox at /bin/busybox");
        return;
    };
    let Some(user) = User::new(test, Machine::default()) else { return };
    std::fs::write(user.path("box.tar"), tar.finish()).unwrap();
    user.ok(&["import", user.path("box.tar").to_str().unwrap(), "box"]);
    let runc = ["run", "-d", "--name", "web", "--runtime", "/usr/sbin/runc", "box", "sleep", "1000"];
    user.ok(&runc);
    assert_eq!(user.ok(&["exec", "web", "sh", "-c", "id -u; ls /sys/class/net"]), "0\neth0\nlo\n");
    user.ok(&["rm", "--force", "web"]);
}

#[test]
fn runtimes_by_name() {
    let Some(sealed) = boxed("runtimes_by_name") else { return };
    let runtime = runtime(&sealed);
    let broken = sealed.path("broken");
    std::fs::write(&broken, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let broken = broken.to_str().unwrap();
    let config = format!("[runtimes]\nmine = \"{runtime}\"\nrunc = \"{broken}\"\n");
    for name in ["runc", "io.containerd.runc.v2", "berth"] {
        sealed.ok(&["run", "--rm", "--runtime", name, "box", "true"]);
    }
    std::fs::write(sealed.path("berth.toml"), config).unwrap();
    sealed.ok(&["run", "--rm", "--runtime", "mine", "box", "true"]);
    let known = sealed.ok(&["info", "--format", "{{json .Runtimes}}"]);
    assert!(known.contains(&format!(r#""mine":{{"path":"{runtime}"}}"#)), "{known}");
    let unknown = |name: &str| format!("unknown or invalid runtime name: {name}");
    for (words, expected) in [
        (&["--runtime", "nope"][..], unknown("nope")),
        (&["--runtime", "/nope"], unknown("/nope")),
        (&["--runtime", "/etc/passwd"], unknown("/etc/passwd")),
        (&["--runtime", "./mine"], unknown("./mine")),
        (&["--runtime", "mine", "--init"], "--init needs berth's own runtime, not mine".to_owned()),
        (&["--runtime", "mine", "--userns", "auto"], "--userns needs berth's own runtime".to_owned()),
        (
            &["--runtime", "mine", "--mount", "type=image,src=box,dst=/x"],
            "a mount of an image, or of a part of a volume, needs berth's own runtime".to_owned(),
        ),
        (&["--runtime", "/bin/false"], "/bin/false create failed: it does not say why".to_owned()),
        // What is configured outdoes our own names.
        (&["--runtime", "runc"], format!("{broken} does not say which process it has made")),
    ] {
        let outcome = sealed.run(&[&["run", "--rm"][..], words, &["box", "true"]].concat());
        assert_eq!(outcome.output.status.code(), Some(125), "{}", outcome.tell());
        assert!(outcome.stderr().contains(&expected), "{expected} is not in {}", outcome.tell());
    }
}
