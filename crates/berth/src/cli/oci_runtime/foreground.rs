//! A process in the foreground: our signals are its, and its terminal is shown on ours, until it ends.
//!
//! Invariant: one loop; the caller's terminal is as it was when it ends.

use crate::console::{self, RawMode};
use crate::terminal;
use berth_oci::{Context as _, Error, Result};
use berth_runtime::oci::{Child, Readiness};
use berth_sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, pidfd_send_signal, wait, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

const SIGWINCH: i32 = 28;
const SIGHUP: i32 = 1;
const SIGCHLD: i32 = 17;
/// What a user or a supervisor sends to a program, and the word of a child's end.
const HEEDED: [i32; 10] = [SIGHUP, 2, 3, 10, 12, 14, 15, SIGCHLD, 18, SIGWINCH];

/// Signals that wait to be passed on: taken before there is anybody to pass them to, so that none is lost.
pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn take() -> Result<Self> {
        SignalFd::take(&HEEDED).map(Self).context(|| "cannot collect signals")
    }
}

/// Processes of the container that lose their parent become our children, and with us go their remains: without a PID
/// namespace they would be left to the machine's first process.
pub(super) fn adopt_orphans() -> Result<()> {
    let us = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(us)).map_err(io::Error::from).context(|| "cannot adopt orphans")
}

/// Takes note of the end of every child; answers the exit code of this one, if it is among them.
fn bury(child: i32) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == child {
            let signalled = status.terminating_signal().map(|signal| 128 + signal);
            code = status.exit_status().or(signalled).or(Some(255));
        }
    }
    code
}

/// Stays until it has ended; answers its exit code. A service manager is told when it is ready.
pub(super) fn accompany(
    child: Child,
    signals: &Signals,
    mut readiness: Option<Readiness>,
    complain: impl Fn(&str),
) -> Result<i32> {
    let shown = Shown::on_ours(child.terminal)?;
    let mut reads_input = shown.is_some();
    let mut ended = None;
    loop {
        let nothing = || PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::empty());
        let (output, input) = (shown.as_ref(), shown.as_ref().filter(|_| reads_input));
        let stdin = io::stdin();
        let mut polled = [
            PollFd::new(&child.pidfd, PollFlags::IN),
            PollFd::new(&signals.0, PollFlags::IN),
            output.map_or_else(nothing, |s| PollFd::from_borrowed_fd(s.master.as_fd(), PollFlags::IN)),
            input.map_or_else(nothing, |_| PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)),
            readiness.as_ref().map_or_else(nothing, |r| PollFd::from_borrowed_fd(r.as_fd(), PollFlags::IN)),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::from(io::Error::from(error))),
        }
        let ready = polled.map(|fd| !fd.revents().is_empty());
        if ready[1]
            && let Some(number) = signals.0.next().context(|| "cannot read signals")?
        {
            match number {
                SIGCHLD => ended = bury(child.pid).or(ended),
                number => heed(number, &child.pidfd, shown.as_ref()),
            }
        }
        if ready[3]
            && let Some(shown) = input
        {
            reads_input = shown.type_in()?;
        }
        if ready[4] {
            readiness = readiness.filter(|readiness| goes_on(readiness, &complain));
        }
        let has_more = match (ready[2], output) {
            (true, Some(shown)) => shown.show()?,
            _ => false,
        };
        if ready[0] && !has_more {
            return ended.map_or_else(|| code(&child.pidfd), Ok);
        }
    }
}

/// Passes on what the program says of its readiness; whether there is more to wait for.
fn goes_on(readiness: &Readiness, complain: impl Fn(&str)) -> bool {
    match readiness.pass_on() {
        Ok(was_ready) => !was_ready,
        Err(error) => {
            complain(&error.to_string());
            false
        }
    }
}

fn heed(number: i32, process: &OwnedFd, shown: Option<&Shown>) {
    match (number, shown, berth_sys::signal::numbered(number)) {
        (SIGWINCH, Some(shown), _) => shown.resize(),
        // It may have ended just now, which is what happens next.
        (_, _, Some(signal)) => {
            let _ = pidfd_send_signal(process, signal);
        }
        _ => {}
    }
}

fn code(process: &OwnedFd) -> Result<i32> {
    let status = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)
        .map_err(io::Error::from)
        .context(|| "cannot wait for the process")?;
    let signal = |status: &rustix::process::WaitIdStatus| status.terminating_signal().map(|s| 128 + s);
    Ok(status.and_then(|status| status.exit_status().or_else(|| signal(&status))).unwrap_or(255))
}

/// A process's terminal, shown on the caller's.
struct Shown {
    master: OwnedFd,
    _raw: Option<RawMode>,
}

impl Shown {
    fn on_ours(master: Option<OwnedFd>) -> Result<Option<Self>> {
        let Some(master) = master else { return Ok(None) };
        let raw = terminal::stdin_is_terminal().then(RawMode::enter).transpose()?;
        let shown = Self { master, _raw: raw };
        shown.resize();
        Ok(Some(shown))
    }

    fn resize(&self) {
        if let Some((rows, columns)) = console::size() {
            // A terminal that is closing needs no size.
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Passes some input on; whether there may be more.
    fn type_in(&self) -> Result<bool> {
        let mut bytes = [0; 4096];
        match rustix::io::read(io::stdin(), &mut bytes) {
            Ok(0) => Ok(false),
            Ok(length) => {
                let mut master = io::Cursor::new(&bytes[..length]);
                io::copy(&mut master, &mut Master(&self.master))
                    .context(|| "cannot write to the terminal")?;
                Ok(true)
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Shows some output; whether there was any.
    fn show(&self) -> Result<bool> {
        let mut bytes = [0; 32 * 1024];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(length) if length > 0 => terminal::print(&bytes[..length]).map(|()| true),
            Err(rustix::io::Errno::INTR) => Ok(true),
            // The end of a terminal is EIO.
            _ => Ok(false),
        }
    }
}

/// Waits when the terminal's queue is full: its reader is the process, which does not wait for us.
struct Master<'a>(&'a OwnedFd);

impl Write for Master<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.0, bytes) {
                Err(rustix::io::Errno::AGAIN) => {
                    poll(&mut [PollFd::new(self.0, PollFlags::OUT)], None)?;
                }
                result => return Ok(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
