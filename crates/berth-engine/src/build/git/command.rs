//! The `git` program, kept in bounds: no question to anybody, no hooks, no helpers, no configuration of this machine
//! or of the repository, only transports that lead over a network, and an end when the build ends.
//!
//! Invariant: a secret is in its environment and not in its arguments, which everybody can read.

use super::Repository;
use berth_oci::{AtPath, Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread;

/// What a list of names may need.
const OUTPUT_LIMIT: u64 = 4 << 20;
/// The end of what git complains about.
const COMPLAINT_LIMIT: usize = 4 << 10;
/// No file of a repository, and no pack of it, is larger.
const FILE_LIMIT: u64 = 64 << 30;
/// `file`, `ext` and whatever else somebody has installed are ways to read or run what is on this machine.
const PROTOCOLS: &str = "http:https:git:ssh";

impl Repository<'_> {
    /// Runs git in a directory; answers what it printed.
    pub(super) fn git(&self, directory: &Path, words: &[&str]) -> Result<String> {
        self.cancel.check()?;
        let mut command = self.command(directory, words)?;
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_found("`git` is not installed, and the build needs it")
                .hint("install it, for example with apt-get install git; or name a directory or an archive"),
            _ => Error::from(error),
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let printed = thread::spawn(move || out.map(read_output).unwrap_or_default());
        let complaint = thread::spawn(move || err.map(read_end).unwrap_or_default());
        let status = self.wait(&mut child);
        let join = |thread: thread::JoinHandle<String>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let (printed, complaint) = (join(printed), join(complaint));
        match status?.success() {
            true => Ok(printed),
            false => Err(self.failure(words[0], &complaint)),
        }
    }

    fn command(&self, directory: &Path, words: &[&str]) -> Result<Command> {
        let home = self.scratch.join("home");
        std::fs::create_dir_all(&home).at(&home)?;
        let mut command = Command::new("git");
        command.args(words).current_dir(directory).env_clear().process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", &home).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_ATTR_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS).env("GIT_LFS_SKIP_SMUDGE", "1");
        command.env("GIT_CEILING_DIRECTORIES", self.scratch.parent().unwrap_or(self.scratch));
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=15");
        command.envs(self.access.agent.iter().map(|agent| ("SSH_AUTH_SOCK", agent)));
        let proxies = [("http_proxy", &self.proxies.http), ("https_proxy", &self.proxies.https)];
        command.envs(proxies.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        command.env("no_proxy", &self.proxies.no_proxy);
        for (number, (key, value)) in self.config()?.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
            command.env("GIT_CONFIG_COUNT", (number + 1).to_string());
        }
        Ok(command)
    }

    fn config(&self) -> Result<Vec<(String, String)>> {
        let mut config: Vec<(String, String)> = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.autocrlf", "false"),
            ("credential.helper", ""),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
            // With a password in it, an address is led to another server by nobody.
            ("http.followRedirects", "initial"),
            ("submodule.recurse", "false"),
            ("maintenance.auto", "false"),
            ("gc.auto", "0"),
            ("advice.detachedHead", "false"),
            ("safe.directory", "*"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let remote = self.remote()?;
        if let (Some(authorization), Some((scheme @ ("http" | "https"), _))) =
            (&self.access.authorization, remote.split_once("://"))
        {
            let key = format!("http.{scheme}://{}/.extraheader", self.source.host());
            config.push((key, format!("Authorization: {authorization}")));
        }
        Ok(config)
    }

    /// Waits for its end, or for the build's.
    fn wait(&self, child: &mut Child) -> Result<std::process::ExitStatus> {
        let pid = Pid::from_child(child);
        let limit = Rlimit { current: Some(FILE_LIMIT), maximum: Some(FILE_LIMIT) };
        // One that has already ended needs none.
        let _ = rustix::process::prlimit(Some(pid), Resource::Fsize, limit);
        let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
        let mut polled = [PollFd::new(&ended, PollFlags::IN), PollFd::new(self.cancel, PollFlags::IN)];
        while let Err(error) = poll(&mut polled, None) {
            if error != rustix::io::Errno::INTR {
                return Err(io::Error::from(error).into());
            }
        }
        if polled[0].revents().is_empty() {
            // Its helpers are of its group, and hold our pipes.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let status = child.wait()?;
        self.cancel.check()?;
        Ok(status)
    }

    fn failure(&self, what: &str, complaint: &str) -> Error {
        let shown = self.shown();
        let complaint = complaint.replace(&self.source.remote, &shown);
        let complaint = complaint.trim();
        let lower = complaint.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let (kind, hint) = if has(&["authentication failed", "could not read username", "permission denied"])
        {
            let hint = match shown.starts_with("http") {
                true => "give a token with --secret id=GIT_AUTH_TOKEN,src=FILE",
                false => "give an agent with --ssh default, and let ssh know the host",
            };
            (Kind::Unauthorized, hint)
        } else if has(&["host key verification failed"]) {
            (Kind::Denied, "add the host's key to known_hosts, after having looked at it")
        } else if has(&["not found", "does not appear to be a git repository"]) {
            (
                Kind::NotFound,
                "look whether the address is right; a private repository needs a token or an agent",
            )
        } else {
            (Kind::Unavailable, "git said so; try the same with `git ls-remote`")
        };
        let complaint: String = complaint.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        Error::new(kind, format!("git {what} of {shown} failed: {}", complaint.replace('\n', "; ")))
            .hint(hint)
    }
}

fn read_output(out: ChildStdout) -> String {
    let mut bytes = Vec::new();
    let mut out = out.take(OUTPUT_LIMIT);
    // Of a pipe that breaks, what has come is what there is; the exit status tells the rest.
    let _ = out.read_to_end(&mut bytes);
    let _ = io::copy(&mut out.into_inner(), &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_end(mut err: ChildStderr) -> String {
    let (mut end, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = err.read(&mut buffer) {
        end.extend_from_slice(&buffer[..count]);
        let surplus = end.len().saturating_sub(COMPLAINT_LIMIT);
        end.drain(..surplus);
    }
    String::from_utf8_lossy(&end).into_owned()
}
