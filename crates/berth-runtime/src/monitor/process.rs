//! One process a monitor looks after (the container's first, or an exec's): its descriptors and its life.

use super::client::BEHIND;
use crate::birth::{Born, Helper};
use crate::bundle::Stdin;
use crate::init::{Channel as InitChannel, Stdio};
use crate::protocol::Channel;
use berth_oci::{Context, Error, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// Until the program runs.
    pub(super) channel: Option<InitChannel>,
    /// See [`Born::helper`]; as long as the channel.
    pub(super) helper: Option<Helper>,
    /// Prepared and waiting for "go".
    pub(super) is_ready: bool,
    /// Somebody has asked for the start, and may have gone since.
    pub(super) is_wanted: bool,
    /// Which client wants to know whether it started.
    pub(super) requester: Option<u32>,
    pub(super) warnings: Vec<String>,
    pub(super) stdin_mode: Stdin,
    /// The client whose going closes standard input.
    pub(super) stdin_owner: Option<u32>,
    stdin: Option<OwnedFd>,
    stdin_queue: VecDeque<u8>,
    stdin_closing: bool,
    pub(super) outputs: Vec<(Channel, OwnedFd)>,
    terminal: Option<OwnedFd>,
    size: Option<(u16, u16)>,
    /// An exec's id and its words, for its events.
    pub(super) name: Option<(String, String)>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// Docker's exit code.
    pub(super) code: i32,
    /// What it died of.
    pub(super) signal: Option<i32>,
}

/// The monitor's ends of the pipes.
#[derive(Debug, Default)]
pub(super) struct Ends {
    stdin: Option<OwnedFd>,
    outputs: Vec<(Channel, OwnedFd)>,
}

/// What the child gets and what we keep. A terminal is made by the child, inside the container.
pub(super) fn stdio(terminal: bool, size: Option<(u16, u16)>, stdin: Stdin) -> Result<(Stdio, Ends)> {
    if terminal {
        let (rows, columns) = size.unwrap_or_default();
        return Ok((Stdio::Terminal { rows, columns }, Ends::default()));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from).context(|| "cannot make a pipe");
    let (input, our_input) = match stdin {
        Stdin::Null => (File::open("/dev/null").context(|| "cannot open `/dev/null`")?.into(), None),
        Stdin::Once | Stdin::Open => {
            let (read, write) = pipe()?;
            (read, Some(write))
        }
    };
    let (our_output, output) = pipe()?;
    let (our_error, error) = pipe()?;
    for ours in our_input.iter().chain([&our_output, &our_error]) {
        set_nonblocking(ours)?;
    }
    let outputs = vec![(Channel::Stdout, our_output), (Channel::Stderr, our_error)];
    Ok((Stdio::Pipes([input, output, error]), Ends { stdin: our_input, outputs }))
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    let flags = fcntl_getfl(fd).map_err(io::Error::from)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(io::Error::from)?)
}

impl Process {
    pub(super) fn new(born: Born, ends: Ends, stdin: Stdin) -> Self {
        let Born { pid, pidfd, channel, helper } = born;
        Self {
            pid,
            pidfd,
            channel: Some(channel),
            helper,
            is_ready: false,
            is_wanted: false,
            requester: None,
            warnings: Vec::new(),
            stdin_mode: stdin,
            stdin_owner: None,
            stdin: ends.stdin,
            stdin_queue: VecDeque::new(),
            stdin_closing: false,
            outputs: ends.outputs,
            terminal: None,
            size: None,
            name: None,
        }
    }

    /// The child has sent its terminal.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) -> Result<()> {
        set_nonblocking(&master)?;
        let copy = || master.try_clone().context(|| "cannot duplicate a descriptor");
        self.outputs = vec![(Channel::Stdout, copy()?)];
        self.stdin = Some(copy()?);
        self.terminal = Some(master);
        match self.size.take() {
            Some((rows, columns)) => self.resize(rows, columns),
            None => Ok(()),
        }
    }

    /// Remembered until there is a terminal.
    pub(super) fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        match &self.terminal {
            Some(terminal) => {
                let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                Ok(tcsetwinsize(terminal, size).map_err(io::Error::from)?)
            }
            None => {
                self.size = Some((rows, columns));
                Ok(())
            }
        }
    }

    pub(super) fn queue_stdin(&mut self, bytes: &[u8]) {
        // A process that has closed its standard input, or never had one, is not told what it does not read.
        if self.stdin_mode != Stdin::Null && (self.stdin.is_some() || self.channel.is_some()) {
            self.stdin_queue.extend(bytes);
        }
    }

    /// No more will come; what is queued still goes. A terminal has no half-close.
    pub(super) fn close_stdin(&mut self) {
        self.stdin_closing = true;
        if self.terminal.is_none() && self.stdin_queue.is_empty() {
            self.stdin = None;
        }
    }

    pub(super) fn stdin_is_full(&self) -> bool {
        self.stdin_queue.len() > BEHIND
    }

    /// Standard input, when there is something to write to it.
    pub(super) fn wants_to_write(&self) -> Option<&OwnedFd> {
        self.stdin.as_ref().filter(|_| !self.stdin_queue.is_empty())
    }

    pub(super) fn write_stdin(&mut self) {
        while let (Some(stdin), false) = (&self.stdin, self.stdin_queue.is_empty()) {
            let (front, _) = self.stdin_queue.as_slices();
            match rustix::io::write(stdin, front) {
                Ok(length) => drop(self.stdin_queue.drain(..length)),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                // Nobody reads any more.
                Err(_) => {
                    self.stdin = None;
                    self.stdin_queue.clear();
                }
            }
        }
        if self.stdin_closing && self.terminal.is_none() {
            self.stdin = None;
        }
    }

    pub(super) fn signal(&self, number: i32) -> Result<()> {
        let signal = signal(number)?;
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::SRCH) => Err(Error::conflict("the process has already ended")),
            Err(error) => Err(io::Error::from(error)).context(|| format!("cannot send signal {number}")),
        }
    }

    /// It has ended, or waits for a word that will not come.
    pub(super) fn kill_and_reap(&self) -> Result<()> {
        if self.signal(libc::SIGKILL).is_ok() {
            self.reap()?;
        }
        Ok(())
    }

    /// Waits for its end.
    pub(super) fn reap(&self) -> Result<End> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => {
                    let signal = status.terminating_signal();
                    let code = status.exit_status().or(signal.map(|signal| 128 + signal)).unwrap_or(255);
                    return Ok(End { code, signal });
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)).context(|| "cannot wait for a process"),
            }
        }
    }
}

fn signal(number: i32) -> Result<Signal> {
    berth_sys::signal::numbered(number).ok_or_else(|| Error::invalid(format!("there is no signal {number}")))
}
