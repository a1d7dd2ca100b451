//! A log that a process of its own writes: a disk that is slow holds neither the container up nor whatever else its monitor
//! does.
//!
//! Here: that process, and what waits for it. Invariant: lines wait, within bounds, or are counted as lost; nobody who
//! writes one waits, but for the end of the log.

use super::backlog::Backlog;
use super::writer::{LINE_LIMIT, Places, end_of_line};
use crate::bundle::Log;
use crate::protocol::{self, Channel, Fault, HEADER};
use berth_oci::{Context, Error, Result};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The hidden first word.
pub(crate) const ROLE: &str = "__log-writer";
/// How long the end of a log may take; docker's is as long.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one start of the process to the next, where it has not lasted.
const PAUSE: Duration = Duration::from_secs(1);
/// A moment in front of the lines: seconds and nanoseconds.
const MOMENT: usize = 12;

/// Hands lines over.
#[derive(Debug)]
pub(super) struct Beside {
    log: Log,
    process: Option<Process>,
    started: Instant,
    waiting: Backlog,
    /// Lines that had no room.
    lost: u64,
    /// A process has ended before its time.
    was_broken: bool,
}

#[derive(Debug)]
struct Process {
    child: Child,
    socket: UnixStream,
}

impl Beside {
    /// Starts the process, and hears whether it can write.
    pub(super) fn open(log: &Log, room: usize) -> Result<Self> {
        let log = Log { buffer: Some(room), ..log.clone() };
        let mut process = Process::start(&log)?;
        let answer = read_answer(&mut process.socket)?;
        if let Some(fault) = answer.flatten() {
            return process.reap(Instant::now() + PATIENCE).and(Err(fault.into()));
        }
        process.socket.set_nonblocking(true)?;
        let (waiting, started) = (Backlog::new(room), Instant::now());
        Ok(Self { log, process: Some(process), started, waiting, lost: 0, was_broken: false })
    }

    pub(super) fn put(&mut self, channel: Channel, lines: &[Vec<u8>], now: Timestamp) {
        let mut frame = vec![0; HEADER];
        frame.extend(now.as_second().to_le_bytes());
        frame.extend(now.subsec_nanosecond().to_le_bytes());
        let start = frame.len();
        for line in lines {
            match self.waiting.has_room(frame.len() + line.len()) {
                true => frame.extend(line),
                false => self.lost += 1,
            }
        }
        if frame.len() > start {
            let header = protocol::header(channel, frame.len() - HEADER);
            frame[..HEADER].copy_from_slice(&header);
            self.waiting.push(frame);
        }
        self.flush();
    }

    /// Writable when there is something to [flush](Self::flush).
    pub(super) fn interest(&self) -> Option<BorrowedFd<'_>> {
        let process = self.process.as_ref().filter(|_| !self.waiting.is_empty());
        process.map(|process| process.socket.as_fd())
    }

    /// When it is to be [flushed](Self::flush) though nothing says so.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.process.is_none() && !self.waiting.is_empty()).then(|| self.started + PAUSE)
    }

    pub(super) fn flush(&mut self) {
        while let Some(bytes) = self.waiting.front() {
            let Some(process) = &self.process else {
                if self.started.elapsed() < PAUSE {
                    return;
                }
                self.start_again();
                continue;
            };
            match send(&process.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => self.waiting.advance(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.give_up_process(),
            }
        }
    }

    /// Nobody waits for its answer: what it says is heard at the end.
    fn start_again(&mut self) {
        self.started = Instant::now();
        let process = Process::start(&self.log);
        self.process = process.ok().filter(|process| process.socket.set_nonblocking(true).is_ok());
    }

    fn give_up_process(&mut self) {
        self.was_broken = true;
        self.waiting.restart();
        if let Some(process) = self.process.take() {
            // It has ended, or does not listen any more.
            let _ = process.reap(Instant::now());
        }
    }

    /// The container has ended: what waits is written, unless that takes too long.
    pub(super) fn finish(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        if self.deadline().is_some() {
            self.start_again();
        }
        self.flush();
        while let Some(socket) = self.interest()
            && is_ready(socket, PollFlags::OUT, deadline)
        {
            self.flush();
        }
        let said = self.process.take().map_or(Ok(()), |process| process.end(deadline));
        let is_late = !self.waiting.is_empty();
        said.and(match (self.lost, is_late, self.was_broken) {
            (0, false, false) => Ok(()),
            (0, true, _) => Err(late()),
            (0, false, true) => Err(Error::unavailable("the process that wrote it was ended by somebody")),
            (lost, ..) => Err(Error::unavailable(format!("{lost} lines had no room in its buffer"))
                .hint("a larger one is --log-opt max-buffer-size=SIZE")),
        })
    }
}

fn late() -> Error {
    Error::unavailable(format!("its end was not written within {} seconds", PATIENCE.as_secs()))
}

impl Process {
    fn start(log: &Log) -> Result<Self> {
        let (mut ours, theirs) = UnixStream::pair().context(|| "cannot make a socket pair")?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("berth-log-writer").arg(ROLE).env_clear().stdin(OwnedFd::from(theirs));
        let child = command.spawn().context(|| "cannot start the process that writes the log")?;
        ours.write_all(&protocol::encode(log)?)?;
        Ok(Self { child, socket: ours })
    }

    /// No more comes; hears what there is to say of what came.
    fn end(mut self, deadline: Instant) -> Result<()> {
        self.socket.shutdown(Shutdown::Write)?;
        self.socket.set_nonblocking(false)?;
        let mut trouble = Ok(());
        loop {
            if !is_ready(self.socket.as_fd(), PollFlags::IN, deadline) {
                self.reap(Instant::now())?;
                return Err(late());
            }
            match read_answer(&mut self.socket)? {
                None => return self.reap(deadline).and(trouble),
                Some(answer) => trouble = trouble.and(answer.map_or(Ok(()), |fault| Err(fault.into()))),
            }
        }
    }

    /// It ends, or is ended: there is one writer of a log at a time. One that the kernel does not let go yet stays behind.
    fn reap(mut self, deadline: Instant) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let ended = ended.map_err(io::Error::from)?;
        if !is_ready(ended.as_fd(), PollFlags::IN, deadline) {
            self.child.kill()?;
        }
        self.child.try_wait()?;
        Ok(())
    }
}

/// Whether it is before it is too late.
fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], timeout.as_ref()) {
            Err(Errno::INTR) => {}
            ready => return ready.is_ok_and(|count| count > 0),
        }
    }
}

/// What the process says: nothing wrong, or what. `None` at its end.
fn read_answer(socket: &mut UnixStream) -> Result<Option<Option<Fault>>> {
    match read_frame(socket)? {
        None => Ok(None),
        Some((_, payload)) => protocol::decode(&payload).map(Some),
    }
}

fn read_frame(mut socket: &UnixStream) -> Result<Option<(Channel, Vec<u8>)>> {
    let mut header = [0; HEADER];
    match socket.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (channel, length) = protocol::parse_header(header)?;
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload)?;
    Ok(Some((channel, payload)))
}

/// The hidden role: takes lines at standard input and writes them. Answers the exit status of the process.
pub(crate) fn role() -> i32 {
    match run() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn run() -> Result<()> {
    let socket = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let Some((Channel::Message, plan)) = read_frame(&socket)? else { return Ok(()) };
    let places = Places::open(&protocol::decode(&plan)?);
    answer(&socket, &places)?;
    let Some(mut places) = places? else { return Ok(()) };
    let written = write(&socket, &mut places);
    places.finish();
    answer(&socket, &written)
}

fn answer<T>(mut socket: &UnixStream, result: &Result<T>) -> Result<()> {
    Ok(socket.write_all(&protocol::encode(&result.as_ref().err().map(Fault::from))?)?)
}

/// Until no more comes. What cannot be written (a full disk) is told at the end; what comes after it may be.
fn write(socket: &UnixStream, places: &mut Places) -> Result<()> {
    let mut trouble = Ok(());
    loop {
        let mut polled = vec![PollFd::new(socket, PollFlags::IN)];
        polled.extend(places.interests().into_iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        let left = places.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            polled => drop(polled.map_err(io::Error::from)?),
        }
        if !polled[0].revents().is_empty() {
            match read_frame(socket)? {
                None => return trouble,
                Some((channel, payload)) => trouble = trouble.and(put(places, channel, &payload)),
            }
        }
        trouble = trouble.and(places.tend());
    }
}

fn put(places: &mut Places, channel: Channel, payload: &[u8]) -> Result<()> {
    let (moment, mut rest) = payload.split_at_checked(MOMENT).ok_or_else(not_lines)?;
    let (seconds, nanoseconds) = moment.split_first_chunk().ok_or_else(not_lines)?;
    let nanoseconds = nanoseconds.try_into().map(i32::from_le_bytes).map_err(|_| not_lines())?;
    let moment = Timestamp::new(i64::from_le_bytes(*seconds), nanoseconds);
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(end_of_line(rest, LINE_LIMIT));
        lines.push(line.to_vec());
        rest = after;
    }
    places.put(channel, &lines, moment.map_err(|_| not_lines())?)
}

fn not_lines() -> Error {
    Error::corrupt("what came is not lines of a log")
}
