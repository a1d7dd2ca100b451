//! A client's side of a monitor's socket: [`create`] a container, or [`Connection::open`] one that is there.
//!
//! Not here: terminals, detach keys, what to print. Invariant: what the container wrote before its exit comes before
//! [`Event::Exited`].

use crate::bundle::{Bundle, Exec, Exit, Started, Streams};
use crate::life::Restart;
use crate::memory;
use crate::net::NetworkPlan;
use crate::protocol::{self, Channel, DATA_LIMIT, HEADER, Reply, Request};
use crate::standby::Standby;
use crate::state::{self, Door, Lock, State};
use berth_oci::{Context, Error, Result};
use oci_spec::runtime::LinuxResources;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What comes from a monitor unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container (or exec) wrote this to standard output, or to its terminal.
    Stdout(Vec<u8>),
    /// It wrote this to standard error.
    Stderr(Vec<u8>),
    /// It has ended.
    Exited(Exit),
    /// The monitor has closed the connection: after an exit, everything it had to do is done.
    Closed,
}

/// A conversation with a container's monitor.
///
/// One connection follows either the container (after [`Self::attach`] or [`Self::wait`]) or one exec.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    /// Came while an answer was awaited.
    early: VecDeque<Event>,
}

/// The end of a connection that writes standard input, for a thread of its own.
#[derive(Debug)]
pub struct Input(UnixStream);

/// [`Standby::create`] with a monitor that is started now.
///
/// # Errors
/// As there, and when the monitor cannot be run.
pub fn create(bundle: &Bundle) -> Result<Connection> {
    Standby::start(&bundle.exe, &bundle.id)?.create(bundle)
}

impl Standby {
    /// Makes a container ready: its monitor prepares everything up to the moment before `execve`.
    ///
    /// Does not wait for that: what goes wrong is the answer of [`Connection::start`]. If this connection closes before
    /// anyone has asked for the start, the container is ended and cleared away.
    ///
    /// # Errors
    /// `Conflict`: it runs already, or somebody has removed it. `Invalid`: the bundle makes no sense.
    pub fn create(self, bundle: &Bundle) -> Result<Connection> {
        crate::validate::bundle(bundle)?;
        if bundle.id != self.id() {
            let (id, own) = (&bundle.id, self.id());
            return Err(Error::invalid(format!("the monitor of container {own} cannot be that of {id}")));
        }
        let _door = Door::close(&bundle.run_dir)?;
        let Some(lock) = Lock::try_take(&bundle.run_dir)? else {
            return Err(Error::conflict(format!("container {} is already running", bundle.id)));
        };
        if !bundle.dir.is_dir() {
            // Somebody has removed it; the lock has brought its run directory back.
            return state::remove_run_dir(&bundle.run_dir)
                .and(Err(Error::conflict(format!("container {} has been removed", bundle.id))));
        }
        bundle.memory.map_or(Ok(()), |bytes| memory::provide(&bundle.run_dir, bytes))?;
        state::keep(&bundle.dir, &bundle.run_dir, &State::created()?)?;
        match self.begin(bundle, &lock) {
            Ok(socket) => Ok(Connection { socket, early: VecDeque::new() }),
            Err(error) => {
                // Nothing was made: as if nobody had asked.
                let removed = memory::remove(&bundle.run_dir);
                state::forget(&bundle.dir, &bundle.run_dir).and(removed).and(Err(error))
            }
        }
    }
}

/// Where a container's monitor listens.
pub(crate) fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("ctl.sock")
}

impl Connection {
    /// Talks to the monitor of the container with this run directory; an error of kind Conflict when none runs.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let socket = connect(run_dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::conflict("the container is not running").caused_by(error)
            }
            _ => Error::from(error),
        })?;
        Ok(Self { socket, early: VecDeque::new() })
    }

    /// Lets the program run. Errors are the container's own, in docker's words; see [`crate::exit_code`].
    pub fn start(&mut self) -> Result<Started> {
        match self.ask(&Request::Start)? {
            Reply::Started(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// From now on this connection gets the container's streams, and its exit. Before `start` nothing is missed.
    pub fn attach(&mut self, streams: Streams) -> Result<()> {
        self.done(&Request::Attach(streams))
    }

    /// Starts a further process; this connection gets its streams and its exit.
    pub fn exec(&mut self, exec: Exec) -> Result<Started> {
        match self.ask(&Request::Exec(Box::new(exec)))? {
            Reply::Started(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a signal to the container's (or this connection's exec's) first process.
    pub fn signal(&mut self, number: i32) -> Result<()> {
        self.done(&Request::Signal(number))
    }

    /// Asks the container's first process to end, kills it when it has not done so within `patience`, and starts it
    /// no more. Does not wait for the end. A frozen container goes on first. `lasting` is remembered in its state.
    pub fn stop(&mut self, signal: i32, patience: Option<Duration>, lasting: bool) -> Result<()> {
        let patience_ms = patience.map(|p| u64::try_from(p.as_millis()).unwrap_or(u64::MAX));
        self.done(&Request::Stop { signal, patience_ms, lasting })
    }

    /// Changes the limits of a running container (devices stay as they are), and when it is started again.
    pub fn update(&mut self, resources: LinuxResources, restart: Restart) -> Result<()> {
        self.done(&Request::Update { resources: Box::new(resources), restart })
    }

    /// Freezes every process.
    pub fn pause(&mut self) -> Result<()> {
        self.done(&Request::Pause)
    }

    /// Lets them go on.
    pub fn resume(&mut self) -> Result<()> {
        self.done(&Request::Resume)
    }

    /// Puts the running container on a further network.
    pub fn connect(&mut self, plan: NetworkPlan) -> Result<()> {
        self.done(&Request::Connect(Box::new(plan)))
    }

    /// Takes it off the network of this name.
    pub fn disconnect(&mut self, network: &str) -> Result<()> {
        self.done(&Request::Disconnect(network.to_owned()))
    }

    /// What the container is doing, from its monitor.
    pub fn status(&mut self) -> Result<State> {
        match self.ask(&Request::Status)? {
            Reply::State(state) => Ok(*state),
            other => Err(unexpected(&other)),
        }
    }

    /// From now on this connection gets the container's exit as an event.
    pub fn subscribe(&mut self) -> Result<()> {
        self.done(&Request::Wait)
    }

    /// Waits for the exit of the container (after [`Self::attach`], [`Self::subscribe`] or [`create`]) or of the
    /// exec, passing over output.
    pub fn wait(&mut self) -> Result<Exit> {
        loop {
            match self.next_event()? {
                Event::Exited(exit) => return Ok(exit),
                Event::Closed => return Err(gone()),
                Event::Stdout(_) | Event::Stderr(_) => {}
            }
        }
    }

    /// The next event; waits for it. The descriptor ([`AsFd`]) is readable when one is there, except for those in
    /// [`Self::has_early_events`].
    pub fn next_event(&mut self) -> Result<Event> {
        if let Some(event) = self.early.pop_front() {
            return Ok(event);
        }
        let mut payload = Vec::new();
        match self.read_frame(&mut payload)? {
            None => Ok(Event::Closed),
            Some(channel) => match event(channel, payload)? {
                Ok(event) => Ok(event),
                Err(reply) => Err(unexpected(&reply)),
            },
        }
    }

    /// Whether events were received while an answer was awaited: `next_event` gives them without waiting.
    #[must_use]
    pub fn has_early_events(&self) -> bool {
        !self.early.is_empty()
    }

    /// A second handle, to write standard input from another thread.
    pub fn input(&self) -> Result<Input> {
        Ok(Input(self.socket.try_clone().context(|| "cannot duplicate a descriptor")?))
    }

    /// Says that the container has been removed: the monitor need not run the bundle's `on_exit`. Only the
    /// connection that created the container may say so, after the exit.
    pub fn cleaned(&mut self) -> Result<()> {
        self.write(&protocol::encode(&Request::Cleaned)?)
    }

    fn done(&mut self, request: &Request) -> Result<()> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// One request, its answer; what comes in between is kept.
    fn ask(&mut self, request: &Request) -> Result<Reply> {
        // A monitor that has just ended may have left its last words, which say more than "broken pipe".
        let written = self.write(&protocol::encode(request)?);
        let mut payload = Vec::new();
        loop {
            payload.clear();
            let Some(channel) = self.read_frame(&mut payload)? else {
                return Err(written.err().unwrap_or_else(gone));
            };
            match event(channel, std::mem::take(&mut payload))? {
                Ok(event) => self.early.push_back(event),
                Err(Reply::Failed(fault)) => return Err(fault.into()),
                Err(reply) => return Ok(reply),
            }
        }
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        self.socket.write_all(frame).context(|| "the container's monitor does not listen")
    }

    /// `None` at the end.
    fn read_frame(&mut self, payload: &mut Vec<u8>) -> Result<Option<Channel>> {
        let mut header = [0; HEADER];
        match self.socket.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return Ok(None),
            Err(error) => return Err(error).context(|| "cannot hear the container's monitor"),
        }
        let (channel, length) = protocol::parse_header(header)?;
        payload.resize(length, 0);
        self.socket
            .read_exact(payload)
            .context(|| "the container's monitor stopped in the middle of a message")?;
        Ok(Some(channel))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Input {
    /// Sends the size of the terminal, if it has one.
    pub fn resize(&mut self, rows: u16, columns: u16) -> io::Result<()> {
        self.message(&Request::Resize { rows, columns })
    }

    /// No more standard input will come.
    pub fn close(&mut self) -> io::Result<()> {
        self.message(&Request::CloseStdin)
    }

    fn message(&mut self, request: &Request) -> io::Result<()> {
        self.0.write_all(&protocol::encode(request)?)
    }
}

/// Standard input.
impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(DATA_LIMIT)];
        if !part.is_empty() {
            let mut frame = protocol::header(Channel::Stdin, part.len()).to_vec();
            frame.extend_from_slice(part);
            self.0.write_all(&frame)?;
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The address of a Unix socket has at most 107 bytes; a path through our own descriptor is always short enough.
fn connect(run_dir: &Path) -> io::Result<UnixStream> {
    let dir = fs::File::open(run_dir)?;
    UnixStream::connect(socket_path(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd()))))
}

fn event(channel: Channel, payload: Vec<u8>) -> Result<std::result::Result<Event, Reply>> {
    Ok(match channel {
        Channel::Stdout => Ok(Event::Stdout(payload)),
        Channel::Stderr => Ok(Event::Stderr(payload)),
        Channel::Stdin => return Err(Error::corrupt("the monitor sent standard input to a client")),
        Channel::Message => match protocol::decode(&payload)? {
            Reply::Exited(exit) => Ok(Event::Exited(exit)),
            reply => Err(reply),
        },
    })
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

fn gone() -> Error {
    Error::unavailable("the container's monitor has ended").hint("its state says how: `berth inspect`")
}

fn unexpected(reply: &Reply) -> Error {
    Error::internal(format!("the container's monitor answered {reply:?} to another question"))
}
