//! The process that stands beside a container: one per container, single-threaded, outliving whoever started it.
//!
//! It is the parent of the container's first process and of every exec, holds their pipes and terminals, writes the
//! log, serves `ctl.sock`, runs the health check, starts again what has ended, and says on disk how it ended. Not
//! here: the names of policies.
//! Invariants: one loop, one `poll`, nothing in it waits for anybody (but the end of a container for the end of its log,
//! within seconds); when the monitor dies, the kernel kills its children (parent death signal), and [`crate::state`]
//! tells the truth about it.

mod act;
mod client;
mod events;
mod finish;
mod health;
mod left_behind;
mod linked;
mod network;
mod oom;
mod process;
mod restart;
mod serve;
mod spawn;
mod time;
mod update;

use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, Watch};
use crate::connection::socket_path;
use crate::dns;
use crate::life::BackOff;
use crate::log::Writer;
use crate::net::Home;
use crate::protocol::Channel;
use crate::relay::{self, Relays};
use crate::seccomp::{self, Filter};
use crate::standby::{self, CREATOR_FD, PROGRAM_FD};
use crate::state::{self, Lock, State};
use berth_oci::{AtPath, Context, Error, Result};
use berth_sys::inherited;
use client::Client;
use process::Process;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

/// The container's first process among the processes.
const CONTAINER: u32 = 0;

/// Everything a monitor knows.
#[derive(Debug)]
struct Monitor {
    bundle: Bundle,
    /// Held until the end of this process.
    _lock: Lock,
    /// See [`PROGRAM_FD`].
    _program: OwnedFd,
    state: State,
    listener: Option<UnixListener>,
    clients: BTreeMap<u32, Client>,
    processes: BTreeMap<u32, Process>,
    next_number: u32,
    cgroup: Cgroup,
    filter: Option<Filter>,
    log: Option<Writer>,
    warnings: Vec<String>,
    /// Keeps other programs off the published ports, by the network that they lead to.
    held_ports: BTreeMap<String, Vec<OwnedFd>>,
    /// Where the container's networks are written down, once it was on one.
    home: Option<Home>,
    /// Serves the published ports that the kernel cannot lead.
    relays: Relays,
    /// Answers the container's questions for names.
    names: Option<dns::Server>,
    /// Why the container could not be started, for whoever asks to start it.
    failure: Option<Error>,
    /// The creator went away before it, or anybody, asked for the start.
    is_abandoned: bool,
    /// The container has ended and everything is cleared away: only goodbyes are left.
    is_over: bool,
    /// The creator has removed the container itself.
    is_cleaned: bool,
    /// What is to be done later.
    due: time::Due,
    back_off: BackOff,
    /// Whether the next end is the last one.
    is_final: bool,
    /// Killed because it was unhealthy.
    is_unhealthy: bool,
    /// The runs of its check.
    probing: Option<health::Probing>,
    /// Notices when memory runs out.
    oom: Option<Watch>,
    /// The container's mount namespace. Taking one down waits for every processor, and whoever is last in it waits with
    /// it: as long as we hold it, the container's end is told before that.
    mounts: Option<File>,
    /// Whether another runtime finds the container's root.
    is_prepared: bool,
    /// How long the hosts file was before its own line.
    hosts_length: Option<u64>,
    /// Notices that containers come to networks or leave them, where others are named in the hosts file.
    ledger: Option<linked::Watch>,
}

/// Something that `poll` found ready.
#[derive(Clone, Copy, Debug)]
enum Token {
    Listener,
    Receive(u32),
    Flush(u32),
    Init(u32),
    Exit(u32),
    Output(u32, Channel),
    Input(u32),
    Memory,
    Names(dns::Interest),
    Relay(relay::Interest),
    Ledger,
    Log,
}

/// The hidden role. Answers the exit status of the process.
pub(crate) fn role() -> i32 {
    match run() {
        Ok(()) => 0,
        // Nobody is there to be told: the state on disk says it, as soon as someone looks.
        Err(_) => 1,
    }
}

fn run() -> Result<()> {
    let socket = UnixStream::from(inherited::take(CREATOR_FD).context(|| "no connection to the creator")?);
    let program = inherited::take(PROGRAM_FD).context(|| "no program")?;
    // Processes of the container can see us for a moment while an exec is on its way in: not dumpable means that
    // they cannot open our descriptors, our memory or our program.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(io::Error::from)?;
    rustix::thread::set_name(c"berth-monitor").map_err(io::Error::from)?;
    seccomp::foresee();
    let (bundle, lock) = standby::receive(&socket)?;
    let mut monitor = Monitor::new(bundle, lock, program, socket)?;
    if let Err(error) = monitor.launch() {
        monitor.failed_to_start(error)?;
    }
    monitor.serve()?;
    monitor.leave()
}

impl Monitor {
    fn new(bundle: Bundle, lock: Lock, program: OwnedFd, creator: UnixStream) -> Result<Self> {
        let creator = Client::new(creator, true).context(|| "cannot use the creator's socket")?;
        Ok(Self {
            listener: Some(listen(&bundle)?),
            state: State::created()?,
            clients: BTreeMap::from([(1, creator)]),
            processes: BTreeMap::new(),
            next_number: 2,
            cgroup: Cgroup::default(),
            filter: None,
            log: None,
            warnings: Vec::new(),
            held_ports: BTreeMap::new(),
            home: bundle.networks.first().map(|plan| plan.network.home.clone()),
            relays: Relays::default(),
            names: None,
            failure: None,
            is_abandoned: false,
            is_over: false,
            is_cleaned: false,
            due: time::Due::default(),
            back_off: BackOff::default(),
            is_final: false,
            is_unhealthy: false,
            probing: None,
            oom: None,
            mounts: None,
            is_prepared: false,
            hosts_length: None,
            ledger: None,
            _lock: lock,
            _program: program,
            bundle,
        })
    }

    fn open_log(&mut self) -> Result<()> {
        self.log = Writer::open(&self.bundle.log)?;
        Ok(())
    }

    /// Writes down what is known now.
    fn save(&self) -> Result<()> {
        state::keep(&self.bundle.dir, &self.bundle.run_dir, &self.state)
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// Until the container is over and every client has heard of it.
    fn serve(&mut self) -> Result<()> {
        while !self.is_over || self.clients.values().any(Client::has_outgoing) || self.is_awaiting_creator() {
            self.due.names = self.names.as_ref().and_then(dns::Server::deadline);
            self.due.relays = self.relays.deadline();
            self.due.log = self.log.as_ref().and_then(Writer::deadline);
            for (token, flags) in self.poll()? {
                self.handle(token, flags)?;
            }
            self.keep_time()?;
            if self.is_abandoned && !self.is_over {
                self.failed_to_start(Error::cancelled("the start of this container was broken off"))?;
            }
        }
        Ok(())
    }

    /// After the end the creator may say that it has removed the container; its going says that it will not.
    fn is_awaiting_creator(&self) -> bool {
        let creator = self.clients.values().any(|c| c.is_creator);
        creator && !self.is_cleaned && (self.bundle.on_exit.is_some() || self.failure.is_some())
    }

    fn poll(&self) -> Result<Vec<(Token, PollFlags)>> {
        let mut tokens = Vec::new();
        let mut polled = Vec::new();
        let mut add = |token, fd, flags| {
            tokens.push(token);
            polled.push(PollFd::from_borrowed_fd(fd, flags));
        };
        use std::os::fd::AsFd;
        if let Some(listener) = &self.listener {
            add(Token::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (number, process) in &self.processes {
            if let Some(channel) = &process.channel {
                add(Token::Init(*number), channel.as_fd(), PollFlags::IN);
            }
            if !self.is_watched_by_someone_behind(*number) {
                for (channel, fd) in &process.outputs {
                    add(Token::Output(*number, *channel), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(stdin) = process.wants_to_write() {
                add(Token::Input(*number), stdin.as_fd(), PollFlags::OUT);
            }
            add(Token::Exit(*number), process.pidfd.as_fd(), PollFlags::IN);
        }
        for (number, client) in &self.clients {
            if self.may_send(client) {
                add(Token::Receive(*number), client.socket.as_fd(), PollFlags::IN);
            }
            if client.has_outgoing() {
                add(Token::Flush(*number), client.socket.as_fd(), PollFlags::OUT);
            }
        }
        if let Some(oom) = &self.oom {
            add(Token::Memory, oom.as_fd(), PollFlags::IN);
        }
        if let Some(ledger) = &self.ledger {
            add(Token::Ledger, ledger.as_fd(), PollFlags::IN);
        }
        for (fd, flags) in self.log.iter().flat_map(Writer::interests) {
            add(Token::Log, fd, flags);
        }
        for (interest, fd, flags) in self.names.iter().flat_map(dns::Server::interests) {
            add(Token::Names(interest), fd, flags);
        }
        for (interest, fd, flags) in self.relays.interests() {
            add(Token::Relay(interest), fd, flags);
        }
        loop {
            match poll(&mut polled, self.due.timeout().as_ref()) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)).context(|| "cannot wait for events"),
            }
        }
        let ready = tokens.into_iter().zip(polled.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn is_watched_by_someone_behind(&self, process: u32) -> bool {
        self.clients.values().any(|c| c.following.process == Some(process) && c.is_behind())
    }

    /// A client whose process does not read its standard input has to wait.
    fn may_send(&self, client: &Client) -> bool {
        let process = client.following.process.and_then(|number| self.processes.get(&number));
        !process.is_some_and(Process::stdin_is_full)
    }
}

/// Listens before the state says that there is somebody. The path may be too long for a socket's address: it is
/// reached through a descriptor of its directory.
fn listen(bundle: &Bundle) -> Result<UnixListener> {
    use std::os::fd::AsRawFd;
    let path = socket_path(&bundle.run_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(&path),
        _ => {}
    }
    let dir = fs::File::open(&bundle.run_dir).at(&bundle.run_dir)?;
    let short = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let listener = UnixListener::bind(socket_path(short.as_ref())).at(&path)?;
    listener.set_nonblocking(true).at(&path)?;
    Ok(listener)
}
