//! What clients ask for.

use super::{CONTAINER, Monitor};
use crate::bundle::{Stdin, Streams};
use crate::protocol::{self, Channel, Fault, Reply, Request};
use crate::state::Status;
use berth_oci::{Error, Result};
use std::time::{Duration, Instant};

impl Monitor {
    pub(super) fn receive(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let open = client.receive();
        while let Some(client) = self.clients.get_mut(&number) {
            match client.next_frame() {
                Ok(Some((channel, payload))) => {
                    // A client that does not speak our language is not one of ours.
                    if self.frame(number, channel, &payload).is_err() {
                        self.forget(number);
                    }
                }
                Ok(None) => break,
                Err(_) => self.forget(number),
            }
        }
        if !open {
            self.forget(number);
        }
    }

    fn frame(&mut self, client: u32, channel: Channel, payload: &[u8]) -> Result<()> {
        match channel {
            Channel::Stdin => {
                self.stdin(client, payload);
                Ok(())
            }
            Channel::Message => self.request(client, protocol::decode(payload)?),
            Channel::Stdout | Channel::Stderr => Err(Error::corrupt("a client sent output")),
        }
    }

    fn stdin(&mut self, client: u32, bytes: &[u8]) {
        let Some(following) = self.clients.get(&client).map(|c| c.following) else { return };
        let process = following.process.and_then(|number| self.processes.get_mut(&number));
        if let (Some(process), true) = (process, following.streams.stdin) {
            process.queue_stdin(bytes);
            process.write_stdin();
        }
    }

    /// Does it and answers; an error of the request itself is the answer.
    fn request(&mut self, client: u32, request: Request) -> Result<()> {
        let result = match request {
            Request::CloseStdin => {
                self.close_stdin(client);
                return Ok(());
            }
            Request::Resize { rows, columns } => {
                self.resize(client, rows, columns);
                return Ok(());
            }
            Request::Cleaned => {
                self.is_cleaned |= self.is_over && self.clients.get(&client).is_some_and(|c| c.is_creator);
                return Ok(());
            }
            // Answered when it is known.
            Request::Start => match self.start(client) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Request::Exec(exec) => match self.exec(client, &exec) {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            },
            Request::Status => Ok(Reply::State(Box::new(self.state.clone()))),
            Request::Attach(streams) => self.attach(client, streams).map(|()| Reply::Done),
            Request::Wait => self.follow(client, Streams::default()).map(|()| Reply::Done),
            Request::Signal(number) => self.signal(client, number).map(|()| Reply::Done),
            Request::Stop { signal, patience_ms, lasting } => {
                self.state.stopped |= lasting;
                let patience = patience_ms.map(Duration::from_millis);
                self.stop(client, signal, patience).map(|()| Reply::Done)
            }
            Request::Update { resources, restart } => self.update(*resources, restart).map(|()| Reply::Done),
            Request::Pause => self.pause(true).map(|()| Reply::Done),
            Request::Resume => self.pause(false).map(|()| Reply::Done),
            Request::Connect(plan) => self.join(&plan).map(|()| Reply::Done),
            Request::Disconnect(network) => self.part(&network).map(|()| Reply::Done),
            Request::Create(_) => Err(Error::conflict("the container has already been created")),
        };
        let reply = result.unwrap_or_else(|error| Reply::Failed(Fault::from(&error)));
        self.answer(client, &reply)
    }

    fn start(&mut self, client: u32) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        match self.processes.get_mut(&CONTAINER) {
            Some(process) if process.channel.is_some() && !process.is_wanted => {
                process.is_wanted = true;
                process.requester = Some(client);
                self.go_if_wanted()
            }
            _ => Err(Error::conflict("the container has already been started")),
        }
    }

    fn exec(&mut self, client: u32, exec: &crate::bundle::Exec) -> Result<()> {
        match self.state.status {
            Status::Running => {}
            Status::Paused => {
                return Err(Error::conflict("the container is paused, unpause the container before exec"));
            }
            Status::Restarting => {
                return Err(Error::conflict("the container is restarting, wait until it is running"));
            }
            Status::Created | Status::Exited => return Err(Error::conflict("the container is not running")),
        }
        if self.clients.get(&client).is_some_and(|c| c.following.process.is_some()) {
            return Err(Error::conflict("this connection already follows a process"));
        }
        self.launch_exec(client, exec)?;
        if let Some(client) = self.clients.get_mut(&client) {
            client.following.streams.stdin = exec.stdin;
        }
        Ok(())
    }

    fn attach(&mut self, client: u32, streams: Streams) -> Result<()> {
        self.follow(client, streams)?;
        if let Some(process) = self.processes.get_mut(&CONTAINER)
            && streams.stdin
            && process.stdin_owner.is_none()
        {
            process.stdin_owner = Some(client);
        }
        Ok(())
    }

    fn follow(&mut self, client: u32, streams: Streams) -> Result<()> {
        let Some(client) = self.clients.get_mut(&client) else { return Ok(()) };
        if client.following.process.is_some_and(|process| process != CONTAINER) {
            return Err(Error::conflict("this connection follows an exec"));
        }
        client.following.process = Some(CONTAINER);
        client.following.exit = true;
        client.following.streams.stdin |= streams.stdin;
        client.following.streams.stdout |= streams.stdout;
        client.following.streams.stderr |= streams.stderr;
        Ok(())
    }

    fn close_stdin(&mut self, client: u32) {
        let number = self.clients.get(&client).and_then(|c| c.following.process);
        if let Some(process) = number.and_then(|number| self.processes.get_mut(&number))
            && process.stdin_mode == Stdin::Once
            && process.stdin_owner == Some(client)
        {
            process.close_stdin();
        }
    }

    fn resize(&mut self, client: u32, rows: u16, columns: u16) {
        let number = self.clients.get(&client).and_then(|c| c.following.process);
        if let Some(process) = number.and_then(|number| self.processes.get_mut(&number)) {
            // A terminal that is closing cannot be resized, which nobody will notice.
            drop(process.resize(rows, columns));
        }
    }

    fn signal(&mut self, client: u32, number: i32) -> Result<()> {
        let followed = self.clients.get(&client).and_then(|c| c.following.process).unwrap_or(CONTAINER);
        if followed == CONTAINER {
            return self.signal_container(client, number);
        }
        let process =
            self.processes.get(&followed).ok_or_else(|| Error::conflict("the process has already ended"))?;
        process.signal(number)
    }

    fn signal_container(&mut self, client: u32, number: i32) -> Result<()> {
        let chosen = self.bundle.life.stop.signal;
        if number == libc::SIGKILL || chosen.is_none_or(|chosen| chosen == number) {
            self.is_final = true;
            self.state.stopped = true;
        }
        if self.due.restart.is_some() {
            return if self.is_final { self.give_up_restarting() } else { Ok(()) };
        }
        self.send(client, number)
    }

    /// A signal to the container's first process on behalf of a client, which is remembered.
    fn send(&mut self, client: u32, number: i32) -> Result<()> {
        let process =
            self.processes.get(&CONTAINER).ok_or_else(|| Error::conflict("the container is not running"))?;
        process.signal(number)?;
        self.state.circumstances.asked = self.clients.get(&client).and_then(|c| c.asks_for(number));
        self.tell("kill", &[("signal", number.to_string())]);
        self.save()
    }

    /// See [`crate::connection::Connection::stop`].
    fn stop(&mut self, client: u32, number: i32, patience: Option<Duration>) -> Result<()> {
        self.is_final = true;
        if self.due.restart.is_some() {
            return self.give_up_restarting();
        }
        self.send(client, number)?;
        if self.state.status == Status::Paused {
            self.pause(false)?;
        }
        self.due.kill = patience.map(|patience| Instant::now() + patience);
        Ok(())
    }

    pub(super) fn pause(&mut self, frozen: bool) -> Result<()> {
        match (self.state.status, frozen) {
            (Status::Running, true) | (Status::Paused, false) => {}
            (Status::Paused, true) => return Err(Error::conflict("the container is already paused")),
            (Status::Running, false) => return Err(Error::conflict("the container is not paused")),
            (Status::Restarting, _) => {
                return Err(Error::conflict("the container is restarting, wait until it is running"));
            }
            _ => return Err(Error::conflict("the container is not running")),
        }
        self.cgroup.freeze(frozen)?;
        self.state.status = if frozen { Status::Paused } else { Status::Running };
        if frozen {
            self.suspend_probing()
        } else {
            self.resume_probing()
        };
        self.tell(if frozen { "pause" } else { "unpause" }, &[]);
        self.save()
    }
}
