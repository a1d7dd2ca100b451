//! What a monitor does when something is ready.

use super::client::Client;
use super::{CONTAINER, Monitor, Token};
use crate::bundle::{Started, Stdin};
use crate::circumstances::Circumstances;
use crate::hook;
use crate::init::Message;
use crate::protocol::{Channel, Fault, Reply};
use crate::state::Status;
use berth_oci::{Error, Result};
use jiff::Timestamp;
use oci_spec::runtime::ContainerState;
use rustix::event::PollFlags;
use std::os::fd::OwnedFd;
use std::time::Instant;

impl Monitor {
    pub(super) fn handle(&mut self, token: Token, _flags: PollFlags) -> Result<()> {
        match token {
            Token::Listener => self.accept(),
            Token::Receive(client) => self.receive(client),
            Token::Flush(client) => self.flush(client),
            Token::Init(process) => self.hear(process)?,
            Token::Output(process, channel) => drop(self.read_output(process, channel)),
            Token::Relay(interest) => self.relays.handle(interest),
            Token::Names(interest) => {
                if let Some(names) = &mut self.names {
                    names.handle(interest);
                }
            }
            Token::Input(process) => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.write_stdin();
                }
            }
            Token::Exit(process) => self.exited(process)?,
            Token::Memory => self.memory_ran_out()?,
            Token::Ledger => self.ledger_changed(),
            Token::Log => self.tend_log(),
        }
        Ok(())
    }

    fn accept(&mut self) {
        let accepted = self.listener.as_ref().and_then(|listener| listener.accept().ok());
        // A client that went away between connecting and being accepted is no event.
        let client = accepted.and_then(|(socket, _)| Client::new(socket, false).ok());
        if let Some(client) = client {
            let number = self.number();
            self.clients.insert(number, client);
        }
    }

    pub(super) fn flush(&mut self, client: u32) {
        if self.clients.get_mut(&client).is_some_and(|c| !c.flush()) {
            self.forget(client);
        }
    }

    /// A client has gone: the standard input that was its own ends, for a container in "once" mode and for an exec.
    pub(super) fn forget(&mut self, client: u32) {
        let gone = self.clients.remove(&client);
        if self.bundle.tied
            && gone.as_ref().is_some_and(|client| client.is_creator)
            && let Some(process) = self.processes.get(&CONTAINER)
        {
            // Should it have ended already, that is as good.
            drop(process.signal(libc::SIGKILL));
        }
        let is_unwanted = self.processes.get(&CONTAINER).is_some_and(|p| p.channel.is_some() && !p.is_wanted);
        self.is_abandoned |= is_unwanted && gone.is_some_and(|client| client.is_creator);
        for process in self.processes.values_mut() {
            if process.stdin_owner == Some(client) && process.stdin_mode == Stdin::Once {
                process.close_stdin();
            }
            if process.requester == Some(client) {
                process.requester = None;
            }
        }
    }

    /// Queues a reply and sends what goes at once.
    pub(super) fn answer(&mut self, client: u32, reply: &Reply) -> Result<()> {
        if let Some(client) = self.clients.get_mut(&client) {
            client.reply(reply)?;
        }
        self.flush(client);
        Ok(())
    }

    /// What a starting process says.
    pub(super) fn hear(&mut self, number: u32) -> Result<()> {
        let Some(process) = self.processes.get_mut(&number) else { return Ok(()) };
        let Some(channel) = &process.channel else { return Ok(()) };
        match channel.receive() {
            Ok(Some((Message::Ready { warnings }, terminal))) => self.ready(number, warnings, terminal),
            Ok(Some((Message::Surrounded, _))) => self.early_hooks(number),
            Ok(Some((Message::Failed(fault), _))) => self.start_failed(number, fault.into()),
            Ok(None) if process.is_ready => self.started(number),
            Ok(None) => {
                let error = Error::internal("the container's process ended before its program could start");
                self.start_failed(number, error)
            }
            Err(error) => self.start_failed(number, error),
        }
    }

    /// The moment before a container enters its root. Nobody else waits for this monitor yet but its creator.
    fn early_hooks(&mut self, number: u32) -> Result<()> {
        let Some(process) = self.processes.get(&number) else { return Ok(()) };
        let state = self.subject().state(ContainerState::Creating, Some(process.pid));
        let result = hook::run_early(self.bundle.spec.hooks().as_ref(), &state);
        match (result, &process.channel) {
            (Err(error), _) => self.start_failed(number, error),
            (Ok(()), Some(channel)) => channel.go(),
            (Ok(()), None) => Ok(()),
        }
    }

    fn ready(&mut self, number: u32, warnings: Vec<String>, terminal: Option<OwnedFd>) -> Result<()> {
        let Some(process) = self.processes.get_mut(&number) else { return Ok(()) };
        process.is_ready = true;
        process.warnings = warnings;
        if let Some(terminal) = terminal {
            process.set_terminal(terminal)?;
        }
        if number == CONTAINER { self.go_if_wanted() } else { Ok(()) }
    }

    /// Lets the container's program run when it is prepared and somebody has asked.
    pub(super) fn go_if_wanted(&mut self) -> Result<()> {
        let Some(process) = self.processes.get_mut(&CONTAINER) else { return Ok(()) };
        match &process.channel {
            Some(channel) if process.is_ready && process.is_wanted => match channel.go() {
                Ok(()) => Ok(()),
                Err(error) => self.start_failed(CONTAINER, error),
            },
            _ => Ok(()),
        }
    }

    /// The channel has closed without a fault: the program runs.
    fn started(&mut self, number: u32) -> Result<()> {
        let Some(process) = self.processes.get_mut(&number) else { return Ok(()) };
        (process.channel, process.helper) = (None, None);
        let (pid, requester) = (process.pid, process.requester.take());
        let mut warnings = std::mem::take(&mut process.warnings);
        if number == CONTAINER {
            warnings.extend(std::mem::take(&mut self.warnings));
            self.state.status = Status::Running;
            self.state.started_at = Some(Timestamp::now());
            self.state.circumstances = Circumstances::default();
            self.state.oom_killed = false;
            self.begin_probing();
            self.due.overrun = self.bundle.life.most_runtime.map(|most| Instant::now() + most);
            self.save()?;
            self.tell("start", &[]);
        } else {
            self.tell_exec("exec_start", number);
        }
        match requester {
            Some(client) => self.answer(client, &Reply::Started(Started { pid, warnings })),
            None => Ok(()),
        }
    }

    fn start_failed(&mut self, number: u32, error: Error) -> Result<()> {
        if number == CONTAINER {
            return self.failed_to_start(error);
        }
        if self.probe_failed_to_start(number, &error)? {
            return Ok(());
        }
        let Some(process) = self.processes.remove(&number) else { return Ok(()) };
        // It has ended or is about to: it may have been caught in the middle of its preparation.
        process.kill_and_reap()?;
        match process.requester {
            Some(client) => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.following = super::client::Following::default();
                }
                self.answer(client, &Reply::Failed(Fault::from(&error)))
            }
            None => Ok(()),
        }
    }

    /// One read of a stream into the log and to whoever watches; whether there may be more.
    pub(super) fn read_output(&mut self, number: u32, channel: Channel) -> bool {
        let mut bytes = [0; 32 * 1024];
        let Some(process) = self.processes.get_mut(&number) else { return false };
        let Some(at) = process.outputs.iter().position(|(c, _)| *c == channel) else { return false };
        match rustix::io::read(&process.outputs[at].1, &mut bytes) {
            Err(rustix::io::Errno::INTR) => return true,
            Err(rustix::io::Errno::AGAIN) => return false,
            // The end of a pipe is nothing to read, of a terminal EIO.
            Ok(0) | Err(_) => {
                process.outputs.remove(at);
                return false;
            }
            Ok(length) => self.output(number, channel, &bytes[..length]),
        }
        true
    }

    fn output(&mut self, number: u32, channel: Channel, bytes: &[u8]) {
        self.keep_probe_output(number, bytes);
        if number == CONTAINER
            && let Some(log) = &mut self.log
            && let Err(error) = log.write(channel, bytes)
        {
            // The container goes on without a log (a full disk); its state says so when it has ended.
            self.state.error = Some(format!("the log is incomplete: {error}"));
        }
        self.tend_log();
        let mut watching = Vec::new();
        for (id, client) in &mut self.clients {
            let streams = client.following.streams;
            let wants = if channel == Channel::Stdout { streams.stdout } else { streams.stderr };
            if client.following.process == Some(number) && wants {
                client.data(channel, bytes);
                watching.push(*id);
            }
        }
        for client in watching {
            self.flush(client);
        }
    }

    /// What the log could not do at once.
    pub(super) fn tend_log(&mut self) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.tend()
        {
            self.state.error = Some(error.to_string());
        }
    }

    fn exited(&mut self, number: u32) -> Result<()> {
        // A program can run and end within one turn of the loop: hear first that it had started.
        while self.processes.get(&number).is_some_and(|p| p.channel.is_some()) {
            self.hear(number)?;
        }
        let Some(process) = self.processes.get(&number) else { return Ok(()) };
        let end = process.reap()?;
        if number == CONTAINER { self.finish(end) } else { self.exec_exited(number, end.code) }
    }
}
