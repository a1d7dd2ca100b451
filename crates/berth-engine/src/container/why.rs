//! Why a container is as it is: the one cause that explains most, found in what its monitor wrote down.
//!
//! Here: choosing the cause. Not here: sentences. Invariant: pure, apart from reading the end of the log and the
//! beginning of the program; what is only likely is told apart from what is known.

use super::Container;
use crate::engine::Engine;
use berth_oci::{Kind, Result};
use berth_runtime::log::Options;
use berth_runtime::{Asked, OutOfMemory, Probe, Status};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Why a container is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has never been started.
    NeverStarted,
    /// Its program runs.
    Runs,
    /// Its processes are frozen.
    Paused,
    /// Its program has never run.
    NotStarted {
        /// What went wrong.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The kernel killed something in it for want of memory.
    OutOfMemory(OutOfMemory),
    /// It had run as long as `--max-runtime` allows.
    Overran,
    /// It was killed because its check failed.
    Unhealthy,
    /// Somebody asked berth for a signal, and it ended.
    Asked {
        /// For which, and who.
        asked: Asked,
        /// It did not end, and was killed after its patience.
        killed: bool,
    },
    /// A signal ended it that nobody asked berth for.
    Signal(i32),
    /// Its monitor, or the machine, ended first.
    Lost(String),
    /// A shared library is missing: its name.
    MissingLibrary(String),
    /// Probably: its program went to the background and the container ended with it.
    WentToBackground {
        /// The program.
        program: String,
        /// How it is kept in the foreground, where that is known.
        instead: Option<&'static str>,
    },
    /// Probably: a shell that had nothing to read.
    NothingToRead,
    /// A shell could not find (127) or execute (126) a command.
    ShellFailed(i32),
    /// Its program ended well.
    Succeeded,
    /// Its program ended with this code, by its own choice.
    Failed(i32),
}

/// Everything that explains a container's state.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The container.
    pub container: Container,
    /// Why it is as it is.
    pub cause: Cause,
    /// The last run of its check, if that failed.
    pub failed_probe: Option<Probe>,
    /// The last lines of its output.
    pub last_lines: Vec<String>,
    /// What is peculiar about its program's file, where that can be why.
    pub peculiarity: Option<String>,
}

/// So many lines of output are shown.
const LINES: usize = 8;

impl Engine {
    /// Why a container is as it is.
    ///
    /// # Errors
    /// No such container.
    pub fn why(&self, text: &str) -> Result<Diagnosis> {
        let container = self.container(text)?;
        let last_lines = self.last_lines(&container)?;
        let failed = container.health().and_then(|h| h.log.last()).filter(|probe| probe.code != 0).cloned();
        let cause = cause(&container, &last_lines);
        let peculiarity =
            if blames_the_program(&cause) { self.peculiarity_of_program(&container) } else { None };
        Ok(Diagnosis { cause, failed_probe: failed, last_lines, peculiarity, container })
    }

    fn peculiarity_of_program(&self, container: &Container) -> Option<String> {
        let process = &container.document.process;
        let args = process.args();
        let environment = process.environment(&container.document.hostname, container.document.spec.tty, &[]);
        let directory = Path::new(&process.working_dir);
        let command = args.first()?;
        let look =
            |root: BorrowedFd<'_>| Ok(berth_runtime::peculiarity_in(root, directory, command, &environment));
        // Where its files cannot be seen, there is nothing to say about them.
        self.with_root(container, look).ok().flatten()
    }

    fn last_lines(&self, container: &Container) -> Result<Vec<String>> {
        let options = Options { tail: Some(LINES), ..Options::default() };
        let mut reader = match self.logs(container, options) {
            Ok(reader) => reader,
            Err(error) if error.kind() == Kind::Unsupported => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut lines = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            lines.push(entry.log.trim_end().to_owned());
        }
        Ok(lines)
    }
}

impl Container {
    /// Why it is as it is, without a look at its output.
    #[must_use]
    pub fn cause(&self) -> Cause {
        cause(self, &[])
    }
}

/// Whether a damaged program, or one without its interpreter, ends like this.
fn blames_the_program(cause: &Cause) -> bool {
    const SIGILL: i32 = 4;
    const SIGBUS: i32 = 7;
    const SIGSEGV: i32 = 11;
    matches!(cause, Cause::ShellFailed(_) | Cause::Signal(SIGILL | SIGBUS | SIGSEGV))
}

fn cause(container: &Container, last_lines: &[String]) -> Cause {
    let Some(state) = &container.state else { return Cause::NeverStarted };
    match container.status() {
        Status::Created => match &state.error {
            Some(error) => Cause::NotStarted { error: error.clone(), hint: state.circumstances.hint.clone() },
            None => Cause::NeverStarted,
        },
        Status::Running => Cause::Runs,
        Status::Paused => Cause::Paused,
        Status::Restarting | Status::Exited => end(container, state, last_lines),
    }
}

fn end(container: &Container, state: &berth_runtime::State, last_lines: &[String]) -> Cause {
    let facts = &state.circumstances;
    let code = state.exit_code.unwrap_or_default();
    if let Some(memory) = facts.memory.clone().filter(|_| code != 0) {
        return Cause::OutOfMemory(memory);
    }
    if facts.overran {
        return Cause::Overran;
    }
    if facts.unhealthy {
        return Cause::Unhealthy;
    }
    if let Some(error) = state.error.clone().filter(|_| facts.signal.is_none() && code >= 128) {
        return Cause::Lost(error);
    }
    if let Some(asked) = &facts.asked
        && answers(asked.signal, code, facts.lost_patience)
    {
        return Cause::Asked { asked: asked.clone(), killed: facts.lost_patience };
    }
    if let Some(signal) = facts.signal {
        return Cause::Signal(signal);
    }
    if let Some(library) = last_lines.iter().find_map(|line| missing_library(line)) {
        return Cause::MissingLibrary(library);
    }
    match code {
        0 => early_success(container, state).unwrap_or(Cause::Succeeded),
        126 | 127 => Cause::ShellFailed(code),
        code => Cause::Failed(code),
    }
}

/// Whether an end with this code is what the signal was for: programs that catch it end with any code they like.
fn answers(signal: i32, code: i32, lost_patience: bool) -> bool {
    const ENDING: [i32; 5] = [1, 2, 3, 9, 15];
    lost_patience || code == 128 + signal || ENDING.contains(&signal)
}

/// glibc's loader: `a: error while loading shared libraries: libx.so.1: cannot open …`; musl's: `Error loading shared
/// library libx.so.1: No such file …`.
fn missing_library(line: &str) -> Option<String> {
    let after = ["error while loading shared libraries: ", "Error loading shared library "]
        .into_iter()
        .find_map(|words| line.split_once(words))?
        .1;
    after.split(':').next().map(|name| name.trim().to_owned())
}

/// A success in the first seconds is often a surprise: two of the reasons can be told from the command.
fn early_success(container: &Container, state: &berth_runtime::State) -> Option<Cause> {
    const EARLY: i64 = 10;
    let ran = state.finished_at?.duration_since(state.started_at?).as_secs();
    if ran >= EARLY {
        return None;
    }
    let args = container.document.process.args();
    let spec = &container.document.spec;
    if is_lone_shell(&args) && !spec.open_stdin {
        return Some(Cause::NothingToRead);
    }
    daemon(&args).map(|(program, instead)| Cause::WentToBackground { program, instead })
}

fn is_lone_shell(args: &[String]) -> bool {
    let [program] = args else { return false };
    is_shell(program)
}

fn is_shell(program: &str) -> bool {
    ["sh", "bash", "ash", "dash", "zsh", "fish"].contains(&base_name(program))
}

/// Whether a script puts something into the background and does not wait for it.
fn leaves_something_behind(script: &str) -> bool {
    let plain = script.replace("&&", ";").replace(">&", ">").replace("&>", ">");
    plain.contains('&')
        && !script.split(|c: char| !c.is_alphanumeric()).any(|word| word == "wait" || word == "exec")
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Servers that leave the foreground unless they are told otherwise: what tells them, and how it is said.
const DAEMONS: [(&str, &[&str], &str); 16] = [
    ("nginx", &["daemon off;"], "nginx -g 'daemon off;'"),
    ("apache2ctl", &["FOREGROUND"], "apache2ctl -D FOREGROUND"),
    ("apachectl", &["FOREGROUND"], "apachectl -D FOREGROUND"),
    ("apache2", &["FOREGROUND"], "apache2 -D FOREGROUND"),
    ("httpd", &["FOREGROUND", "-f"], "httpd -D FOREGROUND (busybox has httpd -f)"),
    ("sshd", &["-D"], "sshd -D -e"),
    ("cron", &["-f"], "cron -f"),
    ("crond", &["-f", "-n"], "crond -f"),
    ("rsyslogd", &["-n"], "rsyslogd -n"),
    ("php-fpm", &["-F", "--nodaemonize"], "php-fpm -F"),
    ("supervisord", &["-n", "--nodaemon"], "supervisord -n"),
    ("dnsmasq", &["-k", "--keep-in-foreground", "-d"], "dnsmasq -k"),
    ("named", &["-f", "-g"], "named -f"),
    ("haproxy", &["-db", "-W"], "haproxy -db"),
    ("pg_ctl", &[], "postgres -D DIRECTORY"),
    ("pg_ctlcluster", &["--foreground"], "pg_ctlcluster --foreground VERSION CLUSTER start"),
];

/// A command that starts a server and returns, if it looks like one.
fn daemon(args: &[String]) -> Option<(String, Option<&'static str>)> {
    let words: Vec<&str> = args.iter().flat_map(|arg| arg.split_whitespace()).collect();
    let text = args.join(" ");
    let starts_service =
        words.windows(3).find(|w| base_name(w[0]) == "service" && matches!(w[2], "start" | "restart"));
    if let Some(service) = starts_service {
        let instead = DAEMONS.iter().find(|(name, ..)| *name == service[1]).map(|(.., instead)| *instead);
        return Some((service[1].to_owned(), instead));
    }
    if words.iter().any(|w| base_name(w) == "systemctl") || text.contains("/etc/init.d/") {
        return Some((text, None));
    }
    if words.iter().any(|w| matches!(*w, "--daemonize" | "--daemon" | "--detach" | "--background" | "--fork"))
    {
        return Some((base_name(words.first()?).to_owned(), None));
    }
    if let [shell, .., script] = args
        && is_shell(shell)
        && leaves_something_behind(script)
    {
        return Some((script.clone(), None));
    }
    let (name, _, instead) = DAEMONS.into_iter().find(|(name, foreground, _)| {
        words.iter().any(|w| base_name(w) == *name) && !foreground.iter().any(|word| text.contains(word))
    })?;
    Some((name.to_owned(), Some(instead)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn commands_that_go_to_the_background() {
        for (args, expected) in [
            ("nginx", Some("nginx")),
            ("/usr/sbin/nginx|-g|daemon off;", None),
            ("sh|-c|service nginx start", Some("nginx")),
            ("sh|-c|/etc/init.d/x start", Some("sh -c /etc/init.d/x start")),
            ("redis-server|--daemonize|yes", Some("redis-server")),
            ("sh|-c|server & exit 0", Some("server & exit 0")),
            ("sh|-c|server & wait", None),
            ("sh|-c|a && b 2>&1", None),
            ("/usr/sbin/sshd", Some("sshd")),
            ("/usr/sbin/sshd|-D", None),
            ("mongod|--fork|--logpath|/log", Some("mongod")),
            ("sh|-c|pg_ctl start -D /data", Some("pg_ctl")),
            ("pg_ctlcluster|15|main|start|--foreground", None),
            ("echo|hello", None),
            ("true", None),
        ] {
            assert_eq!(daemon(&words(args)).map(|(program, _)| program).as_deref(), expected, "{args}");
        }
    }

    #[test]
    fn loaders_name_what_they_miss() {
        for (line, expected) in [
            (
                "/bin/x: error while loading shared libraries: libfoo.so.1: cannot open shared object file",
                Some("libfoo.so.1"),
            ),
            (
                "Error loading shared library libfoo.so.1: No such file or directory (needed by /bin/x)",
                Some("libfoo.so.1"),
            ),
            ("nothing of the kind", None),
        ] {
            assert_eq!(missing_library(line).as_deref(), expected);
        }
    }

    #[test]
    fn which_signals_an_end_answers() {
        for (signal, code, lost_patience, expected) in [
            (15, 0, false, true),
            (15, 143, false, true),
            (10, 138, false, true),
            (10, 1, false, false),
            (10, 137, true, true),
        ] {
            assert_eq!(answers(signal, code, lost_patience), expected, "{signal} {code}");
        }
    }
}
