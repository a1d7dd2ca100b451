//! Hooks: programs that a bundle names for set moments of a container's life. Each gets the container's state on its
//! standard input and the environment that the bundle gives it; where that gives none, it has ours.
//!
//! Not here: which moments there are. Invariant: what a hook leaves running in the background keeps nobody waiting:
//! its streams are files in memory, and only its own end is awaited.

use berth_oci::{Context, Error, Result};
use oci_spec::runtime::{ContainerState, Hook, Hooks, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Whose moments they are: what of a container's state does not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) version: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) annotations: Option<HashMap<String, String>>,
}

impl Subject {
    /// The state that the runtime specification describes.
    pub(crate) fn state(&self, status: ContainerState, pid: Option<i32>) -> State {
        let mut state = State::default();
        state.set_version(self.version.clone());
        state.set_id(self.id.clone());
        state.set_status(status);
        state.set_pid(pid);
        state.set_bundle(self.bundle.clone());
        state.set_annotations(self.annotations.clone());
        state
    }
}

/// Runs them in order; the first that fails ends it.
pub(crate) fn run(moment: &str, hooks: &[Hook], state: &State) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state =
        serde_json::to_vec(state).map_err(|e| Error::internal("cannot write a state").caused_by(e))?;
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        run_one(hook, &state)
            .context(|| format!("error running {moment} hook #{number} `{}`", hook.path().display()))
    })
}

/// Runs all of them, whatever becomes of each; answers what was wrong.
pub(crate) fn run_all(moment: &str, hooks: &[Hook], state: &State) -> Vec<String> {
    let each = hooks.iter().map(|hook| run(moment, std::slice::from_ref(hook), state));
    each.filter_map(Result::err).map(|error| error.to_string()).collect()
}

/// Those of the runtime's own namespaces, before the container enters its root.
pub(crate) fn run_early(hooks: Option<&Hooks>, state: &State) -> Result<()> {
    let Some(hooks) = hooks else { return Ok(()) };
    // They are from before there was `creating`: a container was created when they ran.
    let mut created = state.clone();
    created.set_status(ContainerState::Created);
    run("prestart", hooks.prestart().as_deref().unwrap_or_default(), &created)?;
    run("createRuntime", hooks.create_runtime().as_deref().unwrap_or_default(), state)
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<()> {
    let mut input = in_memory(c"hook-state")?;
    input.write_all(state).and_then(|()| input.rewind()).context(|| "cannot hand over the state")?;
    let mut output = in_memory(c"hook-output")?;
    let copy = || output.try_clone().context(|| "cannot duplicate a descriptor");
    let mut command = Command::new(hook.path());
    let arguments = hook.args().as_deref().unwrap_or_default();
    if let Some(first) = arguments.first() {
        command.arg0(first).args(&arguments[1..]);
    }
    if let Some(environment) = hook.env() {
        command.env_clear().envs(environment.iter().filter_map(|v| v.split_once('=')));
    }
    let child = command.stdin(input).stdout(copy()?).stderr(copy()?).spawn().context(|| "cannot start it")?;
    let limit = hook.timeout().map(|seconds| Duration::from_secs(seconds.max(0).cast_unsigned()));
    match wait(child, limit)? {
        None => Err(Error::unavailable(format!(
            "it had not ended after {} seconds{}",
            limit.unwrap_or_default().as_secs(),
            said(&mut output)
        ))),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::internal(format!("{status}{}", said(&mut output)))),
    }
}

fn in_memory(name: &std::ffi::CStr) -> Result<File> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC).map_err(io::Error::from);
    Ok(File::from(fd.context(|| "cannot make a file in memory")?))
}

/// How it ended; `None` when it was killed because its time was up.
fn wait(mut child: Child, limit: Option<Duration>) -> Result<Option<ExitStatus>> {
    let Some(limit) = limit else { return Ok(Some(child.wait()?)) };
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Error::invalid("the timeout is too long"))?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return Ok(Some(child.wait()?)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// The last of what it wrote, for the error.
fn said(output: &mut File) -> String {
    const LAST: u64 = 4096;
    let length = output.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::new();
    let read = output
        .seek(SeekFrom::Start(length.saturating_sub(LAST)))
        .and_then(|_| output.take(LAST).read_to_end(&mut bytes));
    match (read, String::from_utf8_lossy(&bytes).trim()) {
        (Err(_), _) | (_, "") => String::new(),
        (Ok(_), text) => format!(", it said: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::HookBuilder;

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        let arguments = ["hook", "-c", script].map(ToOwned::to_owned).to_vec();
        let mut hook = HookBuilder::default()
            .path("/bin/sh")
            .args(arguments)
            .env(vec!["A=b=c".to_owned()])
            .build()
            .unwrap();
        hook.set_timeout(timeout);
        hook
    }

    fn check(script: &str, timeout: Option<i64>, expected: Result<(), &str>) {
        let subject = Subject { version: "1.2.0".into(), id: "c1".into(), ..Subject::default() };
        let state = subject.state(ContainerState::Creating, Some(7));
        match (run("prestart", &[shell(script, timeout)], &state), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{script}: {error}"),
            (got, expected) => panic!("{script}: {got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_hook_has_the_state_its_environment_and_its_time() {
        check("true", None, Ok(()));
        check("grep -q '\"id\":\"c1\",\"status\":\"creating\",\"pid\":7'", None, Ok(()));
        check("test \"$A\" = b=c && test -z \"$CARGO_MANIFEST_DIR\" && test $0 = hook", None, Ok(()));
        check("echo no, thanks >&2; exit 3", None, Err("exit status: 3, it said: no, thanks"));
        check("sleep 60", Some(1), Err("not ended after 1 seconds"));
        check("sleep 60 & exit 0", Some(10), Ok(()));
    }

    #[test]
    fn a_missing_program_names_the_hook() {
        let hook = HookBuilder::default().path("/nonexistent").build().unwrap();
        let error = run("poststop", &[hook], &State::default()).unwrap_err();
        assert!(error.to_string().starts_with("error running poststop hook #0 `/nonexistent`"), "{error}");
    }
}
