//! A container in the foreground: its streams are ours, our keys and signals are its, until it ends or we leave.
//!
//! Not here: starting it, removing it. Invariant: one thread listens to the container and writes its output; a
//! second one, if there is standard input, waits for that, so that neither can keep the other waiting.

use crate::console::{self, DetachKeys, RawMode, Sifted};
use crate::terminal;
use berth_oci::{Context as _, Error, Result};
use berth_runtime::{Connection, Event, Exit, Input};
use berth_sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::thread;

/// What goes between us and the container.
pub(crate) struct Session {
    /// Whether our standard input is its.
    pub(crate) stdin: bool,
    /// Whether it has a terminal.
    pub(crate) tty: bool,
    /// Which keys leave it.
    pub(crate) detach_keys: DetachKeys,
    /// Whether our signals are its.
    pub(crate) sig_proxy: bool,
}

/// How it came to an end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The process ended.
    Exited(Exit),
    /// The user left; it goes on.
    Detached,
    /// The monitor is gone.
    Lost,
    /// We were told to end by this signal, and signals are not the container's.
    Signal(i32),
}

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGWINCH: i32 = 28;
/// What a user or a supervisor sends to a program, and the container might want to hear of. Not among them: what the
/// kernel sends about our own mistakes, children and terminal.
const PROXIED: [i32; 8] = [SIGHUP, SIGINT, SIGQUIT, 10, 12, 14, SIGTERM, 18];

/// Signals from now on wait to be read: to be taken before the container starts, so that none is lost.
pub(crate) struct Signals(SignalFd);

impl Session {
    /// Takes the signals that the session is about.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn take_signals(&self) -> Result<Signals> {
        let mut numbers = vec![SIGWINCH];
        match self.passes_signals() {
            true => numbers.extend(PROXIED),
            // Whoever ends us must find the terminal as it was.
            false => numbers.extend([SIGHUP, SIGINT, SIGTERM]),
        }
        SignalFd::take(&numbers).map(Signals).context(|| "cannot collect signals")
    }

    /// A terminal's keys are bytes, and the container's own terminal makes signals of them.
    fn passes_signals(&self) -> bool {
        self.sig_proxy && !self.tty
    }

    /// Passes everything on until the end.
    ///
    /// # Errors
    /// Our own streams fail, or the monitor says something that makes no sense.
    pub(crate) fn run(self, connection: &mut Connection, signals: &Signals) -> Result<Ending> {
        let _raw = match self.tty && self.stdin && terminal::stdin_is_terminal() {
            true => Some(RawMode::enter()?),
            false => None,
        };
        let mut resizer = if self.tty { Some(connection.input()?) } else { None };
        let detached = self.feed(connection)?;
        loop {
            let ready = if connection.has_early_events() {
                Ready { connection: true, ..Ready::default() }
            } else {
                wait(connection, signals, detached.as_ref())?
            };
            if ready.detached {
                return Ok(Ending::Detached);
            }
            if ready.signal
                && let Some(number) = signals.0.next().context(|| "cannot read signals")?
                && let Some(ending) = self.heed(number, connection, resizer.as_mut())
            {
                return Ok(ending);
            }
            if ready.connection {
                match connection.next_event()? {
                    Event::Stdout(bytes) => terminal::print(bytes)?,
                    Event::Stderr(bytes) => terminal::complain_raw(bytes),
                    Event::Exited(exit) => return Ok(Ending::Exited(exit)),
                    Event::Closed => return Ok(Ending::Lost),
                }
            }
        }
    }

    fn heed(&self, number: i32, connection: &mut Connection, resizer: Option<&mut Input>) -> Option<Ending> {
        match (number, resizer) {
            (SIGWINCH, Some(input)) => {
                if let Some((rows, columns)) = console::size() {
                    // A container that has ended needs no size.
                    let _ = input.resize(rows, columns);
                }
                None
            }
            (SIGWINCH, None) => None,
            (number, _) if self.passes_signals() => {
                // It may have ended just now, which the next event says better.
                let _ = connection.signal(number);
                None
            }
            (number, _) => Some(Ending::Signal(number)),
        }
    }

    /// Starts the thread that passes standard input on; the answer becomes readable when the keys to leave are typed.
    fn feed(&self, connection: &Connection) -> Result<Option<PipeReader>> {
        if !self.stdin {
            return Ok(None);
        }
        let input = connection.input()?;
        let (reader, writer) = io::pipe().context(|| "cannot make a pipe")?;
        let keys = self.tty.then(|| self.detach_keys.clone());
        thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || feed(input, keys, writer))
            .context(|| "cannot start a thread")?;
        Ok(Some(reader))
    }
}

/// Reads standard input to its end. Errors end it too: the container learns that nothing more will come.
fn feed(mut input: Input, mut keys: Option<DetachKeys>, mut detached: PipeWriter) {
    let mut buffer = vec![0; 32 * 1024];
    let mut stdin = io::stdin().lock();
    loop {
        let read = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let sifted = match &mut keys {
            Some(keys) => keys.sift(read),
            None => Sifted { bytes: read.to_vec(), detach: false },
        };
        if input.write_all(&sifted.bytes).is_err() {
            return;
        }
        if sifted.detach {
            let _ = detached.write_all(b"d");
            return;
        }
    }
    let _ = input.close();
    // The pipe must not close, which would look like the keys.
    std::mem::forget(detached);
}

#[derive(Default)]
struct Ready {
    connection: bool,
    signal: bool,
    detached: bool,
}

fn wait(connection: &Connection, signals: &Signals, detached: Option<&PipeReader>) -> Result<Ready> {
    let mut fds = vec![PollFd::new(connection, PollFlags::IN), PollFd::new(&signals.0, PollFlags::IN)];
    if let Some(detached) = detached {
        fds.push(PollFd::new(detached, PollFlags::IN));
    }
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::from(io::Error::from(error))),
        }
    }
    let is = |at: usize, flags: PollFlags| fds.get(at).is_some_and(|fd| fd.revents().intersects(flags));
    Ok(Ready {
        connection: is(0, PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
        signal: is(1, PollFlags::IN),
        detached: is(2, PollFlags::IN),
    })
}
