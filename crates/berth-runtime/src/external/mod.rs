//! Another OCI runtime in the place of ours: `--runtime`.
//!
//! Here: the bundle that it gets (`spec`), and its command line, through which it makes the container's first process and
//! further ones. Not here: networks, streams, logs, limits and ends, which are the monitor's for every container.
//! Invariant: whatever such a runtime leaves behind is a child of the monitor, which hears of its end as of its own
//! children's; and a start can fail until the program runs, as with ours.

mod console;
mod spec;

use crate::birth::{Born, Helper};
use crate::bundle::{Bundle, Exec};
use crate::ended::OfProcess;
use crate::init::{Channel, Message, Stdio};
use crate::mount::{self, Target};
use crate::protocol::Fault;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::process::{Cloned, clone3, exit_now};
use console::Console;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Stream};

/// A container's runtime.
#[derive(Debug)]
pub(crate) struct External<'a> {
    program: &'a Path,
    bundle: &'a Bundle,
}

impl<'a> External<'a> {
    /// None where it is ours.
    pub(crate) fn of(bundle: &'a Bundle) -> Option<Self> {
        Some(Self { program: bundle.runtime.as_deref()?, bundle })
    }

    /// Its files: the bundle, and what the runtime keeps.
    fn place(&self) -> PathBuf {
        self.bundle.run_dir.join("external")
    }

    fn rootfs(&self) -> PathBuf {
        self.place().join("rootfs")
    }

    /// Mounts the root where this process, which has one thread, and its children alone see it; and makes it the parent
    /// of those whose own has ended. To be done once. What a monitor that was killed left with the runtime goes.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.delete()?;
        berth_sys::namespace::unshare_mounts().context(|| "cannot make a mount namespace")?;
        let parent = Some(rustix::process::getpid());
        rustix::process::set_child_subreaper(parent)
            .map_err(io::Error::from)
            .context(|| "cannot look after the processes of another runtime")?;
        mount::mount_rootfs(&self.bundle.rootfs, None, &Target::open(&self.rootfs())?, None).map(drop)
    }

    /// Makes the first process, in that cgroup; its program waits for "go" on the channel.
    pub(crate) fn create(&self, cgroup: Option<&str>, stdio: Stdio) -> Result<Born> {
        let root = open(&self.rootfs())?;
        let identity = self.bundle.user.as_deref().map(|user| crate::resolve_user(root.as_fd(), user));
        let spec = spec::adapted(self.bundle, identity.transpose()?.as_ref(), cgroup)?;
        let path = self.place().join("config.json");
        fs::write(&path, serde_json::to_vec(&spec).map_err(unwritable)?).at(&path)?;
        let words = ["create", "--bundle"].map(OsString::from).into_iter().chain([self.place().into()]);
        let (born, theirs) = self.make(words.collect(), stdio)?;
        let helper = self.start_when_told(theirs)?;
        Ok(Born { helper: Some(helper), ..born })
    }

    /// Makes a further process, which runs at once.
    pub(crate) fn exec(&self, exec: &Exec, init: i32, stdio: Stdio) -> Result<Born> {
        let path = format!("/proc/{init}/root");
        let root = open(Path::new(&path)).of_process(&path)?;
        let identity = exec.user.as_deref().map(|user| crate::resolve_user(root.as_fd(), user));
        let process = spec::adapted_process(exec.process.clone(), identity.transpose()?.as_ref())?;
        let path = self.place().join("process.json");
        fs::write(&path, serde_json::to_vec(&process).map_err(unwritable)?).at(&path)?;
        let words = ["exec", "--detach", "--process"].map(OsString::from).into_iter().chain([path.into()]);
        Ok(self.make(words.collect(), stdio)?.0)
    }

    /// The container has ended, or is to.
    pub(crate) fn delete(&self) -> Result<()> {
        if !self.place().join("state").exists() {
            return Ok(());
        }
        self.call(vec!["delete".into(), "--force".into(), self.bundle.id.as_str().into()], None)
    }

    /// A process that these words make, and the other end of its channel, on which it has said that it is ready.
    fn make(&self, mut words: Vec<OsString>, stdio: Stdio) -> Result<(Born, Channel)> {
        let pid_file = self.place().join("pid");
        // An earlier process's.
        drop(fs::remove_file(&pid_file));
        words.extend([OsString::from("--pid-file"), pid_file.clone().into()]);
        let (streams, console) = match stdio {
            Stdio::Pipes(streams) => (Some(streams), None),
            Stdio::Terminal { .. } => (None, Some(Console::listen(&self.place())?)),
        };
        if let Some(console) = &console {
            words.extend([OsString::from("--console-socket"), console.path().into()]);
        }
        words.push(self.bundle.id.as_str().into());
        self.call(words, streams)?;
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        let unsaid = || Error::corrupt(format!("{} does not say which process it has made", self.name()));
        let pid: i32 = text.trim().parse().map_err(|_| unsaid())?;
        let named = Pid::from_raw(pid).ok_or_else(unsaid)?;
        let pidfd = pidfd_open(named, PidfdFlags::empty()).map_err(io::Error::from);
        let pidfd = pidfd.context(|| format!("the process {pid} of {} has gone", self.name()))?;
        let terminal = console.map(|console| console.receive()).transpose()?;
        let (ours, theirs) = Channel::pair()?;
        theirs.send(&Message::Ready { warnings: Vec::new() }, terminal.as_ref().map(AsFd::as_fd))?;
        Ok((Born { pid, pidfd, channel: ours, helper: None }, theirs))
    }

    /// A child that lets the program run when it is told to, and ends; the channel closes with it.
    fn start_when_told(&self, theirs: Channel) -> Result<Helper> {
        match clone3(0, None).context(|| "cannot make a process that starts the container")? {
            Cloned::Child => {
                if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
                    exit_now(1);
                }
                let started = theirs
                    .wait_for_go()
                    .and_then(|()| self.call(vec!["start".into(), self.bundle.id.as_str().into()], None));
                if let Err(error) = started {
                    drop(theirs.send(&Message::Failed(Fault::from(&error)), None));
                }
                exit_now(0)
            }
            Cloned::Parent { pidfd, .. } => Ok(Helper(pidfd)),
        }
    }

    fn name(&self) -> std::path::Display<'_> {
        self.program.display()
    }

    /// Runs it and waits for its end. What is wrong it writes into a file.
    fn call(&self, words: Vec<OsString>, streams: Option<[OwnedFd; 3]>) -> Result<()> {
        let log = self.place().join("log");
        fs::write(&log, "").at(&log)?;
        let mut command = Command::new(self.program);
        command.arg("--root").arg(self.place().join("state")).arg("--log").arg(&log);
        command.args(["--log-format", "json"]).args(&words);
        match streams {
            Some([input, output, error]) => command.stdin(input).stdout(output).stderr(error),
            None => command.stdin(Stream::null()).stdout(Stream::null()).stderr(Stream::null()),
        };
        let status = command.status().context(|| format!("cannot run {}", self.name()))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failure(&fs::read_to_string(&log).unwrap_or_default(), &words[0])),
        }
    }

    fn failure(&self, log: &str, verb: &OsString) -> Error {
        let said = last_words(log).unwrap_or_else(|| "it does not say why".to_owned());
        let text = format!("{} {} failed: {said}", self.name(), verb.display());
        // As docker's client does: what the program of the container lacks is told apart by the words alone.
        match said.as_str() {
            said if said.contains("executable file") && said.contains("not found") => Error::not_found(text),
            said if said.contains("no such file or directory") => Error::not_found(text),
            said if said.contains("permission denied") => Error::denied(text),
            _ => Error::internal(text),
        }
    }
}

/// The last line of a runtime's log in JSON, as runc has made it usual.
fn last_words(log: &str) -> Option<String> {
    let message = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        entry["msg"].as_str().map(|text| text.trim().to_owned())
    };
    log.lines().rev().find_map(message).filter(|text| !text.is_empty())
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::internal("cannot write a specification").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_log() {
        for (log, expected) in [
            ("", None),
            ("not JSON\n", None),
            (
                "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\" why \"}\n\n",
                Some("why"),
            ),
            ("{\"level\":\"warning\"}\n", None),
            ("{\"msg\":\"why\"}\nand then it crashed\n", Some("why")),
        ] {
            assert_eq!(last_words(log).as_deref(), expected, "{log:?}");
        }
    }
}
