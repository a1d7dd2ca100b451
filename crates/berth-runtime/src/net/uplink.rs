//! The way out of a network that is apart from the host's: a helper in user space, which has an interface in there and
//! says outside, as any program of the user could, what comes in by it.
//!
//! Here: pasta, or slirp4netns where that is missing. Not here: the bridges behind it. Invariant: the interface is there
//! as long as the helper is, so nothing is written down and nobody has to watch it.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::spawn::{Handed, detached};
use rustix::fs::{Mode, OFlags};

use super::apart::Presence;
use super::network::{Apart, Home};

/// What the helper's interface is called.
const INTERFACE: &str = "outside0";
const TUN: &str = "/dev/net/tun";

/// Starts the helper unless it runs. Answers why there is none, as a note: containers run without it, reach one another
/// and are reached.
pub(super) fn ensure(home: &Home, presence: &Presence) -> Result<Option<String>> {
    let Some(apart) = home.apart.as_ref().filter(|_| !presence.has(INTERFACE)) else { return Ok(None) };
    let Err(error) = check_tun().and_then(|()| start(apart)) else { return Ok(None) };
    let hint = error.hint_text().map_or_else(String::new, |hint| format!(" ({hint})"));
    Ok(Some(format!("containers do not reach the outside: {error}{hint}")))
}

fn start(apart: &Apart) -> Result<()> {
    match (find(apart, "pasta"), find(apart, "slirp4netns")) {
        (Some(program), _) => pasta(&program, &apart.namespace),
        (None, Some(program)) => slirp(&program, &apart.namespace),
        (None, None) => Err(Error::unsupported("this machine has neither pasta nor slirp4netns")
            .hint("install Debian's package `passt`")),
    }
}

fn find(apart: &Apart, name: &str) -> Option<PathBuf> {
    let mut places = apart.programs.iter().map(|directory| directory.join(name));
    places.find(|path| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Both helpers need it, and say less about it.
fn check_tun() -> Result<()> {
    match File::options().read(true).write(true).open(TUN) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::unsupported(format!("this machine has no `{TUN}`")).hint("as root: `modprobe tun`"))
        }
        Err(error) => Err(Error::unsupported(format!("`{TUN}` cannot be opened: {}", Error::from(error)))
            .hint("most machines let everybody: as root, `chmod 666 /dev/net/tun`")),
    }
}

/// Goes into the background when the interface is there; ends when the file of the namespace is removed.
fn pasta(program: &Path, namespace: &Path) -> Result<()> {
    // Nothing is passed on by itself in either direction, nor is the host's loopback shown: ports are our business.
    const QUIET: [&str; 11] =
        ["--config-net", "--quiet", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none"];
    let mut command = Command::new(program);
    command.args(QUIET).args(["--ns-ifname", INTERFACE, "--netns"]).arg(namespace);
    let output = command.output().at(program)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(Error::unavailable(format!("`{}` failed: {}", program.display(), last.trim())))
        }
    }
}

/// Stays until nobody holds the pipe beside the namespace's file any more.
fn slirp(program: &Path, namespace: &Path) -> Result<()> {
    let doing = || format!("cannot start `{}`", program.display());
    let text = |text: &OsStr| {
        CString::new(text.as_bytes()).map_err(|_| Error::invalid("a path contains a zero byte"))
    };
    let words = [
        "slirp4netns",
        "--configure",
        "--mtu=65520",
        "--disable-host-loopback",
        "--ready-fd=3",
        "--exit-fd=4",
        "--netns-type=path",
    ];
    let words = words.map(OsStr::new).into_iter().chain([namespace.as_os_str(), OsStr::new(INTERFACE)]);
    let words = words.map(text).collect::<Result<Vec<_>>>()?;
    let (mut ready, tell) = io::pipe().context(doing)?;
    let null = File::options().read(true).write(true).open("/dev/null").at("/dev/null")?;
    let alive = crate::rootless::alive(namespace);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let held = rustix::fs::open(&alive, flags, Mode::empty()).map_err(io::Error::from).at(&alive)?;
    let handed = [
        Handed { fd: null.as_fd(), number: 0 },
        Handed { fd: null.as_fd(), number: 1 },
        Handed { fd: null.as_fd(), number: 2 },
        Handed { fd: tell.as_fd(), number: 3 },
        Handed { fd: held.as_fd(), number: 4 },
    ];
    detached(&text(program.as_os_str())?, &words, &[], &handed).context(doing)?;
    drop(tell);
    // One byte when it is ready, none when it has ended.
    match ready.read(&mut [0; 1]).context(doing)? {
        0 => Err(Error::unavailable(format!("`{}` ended before it was ready", program.display()))),
        _ => Ok(()),
    }
}
