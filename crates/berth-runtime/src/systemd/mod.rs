//! Cgroups that systemd makes, for engines that leave them to it (`--systemd-cgroup`).
//!
//! Here: asking its manager, over its own socket or the system's bus, for a unit, and for other limits of one; and
//! asking an ordinary user's, for a place among what has been given to him. Not here: entering and removing the cgroup, which goes with its last process. Invariant: a request has an end: it is
//! answered, refused, or given up after half a minute.

mod message;
mod unit;

pub(crate) use unit::Unit;

use crate::cgroup::Write;
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::process::{Cloned, clone3, exit_now};
use message::{Body, Call, Heard, PREFIX, Value};
use rustix::process::{Signal, pidfd_send_signal, set_parent_process_death_signal};
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const OWN_SOCKET: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether systemd is what runs this machine, by its own test (sd_booted(3)).
pub(crate) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A conversation with systemd's manager.
#[derive(Debug)]
pub(crate) struct Manager {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Signals that came while an answer was awaited.
    signals: Vec<Heard>,
}

/// A process that does nothing but keep a unit's cgroup from being empty; it ends with this value.
#[derive(Debug)]
pub(crate) struct Placeholder {
    process: OwnedFd,
    pid: u32,
}

impl Placeholder {
    /// Makes it.
    pub(crate) fn new() -> Result<Self> {
        match clone3(0, None).context(|| "cannot make a process for systemd's unit")? {
            Cloned::Child => {
                if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
                    exit_now(1);
                }
                loop {
                    rustix::event::pause();
                }
            }
            Cloned::Parent { pid, pidfd } => Ok(Self { process: pidfd, pid: pid.cast_unsigned() }),
        }
    }
}

impl Placeholder {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        if pidfd_send_signal(&self.process, Signal::KILL).is_ok() {
            // Nobody else waits for it.
            let _ = crate::birth::reap(&self.process);
        }
    }
}

impl Manager {
    /// Connects to the manager of this machine.
    pub(crate) fn connect() -> Result<Self> {
        if !is_running() {
            return Err(Error::unsupported(
                "cgroups are to be made by systemd, but systemd does not run this machine",
            )
            .hint("configure the engine with the cgroup driver cgroupfs"));
        }
        Self::at(Path::new(OWN_SOCKET), Path::new(SYSTEM_BUS))
    }

    /// Connects to the manager of an ordinary user, where systemd has put it (pam_systemd(8)).
    fn of_user(uid: u32) -> Result<Self> {
        let directory = PathBuf::from(format!("/run/user/{uid}"));
        Self::at(&directory.join("systemd/private"), &directory.join("bus"))
    }

    /// By its own socket, or else by a bus.
    fn at(own: &Path, bus: &Path) -> Result<Self> {
        if let Ok(own) = Self::over(own) {
            return Ok(own);
        }
        let mut bus = Self::over(bus)?;
        bus.ask(bus_call("Hello", ""), &Body::default())?;
        let rule = "type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'";
        bus.ask(bus_call("AddMatch", "s"), &Body::default().text(rule))?;
        bus.ask(manager_call("Subscribe", ""), &Body::default())?;
        Ok(bus)
    }

    /// Connects to a socket, and says who we are.
    fn over(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).at(path)?;
        stream.set_read_timeout(Some(PATIENCE)).at(path)?;
        let mut stream = BufReader::new(stream);
        let uid: String = outside()?.to_string().bytes().map(|b| format!("{b:02x}")).collect();
        write!(stream.get_mut(), "\0AUTH EXTERNAL {uid}\r\n").at(path)?;
        let mut answer = String::new();
        (&mut stream).take(1024).read_line(&mut answer).at(path)?;
        if !answer.starts_with("OK ") {
            return Err(Error::denied(format!("`{}` does not let us in: {}", path.display(), answer.trim())));
        }
        stream.get_mut().write_all(b"BEGIN\r\n").at(path)?;
        Ok(Self { stream, serial: 0, signals: Vec::new() })
    }

    /// Makes the unit, with this process in it, and waits until it is there.
    pub(crate) fn start(&mut self, unit: &Unit, id: &str, process: u32, writes: &[Write]) -> Result<()> {
        let properties = unit.properties(id, process, writes);
        let body =
            Body::default().text(&unit.name).text("replace").properties(&properties).no_further_units();
        let doing = || format!("systemd does not make the unit `{}`", unit.name);
        self.ask(manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))"), &body).context(doing)?;
        match self.job_of(&unit.name).context(doing)?.as_str() {
            "done" => Ok(()),
            result => Err(Error::unavailable(format!("{}: the job's result is `{result}`", doing()))),
        }
    }

    /// Gives a unit that is there other limits.
    pub(crate) fn change(&mut self, unit: &Unit, writes: &[Write]) -> Result<()> {
        let properties: Vec<(&str, Value)> = unit::limits(writes);
        let body = Body::default().text(&unit.name).whether(true).properties(&properties);
        self.ask(manager_call("SetUnitProperties", "sba(sv)"), &body)
            .context(|| format!("systemd does not change the unit `{}`", unit.name))?;
        Ok(())
    }

    /// Calls, and waits for the answer.
    fn ask(&mut self, call: Call<'_>, body: &Body) -> Result<Heard> {
        self.serial += 1;
        let message = message::call(call, self.serial, body);
        self.stream.get_mut().write_all(&message).context(|| "cannot ask systemd")?;
        loop {
            let heard = self.hear()?;
            match heard.kind {
                2 if heard.reply_to == self.serial => return Ok(heard),
                3 if heard.reply_to == self.serial => {
                    let words = heard.texts.first().unwrap_or(&heard.error);
                    return Err(Error::denied(words.clone()));
                }
                4 => self.signals.push(heard),
                _ => {}
            }
        }
    }

    /// How the last job of a unit ended: the signal has its number, path, unit and result.
    fn job_of(&mut self, unit: &str) -> Result<String> {
        loop {
            let heard = match self.signals.pop() {
                Some(signal) => signal,
                None => self.hear()?,
            };
            if let ("JobRemoved", [_, name, result]) = (heard.member.as_str(), &heard.texts[..])
                && name == unit
            {
                return Ok(result.clone());
            }
        }
    }

    fn hear(&mut self) -> Result<Heard> {
        let doing = || "cannot hear systemd";
        let mut prefix = [0; PREFIX];
        self.stream.read_exact(&mut prefix).map_err(late).context(doing)?;
        let mut message = prefix.to_vec();
        message.resize(PREFIX + message::rest(&prefix)?, 0);
        self.stream.read_exact(&mut message[PREFIX..]).map_err(late).context(doing)?;
        message::hear(&message)
            .ok_or_else(|| Error::corrupt("systemd has sent a message that makes no sense"))
    }
}

/// The number that others know us by: an ordinary user's root is that user.
fn outside() -> Result<u32> {
    let uid = rustix::process::geteuid();
    match uid.is_root() {
        true => Ok(berth_sys::users::root_outside().at("/proc/self/uid_map")?.0),
        false => Ok(uid.as_raw()),
    }
}

/// Whether an ordinary user, who is root here, has a systemd of his own.
pub(crate) fn has_user_manager() -> Result<bool> {
    Ok(Path::new(&format!("/run/user/{}/systemd/private", outside()?)).exists())
}

/// Takes this process to where its user's systemd may have it: into a scope of its own, from where it may go on to
/// wherever the user has cgroups. The scope ends when it is empty.
///
/// # Errors
/// The user has no such manager, or it refuses.
pub(crate) fn join_user_manager() -> Result<()> {
    let process = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
    let unit = Unit { name: format!("berth-{process}.scope"), slice: "app.slice".into() };
    Manager::of_user(outside()?)?.start(&unit, "of an ordinary user", process, &[])
}

fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it does not answer"),
        _ => error,
    }
}

fn manager_call<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

fn bus_call<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
        signature,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A manager that lets us in and says these messages when it is asked.
    fn answered(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, std::thread::JoinHandle<Vec<u8>>) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let manager = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            assert!(line.starts_with("\0AUTH EXTERNAL 3"), "{line}");
            stream.get_mut().write_all(b"OK 1234\r\n").unwrap();
            stream.read_line(&mut line).unwrap();
            let mut prefix = [0; PREFIX];
            stream.read_exact(&mut prefix).unwrap();
            let mut rest = vec![0; message::rest(&prefix).unwrap()];
            stream.read_exact(&mut rest).unwrap();
            answers.iter().for_each(|answer| stream.get_mut().write_all(answer).unwrap());
            [prefix.to_vec(), rest].concat()
        });
        (directory, manager)
    }

    /// A message of another kind with the same bytes: number 1 is what it answers.
    fn said(kind: u8, member: &str, signature: &str, body: &Body) -> Vec<u8> {
        let mut bytes =
            message::call(Call { destination: "", path: "/o", interface: "", member, signature }, 9, body);
        bytes[1] = kind;
        bytes
    }

    #[test]
    fn a_unit_is_there_when_its_job_is_done() {
        let unit = Unit::of("system.slice:docker:web", "web").unwrap();
        let job = |result: &str| {
            let body = Body::default().whether(true).text("/job/1").text("docker-web.scope").text(result);
            said(4, "JobRemoved", "uoss", &body)
        };
        let other = said(
            4,
            "JobRemoved",
            "uoss",
            &Body::default().whether(true).text("/j").text("x.scope").text("failed"),
        );
        let yes = message::tests_support::reply(2, 1, "o", &Body::default().text("/job/1"));
        let no = message::tests_support::reply(3, 1, "s", &Body::default().text("Unit exists."));
        for (answers, expected) in [
            (vec![other.clone(), yes.clone(), job("done")], Ok(())),
            (vec![job("done"), other, yes.clone()], Ok(())),
            (vec![yes, job("failed")], Err("result is `failed`")),
            (vec![no], Err("Unit exists.")),
            (vec![], Err("cannot hear systemd")),
            (vec![vec![0; PREFIX]], Err("no message of the bus")),
        ] {
            let (directory, manager) = answered(answers);
            let writes = [Write::new("pids.max", 7)];
            let result = Manager::over(&directory.path().join("s"))
                .and_then(|mut manager| manager.start(&unit, "web", 4711, &writes));
            let asked = manager.join().unwrap();
            let has = |text: &str| asked.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(has("StartTransientUnit") && has("docker-web.scope") && has("TasksMax") && has("PIDs"));
            match (result.map_err(|error| error.to_string()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
                (got, expected) => panic!("{got:?} is not {expected:?}"),
            }
        }
    }
}
