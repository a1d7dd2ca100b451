//! The last steps, the same for a container and an exec: directory, limits of power, the program.

use super::attributes::Label;
use super::{Channel, Stdio, identity, lookup, reaper};
use crate::mount::open_terminal;
use crate::seccomp::{Filter, Listener};
use crate::user::Identity;
use berth_oci::{Context, Error, Kind, Result};
use oci_spec::runtime::Process;
use rustix::fs::{FileType, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// All that is known before the word "go".
pub(super) struct Program {
    file: PathBuf,
    identity: Identity,
    environment: Vec<String>,
    /// The directory could not be entered as root; the user may be allowed to.
    directory_later: bool,
}

/// What is done at the very last.
pub(super) struct Last<'a> {
    pub(super) filter: Option<&'a Filter>,
    /// Who is told of the calls that the filter stops.
    pub(super) listener: Option<Listener>,
    /// How many descriptors after the standard three the program gets.
    pub(super) preserved: u32,
    /// Whether this process stays and a copy of it becomes the program.
    pub(super) reaper: bool,
    /// Whether it ends when its parent does.
    pub(super) is_attended: bool,
    /// Whether the program has our supplementary groups.
    pub(super) keep_groups: bool,
    /// What a security module is to call the program.
    pub(super) labels: Vec<Label>,
}

/// The monitor's end of a terminal, and the three descriptors of the program.
pub(super) struct Connected {
    pub(super) master: Option<OwnedFd>,
    pub(super) descriptors: [OwnedFd; 3],
}

/// Looks everything up inside the container, whose root is ours by now.
pub(super) fn look_up(process: &Process, user: Option<&str>, make_directory: bool) -> Result<Program> {
    let root = rustix::fs::openat(
        rustix::fs::CWD,
        "/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let root = root.map_err(io::Error::from).map_err(setup)?;
    let identity = identity::resolve(root.as_fd(), user, process)?;
    drop(root);
    let mut environment = process.env().clone().unwrap_or_default();
    if !environment.iter().any(|v| v.starts_with("HOME=")) {
        environment.push(format!("HOME={}", identity.home.as_deref().unwrap_or("/")));
    }
    let directory_later = !enter_directory(process.cwd(), make_directory)?;
    let command = process.args().as_ref().and_then(|args| args.first()).map_or("", String::as_str);
    let file = lookup::find(command, &environment)?;
    Ok(Program { file, identity, environment, directory_later })
}

/// Whether it worked; a refusal to root (a network file system) is tried again as the user.
fn enter_directory(path: &Path, make: bool) -> Result<bool> {
    if make {
        std::fs::create_dir_all(path).map_err(|error| no_directory(path, &error))?;
    }
    match rustix::process::chdir(path) {
        Ok(()) => check_inside(path).map(|()| true),
        Err(rustix::io::Errno::ACCESS) => Ok(false),
        Err(error) => Err(no_directory(path, &error.into())),
    }
}

/// A path like `/proc/self/fd/7` could lead out of the container through a descriptor of ours: the kernel then has
/// no name for where we are.
fn check_inside(path: &Path) -> Result<()> {
    let cwd = rustix::process::getcwd(Vec::new()).map_err(|error| no_directory(path, &error.into()))?;
    if cwd.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Error::invalid(format!("the working directory `{}` is outside the container", path.display())))
    }
}

fn no_directory(path: &Path, error: &io::Error) -> Error {
    let (kind, words) = match error.raw_os_error() {
        // Somebody asked for the directory to be made, and a file is in its place.
        Some(libc::ENOTDIR | libc::EEXIST) => (Kind::Invalid, "not a directory".to_owned()),
        Some(libc::ENOENT) => (Kind::NotFound, "no such file or directory".to_owned()),
        Some(libc::EACCES) => (Kind::Denied, "permission denied".to_owned()),
        _ => (Kind::Invalid, Error::from(io::Error::from(error.kind())).to_string()),
    };
    Error::new(
        kind,
        format!("chdir to cwd ({:?}) set in config.json failed: {words}", path.display().to_string()),
    )
}

/// Standard input, output and error, from pipes or from a terminal of the container.
pub(super) fn connect(stdio: Stdio, terminal: Option<(OwnedFd, OwnedFd)>) -> Result<Connected> {
    match stdio {
        Stdio::Pipes(descriptors) => Ok(Connected { master: None, descriptors }),
        Stdio::Terminal { rows, columns } => {
            let (master, slave) = match terminal {
                Some(pair) => pair,
                None => {
                    let root = std::fs::File::open("/").map_err(setup)?;
                    open_terminal(root.as_fd())?
                }
            };
            if rows != 0 && columns != 0 {
                let size =
                    rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                rustix::termios::tcsetwinsize(&slave, size).map_err(|e| setup(e.into()))?;
            }
            rustix::process::ioctl_tiocsctty(&slave).map_err(|e| setup(e.into()))?;
            let copy = || slave.try_clone().map_err(setup);
            Ok(Connected { master: Some(master), descriptors: [copy()?, copy()?, copy()?] })
        }
    }
}

/// Becomes the program. What it may do is given up here, step by step, in an order the kernel insists on.
pub(super) fn become_program(
    program: &Program,
    process: &Process,
    last: Last<'_>,
    channel: &Channel,
) -> Result<Infallible> {
    berth_sys::exec::close_on_exec_from(3 + last.preserved).map_err(setup)?;
    berth_sys::exec::keep_on_exec(3, last.preserved).map_err(setup)?;
    rustix::process::umask(rustix::fs::Mode::from(process.user().umask().unwrap_or(0o022)));
    let no_new_privileges = process.no_new_privileges() == Some(true);
    if no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(|e| setup(e.into()))?;
    } else {
        // Installing a filter then needs CAP_SYS_ADMIN, which is about to go.
        install(&last)?;
    }
    identity::assume(&program.identity, process.capabilities().as_ref(), last.keep_groups)?;
    if program.directory_later && !enter_directory(process.cwd(), false)? {
        return Err(no_directory(process.cwd(), &io::Error::from_raw_os_error(libc::EACCES)));
    }
    if last.is_attended {
        // Changing the user has cleared it.
        die_with_parent()?;
    }
    let arguments = c_strings(process.args().as_deref().unwrap_or_default())?;
    let environment = c_strings(&program.environment)?;
    let file = CString::new(program.file.as_os_str().as_bytes()).map_err(|_| zero_byte())?;
    berth_sys::signal::reset().map_err(setup)?;
    last.labels.iter().try_for_each(Label::apply)?;
    if no_new_privileges {
        install(&last)?;
    }
    if last.reaper {
        reaper::stay()?;
        berth_sys::signal::reset().map_err(setup)?;
    }
    let error = berth_sys::exec::execve(&file, &arguments, &environment);
    let _still_open = channel;
    Err(lookup::refused(&program.file, &program.environment, &error))
}

/// A monitor that is killed takes the container with it; nothing runs unobserved.
pub(super) fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| setup(e.into()))
}

fn install(last: &Last<'_>) -> Result<()> {
    let Some(filter) = last.filter else { return Ok(()) };
    let stopped = filter.install().context(|| "cannot install the seccomp filter")?;
    match (stopped, &last.listener) {
        (Some(calls), Some(listener)) => listener.hand_over(calls),
        _ => Ok(()),
    }
}

/// Makes them our standard streams, and the program's user their owner. Those we had are closed: whoever reads them may
/// wait for that before the program is started.
pub(super) fn stand(descriptors: [OwnedFd; 3], program: &Program) -> Result<()> {
    own(&descriptors, program.identity.uid)?;
    place(&descriptors)
}

/// A program of another user must be able to reopen `/dev/stdout`.
fn own(descriptors: &[OwnedFd; 3], uid: u32) -> Result<()> {
    for descriptor in descriptors {
        let stat = fstat(descriptor).map_err(|e| setup(e.into()))?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if is_null || stat.st_uid == uid {
            continue;
        }
        match fchown(descriptor, Some(Uid::from_raw(uid)), None) {
            // A file of the host that is not ours to give away: it can still be used, only not reopened.
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS | Errno::NOSYS) => {}
            Err(error) => return Err(setup(error.into())),
        }
    }
    Ok(())
}

fn place(descriptors: &[OwnedFd; 3]) -> Result<()> {
    // Above the targets first, so that placing one does not overwrite another.
    let above = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|e| setup(e.into()));
    let [input, output, error] =
        [above(descriptors[0].as_fd())?, above(descriptors[1].as_fd())?, above(descriptors[2].as_fd())?];
    rustix::stdio::dup2_stdin(&input).map_err(|e| setup(e.into()))?;
    rustix::stdio::dup2_stdout(&output).map_err(|e| setup(e.into()))?;
    rustix::stdio::dup2_stderr(&error).map_err(|e| setup(e.into()))
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_bytes()).map_err(|_| zero_byte())).collect()
}

fn zero_byte() -> Error {
    Error::invalid("an argument or a variable contains a zero byte")
}

/// A failure of the machine during preparation is never "the program was not found": kinds mean exit codes.
pub(super) fn setup(error: io::Error) -> Error {
    Error::internal("cannot prepare the container's process").caused_by(error)
}
