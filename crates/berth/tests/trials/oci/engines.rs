//! docker and podman with `berth oci-runtime` as their low-level runtime: the Debian tree that `BERTH_TEST_PEERS` names
//! has both, and a docker daemon of our own is started in it.

use crate::support::{busybox_tar, skipped};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A directory inside the tree with our program and a small image; what is in it goes with it.
struct Place {
    tree: PathBuf,
    /// As the tree's own programs see it.
    inside: String,
    daemon: Option<Child>,
}

/// How an engine's command ended.
struct Said {
    succeeded: bool,
    code: Option<i32>,
    text: String,
}

impl Place {
    fn make(test: &str, program: &str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "where the peers of a test are is the caller's wish")]
        let tree = std::env::var_os("BERTH_TEST_PEERS").map(PathBuf::from);
        let Some(tree) = tree.filter(|tree| tree.join("usr").join(program).exists()) else {
            skipped(test, &format!("BERTH_TEST_PEERS names no Debian tree with {program}"));
            return None;
        };
        let tar = busybox_tar().or_else(|| {
            skipped(test, "there is no static busybox at /bin/busybox");
            None
        })?;
        let inside = format!("/var/tmp/berth-{test}-{}", std::process::id());
        let place = Self { tree, inside, daemon: None };
        std::fs::create_dir_all(place.path("")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_berth"), place.path("berth-oci-runtime")).unwrap();
        std::fs::write(place.path("box.tar"), tar.finish()).unwrap();
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree.join(self.inside.trim_start_matches('/')).join(name)
    }

    fn in_tree(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.tree).args(words).stdin(Stdio::null());
        command.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
        command
    }

    fn say(&self, words: &[&str]) -> Said {
        let output = self.in_tree(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said {
            succeeded: output.status.success(),
            code: output.status.code(),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }

    /// A daemon that knows our runtime by the name `berth`, and no networks.
    fn start_docker(&mut self) -> Vec<String> {
        let inside = self.inside.clone();
        let runtime = format!("{inside}/berth-oci-runtime");
        let config = serde_json::json!({
            "runtimes": { "berth": { "path": runtime } }, "bridge": "none", "iptables": false, "ip6tables": false,
            "data-root": format!("{inside}/data"), "exec-root": format!("{inside}/exec"),
            "pidfile": format!("{inside}/pid"), "hosts": [format!("unix://{inside}/docker.sock")],
        });
        std::fs::write(self.path("daemon.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(self.path("daemon.log")).unwrap();
        // A daemon without networks removes what it finds of another's: it gets a namespace in which there is nothing.
        let mut command = Command::new("unshare");
        command.args(["--net", "chroot"]).arg(&self.tree);
        command.args(["dockerd", "--config-file", &format!("{inside}/daemon.json")]).stdin(Stdio::null());
        self.daemon = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let words = ["docker".to_owned(), "-H".to_owned(), format!("unix://{inside}/docker.sock")];
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.say(&[&words[0], &words[1], &words[2], "version"]).succeeded {
            let log = || std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
            assert!(Instant::now() < limit, "the docker daemon does not answer: {}", log());
        }
        words.to_vec()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            if let Some(pid) = rustix::process::Pid::from_raw(daemon.id().cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = daemon.wait();
        }
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in table.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(point).starts_with(self.path("")) {
                let _ = Command::new("umount").args(["--lazy", point]).status();
            }
        }
        let _ = std::fs::remove_dir_all(self.path(""));
    }
}

/// An engine's words before every command, and what its `run` needs besides.
struct Engine<'a> {
    place: &'a Place,
    words: Vec<String>,
    run: Vec<&'a str>,
}

impl Engine<'_> {
    fn say(&self, words: &[&str]) -> Said {
        let all: Vec<_> = self.words.iter().map(String::as_str).chain(words.iter().copied()).collect();
        self.place.say(&all)
    }

    fn ok(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert!(said.succeeded, "{words:?}: {:?} {}", said.code, said.text);
        said.text
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Said {
        let all: Vec<_> = [&["run", "--network", "none"], &self.run[..], options, &["box"], command].concat();
        self.say(&all)
    }

    fn becomes(&self, words: &[&str], wanted: &str) {
        let limit = Instant::now() + Duration::from_secs(30);
        while !self.ok(words).contains(wanted) {
            assert!(Instant::now() < limit, "{words:?} does not become {wanted}: {}", self.ok(words));
        }
    }
}

/// Everything a user does with a container.
fn a_container_s_life(engine: &Engine<'_>) {
    engine.ok(&["import", &format!("{}/box.tar", engine.place.inside), "box"]);
    let said = engine.run(&["--rm"], &["echo", "hi"]);
    assert!(said.succeeded && said.text.ends_with("hi\n"), "{}", said.text);
    assert_eq!(engine.run(&["--rm"], &["sh", "-c", "exit 7"]).code, Some(7));
    let said = engine.run(&["--rm"], &["nosuchcommand"]);
    assert!(said.code == Some(127) && said.text.contains("not found"), "{:?} {}", said.code, said.text);
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let said = engine.run(&["-d", "--name", "web"], &["sh", "-c", script]);
    assert!(said.succeeded, "{}", said.text);
    assert!(
        engine.ok(&["exec", "-u", "5", "-w", "/bin", "web", "sh", "-c", "id -u; pwd"]).ends_with("5\n/bin\n")
    );
    assert_eq!(engine.say(&["exec", "web", "sh", "-c", "exit 4"]).code, Some(4));
    engine.ok(&["pause", "web"]);
    assert!(engine.ok(&["inspect", "--format", "{{.State.Status}}", "web"]).ends_with("paused\n"));
    engine.ok(&["unpause", "web"]);
    engine.ok(&["update", "--memory", "64m", "--memory-swap", "128m", "--pids-limit", "55", "web"]);
    assert!(engine.ok(&["top", "web"]).contains("sleep"));
    assert!(engine.ok(&["stats", "--no-stream", "web"]).contains("web"));
    engine.ok(&["stop", "-t", "10", "web"]);
    assert!(engine.ok(&["inspect", "--format", "{{.State.ExitCode}}", "web"]).ends_with("3\n"));
    assert!(engine.ok(&["logs", "web"]).ends_with("up\nbye\n"));
    engine.ok(&["rm", "web"]);
    let said = engine.run(&["--rm", "--memory", "24m", "--memory-swap", "24m"], &["tail", "/dev/zero"]);
    assert_eq!(said.code, Some(137), "{}", said.text);
}

#[test]
fn docker_runs_containers_with_it() {
    let Some(mut place) = Place::make("docker", "sbin/dockerd") else { return };
    let words = place.start_docker();
    let engine = Engine { place: &place, words, run: vec!["--runtime", "berth"] };
    a_container_s_life(&engine);
    let run = ["-d", "--name", "health", "--health-cmd", "true", "--health-interval", "100ms"];
    assert!(engine.run(&run, &["sh", "-c", "while :; do sleep 0.1; done"]).succeeded);
    engine.becomes(&["inspect", "--format", "{{.State.Health.Status}}", "health"], "healthy");
    engine.ok(&["update", "--cpuset-cpus", "0", "health"]);
    engine.ok(&["rm", "-f", "health"]);
}

#[test]
fn podman_runs_containers_with_it() {
    let Some(place) = Place::make("podman", "bin/podman") else { return };
    let at = |name: &str| format!("{}/{name}", place.inside);
    let words = [
        "podman",
        "--root",
        &at("data"),
        "--runroot",
        &at("run"),
        "--tmpdir",
        &at("tmp"),
        "--events-backend",
        "file",
        "--cgroup-manager",
        "cgroupfs",
        "--runtime",
        &at("berth-oci-runtime"),
    ];
    // Its own defaults may be more than this machine's limits.
    let run = vec!["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let engine = Engine { place: &place, words: words.map(ToOwned::to_owned).to_vec(), run };
    a_container_s_life(&engine);
    let run = ["-d", "--name", "health", "--health-cmd", "true", "--health-interval", "disable"];
    assert!(engine.run(&run, &["sh", "-c", "while :; do sleep 0.1; done"]).succeeded);
    engine.ok(&["healthcheck", "run", "health"]);
    engine.ok(&["rm", "-f", "-t", "0", "health"]);
    let link = place.path("link");
    std::os::unix::fs::symlink("box.tar", &link).unwrap();
    let mount = format!("type=bind,src={},dst=/copy,no-dereference", at("link"));
    let said = engine.run(&["--rm", "--mount", &mount], &["busybox", "readlink", "/copy"]);
    assert!(said.text.ends_with("box.tar\n"), "{}", said.text);
}
