//! The real binary in the hands of an ordinary user who exists only here: the files that say so are mounted over the
//! machine's in a mount namespace of each command, and nothing of the machine is changed.

use super::{Outcome, skipped};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Numbers that no machine gives to anybody: beyond those that systemd has for services and containers.
const FIRST_UID: u32 = 1_900_000_000;
const FIRST_OF_RANGE: u32 = 3_000_000_000;
const RANGE: u32 = 65_536;

/// What is different from a usual machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// `/etc/subuid` has nothing for the user.
    pub(crate) without_range: bool,
    /// There is no `newuidmap`.
    pub(crate) without_newuidmap: bool,
    /// The user's session has a cgroup of its own, as systemd gives it.
    pub(crate) with_cgroup: bool,
}

/// An ordinary user with a home.
pub(crate) struct User {
    directory: TempDir,
    machine: Machine,
    number: u32,
}

impl User {
    /// One of his own; none where the machine lacks what an ordinary user needs, which is told.
    pub(crate) fn new(test: &str, machine: Machine) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for program in ["unshare", "setpriv", "mount", "newuidmap", "newgidmap"] {
            if !is_there(program) {
                skipped(test, &format!("this machine has no `{program}`"));
                return None;
            }
        }
        let number = std::process::id() % 50 * 20 + NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new().prefix("berth-user-").tempdir().expect("a place for tests");
        let user = Self { directory, machine, number };
        user.furnish();
        Some(user)
    }

    fn furnish(&self) {
        let uid = self.uid();
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let write =
            |name: &str, text: String| fs::write(self.path(name), text).expect("the directory is ours");
        let range = match self.machine.without_range {
            true => String::new(),
            false => format!("trial:{}:{RANGE}\n", self.first_of_range()),
        };
        write(
            "passwd",
            format!("{}trial:x:{uid}:{uid}::{}:/bin/sh\n", text("/etc/passwd"), self.home().display()),
        );
        write("subuid", range.clone());
        write("subgid", range);
        write("berth", String::new());
        write("tun", String::new());
        fs::remove_file(self.path("tun")).expect("it was just made");
        let made = Command::new("mknod").arg(self.path("tun")).args(["c", "10", "200"]).status();
        assert!(made.is_ok_and(|status| status.success()), "root makes devices");
        fs::set_permissions(self.path("tun"), fs::Permissions::from_mode(0o666)).expect("it is ours");
        fs::set_permissions(self.directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        for name in ["home", "run"] {
            fs::create_dir(self.path(name)).expect("the directory is ours");
            chown(self.path(name), Some(uid), Some(uid)).expect("root gives away");
        }
        fs::set_permissions(self.path("run"), fs::Permissions::from_mode(0o700)).expect("it is ours");
        if let Some(service) = self.service() {
            self.give(&service).expect("root makes cgroups");
        }
    }

    /// Where systemd has the cgroup that it gives to a user.
    pub(crate) fn service(&self) -> Option<PathBuf> {
        let mut mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from).into_iter();
        let v2 = mounts.find(|mount| mount.join("cgroup.controllers").exists());
        let uid = self.uid();
        let place = format!("user.slice/user-{uid}.slice/user@{uid}.service");
        v2.filter(|_| self.machine.with_cgroup).map(|mount| mount.join(place))
    }

    fn give(&self, service: &Path) -> std::io::Result<()> {
        let scope = service.join("app.slice/trial.scope");
        fs::create_dir_all(&scope)?;
        let above: Vec<_> = service.ancestors().take_while(|dir| dir.join("cgroup.procs").exists()).collect();
        for dir in above.into_iter().rev() {
            // Each as far as it is there: a machine with v1 has its controllers elsewhere.
            for controller in ["memory", "pids", "cpu"] {
                let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        for dir in [service, &service.join("app.slice"), &scope] {
            for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                chown(dir.join(name), Some(self.uid()), Some(self.uid()))?;
            }
        }
        Ok(())
    }

    fn take_back(&self, service: &Path) {
        let own = service.join("app.slice/trial.scope");
        let start = std::time::Instant::now();
        // Whoever was killed leaves it in his own time.
        while fs::remove_dir(&own).is_err() && own.exists() && start.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        let below = fs::read_dir(service).into_iter().flatten().flatten().map(|entry| entry.path());
        let rest: Vec<_> = below.filter(|path| path.is_dir()).collect();
        let above = service.ancestors().take(3).map(Path::to_owned);
        for dir in rest.into_iter().chain(above) {
            // Others may have something in there.
            let _ = fs::remove_dir(dir);
        }
    }

    /// The user's number.
    pub(crate) fn uid(&self) -> u32 {
        FIRST_UID + self.number
    }

    fn first_of_range(&self) -> u32 {
        FIRST_OF_RANGE + self.number * RANGE
    }

    /// A path beside the user's home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the user lives.
    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// A program of this machine, as this user, in his home.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let bind = |name: &str, over: &str| format!("mount --bind '{}' {over}\n", self.path(name).display());
        let mut script = "set -e\n".to_owned();
        for name in ["passwd", "subuid", "subgid"] {
            // Not every machine has the last two.
            script += &format!("[ ! -e /etc/{name} ] || {}", bind(name, &format!("/etc/{name}")));
        }
        script += &format!("[ ! -e /dev/net/tun ] || {}", bind("tun", "/dev/net/tun"));
        let program = env!("CARGO_BIN_EXE_berth");
        // It may lie where only root gets to.
        script += &format!("mount --bind '{program}' '{}'\n", self.path("berth").display());
        if self.machine.without_newuidmap {
            script += "mount --bind /dev/null \"$(command -v newuidmap)\"\n";
        }
        if let Some(service) = self.service() {
            script += &format!("echo $$ > '{}/app.slice/trial.scope/cgroup.procs'\n", service.display());
        }
        script += &format!("cd '{}'\n", self.home().display());
        script += &format!("exec setpriv --reuid {0} --regid {0} --clear-groups -- \"$@\"", self.uid());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).args(words);
        #[expect(clippy::disallowed_methods, reason = "programs are where the tests' own are")]
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear().stdin(Stdio::null()).env("PATH", path).env("HOME", self.home());
        command.env("USER", "trial").env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    /// Runs berth as this user.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        let program = self.path("berth");
        let program = program.to_str().expect("the directory's name is text");
        let output = self.command(&[&[program], words].concat()).output().expect("unshare starts");
        Outcome { words: words.join(" "), output }
    }

    /// Runs berth, which must succeed; answers what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let outcome = self.run(words);
        assert!(outcome.succeeded(), "{}", outcome.tell());
        outcome.stdout()
    }

    /// The processes that are the user's, or of the users that he was given: number and command line.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir("/proc").expect("there is a /proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_his = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
            let own = self.first_of_range()..self.first_of_range() + RANGE;
            let is_dead = status.lines().any(|line| line.starts_with("State:") && line.contains('Z'));
            let mut ids = ids.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
            !is_dead && ids.any(|id| id == self.uid() || own.contains(&id))
        };
        let words = |pid: i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).replace('\0', " ")
        };
        pids.filter(is_his).map(|pid| (pid, words(pid))).collect()
    }

    /// The process that holds the user's namespaces.
    pub(crate) fn holder(&self) -> Option<i32> {
        let mut found =
            self.processes().into_iter().filter(|(_, words)| words.starts_with("berth-rootless "));
        found.next().map(|(pid, _)| pid)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // His files belong to users whom only he can name; what is left of a failed test is ended with force.
        let reset = self.run(&["system", "reset", "--force"]);
        if !std::thread::panicking() {
            assert!(reset.succeeded() || self.machine.without_newuidmap, "{}", reset.tell());
        }
        for (pid, _) in self.processes() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        if let Some(service) = self.service() {
            self.take_back(&service);
        }
    }
}

fn is_there(program: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "programs are where the tests' own are")]
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|dir| dir.join(program).is_file())
}

/// Whether this machine has a helper that leads an ordinary user's containers out.
pub(crate) fn has_uplink() -> bool {
    Path::new("/dev/net/tun").exists() && (is_there("pasta") || is_there("slirp4netns"))
}
