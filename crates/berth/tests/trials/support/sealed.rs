//! The real binary with a root, a run directory, a home and a configuration of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// How a command ended.
pub(crate) struct Outcome {
    pub(crate) words: String,
    pub(crate) output: Output,
}

impl Outcome {
    pub(crate) fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.output.status.signal() == Some(9)
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Everything about it, for a message.
    pub(crate) fn tell(&self) -> String {
        format!("berth {}: {}\n{}{}", self.words, self.output.status, self.stdout(), self.stderr())
    }
}

/// A berth that shares nothing with any other on this machine.
pub(crate) struct Sealed {
    directory: TempDir,
}

impl Sealed {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("berth-trial-").tempdir().expect("a place for tests");
        // A configuration that is named must be there; the machine's own must not be read.
        std::fs::write(directory.path().join("berth.toml"), "").expect("the directory is ours");
        Self { directory }
    }

    /// A path inside of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The store's directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A command to be started; `fault` is where it shall kill itself.
    pub(crate) fn command(&self, words: &[&str], fault: Option<&str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(words).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.directory.path()).env("DOCKER_CONFIG", self.path("docker"));
        command.env("BERTH_ROOT", self.root()).env("BERTH_RUNROOT", self.path("run"));
        command.env("BERTH_CONFIG", self.path("berth.toml"));
        command.envs(fault.map(|fault| ("BERTH_FAULT", fault)));
        command
    }

    /// Starts a command and leaves it alone.
    pub(crate) fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.command(words, None);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    }

    /// Runs a command that kills itself at `fault`.
    pub(crate) fn run_with(&self, words: &[&str], fault: Option<&str>) -> Outcome {
        let output = self.command(words, fault).output().expect("the binary starts");
        Outcome { words: words.join(" "), output }
    }

    /// Runs a command.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        self.run_with(words, None)
    }

    /// Runs a command that must succeed; answers what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let outcome = self.run(words);
        assert!(outcome.succeeded(), "{}", outcome.tell());
        outcome.stdout()
    }

    /// Whether the store keeps its promises, in its own words where it does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let outcome = self.run(&["system", "check"]);
        if outcome.succeeded() { Ok(()) } else { Err(outcome.tell()) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        let containers = self.run(&["ps", "--all", "--quiet", "--no-trunc"]).stdout();
        for id in containers.lines() {
            self.run(&["rm", "--force", id]);
        }
        if self.path("run/network").exists() {
            // Bridges and rules are the machine's: they would outlive the directory.
            self.run(&["system", "reset", "--force"]);
        }
        unmount_below(self.directory.path());
    }
}

/// Layers stay mounted between commands; nobody can remove a directory with mounts in it.
fn unmount_below(directory: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below =
        |line: &&str| line.split(' ').nth(4).is_some_and(|point| Path::new(point).starts_with(directory));
    for line in table.lines().filter(below).collect::<Vec<_>>().into_iter().rev() {
        let point = line.split(' ').nth(4).expect("the filter has seen it");
        let _ = Command::new("umount").args(["--lazy", point]).status();
    }
}
