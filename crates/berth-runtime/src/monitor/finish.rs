//! The end: of an exec, of the container, of the monitor.

use super::left_behind;
use super::process::End;
use super::spawn::has_own_pid_namespace;
use super::time::Due;
use super::{CONTAINER, Monitor};
use crate::bundle::Exit;
use crate::circumstances;
use crate::connection::socket_path;
use crate::external::External;
use crate::protocol::{Fault, Reply};
use crate::recovery::Recovery;
use crate::relay::Relays;
use crate::state::Status;
use berth_oci::{Context, Error, Result};
use jiff::Timestamp;
use rustix::io::{FdFlags, fcntl_setfd};
use std::ffi::CString;
use std::fs;
use std::io;

impl Monitor {
    pub(super) fn exec_exited(&mut self, number: u32, code: i32) -> Result<()> {
        self.drain(number);
        self.tell_exec_end(number, code);
        self.processes.remove(&number);
        self.probe_ended(number, code)?;
        let exit =
            Exit { code, oom_killed: false, finished_at: Timestamp::now(), restarts: false, cpu_ns: 0 };
        self.tell_exit(number, &exit, None)
    }

    /// The container's first process has ended.
    pub(super) fn finish(&mut self, end: End) -> Result<()> {
        let mut troubles = Vec::new();
        self.suspend_probing();
        self.end_the_others(&mut troubles);
        self.drain(CONTAINER);
        self.processes.remove(&CONTAINER);
        if let Some(mut log) = self.log.take()
            && let Err(error) = log.finish()
        {
            troubles.push(format!("the log is incomplete: {error}"));
        }
        self.examine(end)?;
        let cpu_ns = self.cgroup.cpu();
        self.clear_away(&mut troubles);
        let at = Timestamp::now();
        self.tell_end(end.code, at);
        let restarts = self.is_to_run_again(end.code);
        if restarts {
            self.rest_until_next_start(end.code, at)?;
        } else {
            self.write_end(end.code, at, troubles)?;
            self.close_down();
        }
        let oom_killed = self.state.oom_killed;
        let exit = Exit { code: end.code, oom_killed, finished_at: at, restarts, cpu_ns };
        self.tell_exit(CONTAINER, &exit, None)?;
        self.is_over = !restarts;
        Ok(())
    }

    /// What can be known about the end only now, while its cgroup is there.
    fn examine(&mut self, end: End) -> Result<()> {
        self.note_oom_kills()?;
        let circumstances = &mut self.state.circumstances;
        circumstances.signal = end.signal;
        circumstances.processes = self.cgroup.most_processes();
        circumstances.unhealthy = self.is_unhealthy;
        if let Some(memory) = &mut circumstances.memory {
            (memory.peak, memory.limit) = (self.cgroup.memory_peak(), self.cgroup.memory_limit());
            if let Some(kill) = circumstances::last_kill(&self.bundle.id) {
                memory.process = Some(kill.process);
                memory.pid = Some(kill.pid);
                memory.beyond = kill.beyond;
            }
        }
        Ok(())
    }

    /// It never ran. Whoever asks to start it hears why.
    pub(super) fn failed_to_start(&mut self, error: Error) -> Result<()> {
        let mut troubles = vec![error.to_string()];
        let requester = self.processes.get_mut(&CONTAINER).and_then(|p| p.requester.take());
        if let Some(process) = self.processes.remove(&CONTAINER) {
            process.kill_and_reap()?;
        }
        self.clear_away(&mut troubles);
        let code = match crate::exit_code(&error) {
            125 => 128,
            code => code,
        };
        let at = Timestamp::now();
        self.state.circumstances.hint = error.hint_text().map(ToOwned::to_owned);
        self.write_end(code, at, troubles)?;
        self.close_down();
        let exit = Exit { code, oom_killed: false, finished_at: at, restarts: false, cpu_ns: 0 };
        self.tell_exit(CONTAINER, &exit, requester)?;
        match requester {
            Some(client) => self.answer(client, &Reply::Failed(Fault::from(&error)))?,
            None => self.failure = Some(error),
        }
        self.is_over = true;
        Ok(())
    }

    /// Processes of a PID namespace of their own are dead by now; others are not.
    fn end_the_others(&mut self, troubles: &mut Vec<String>) {
        if !has_own_pid_namespace(self.bundle.spec.linux().as_ref()) {
            let killed = match (self.cgroup.dirs().next(), &self.mounts) {
                (None, Some(mounts)) => left_behind::kill(mounts),
                _ => self.cgroup.kill(),
            };
            troubles.extend(killed.err().map(|error| error.to_string()));
        }
        let others: Vec<_> = self.processes.keys().copied().filter(|number| *number != CONTAINER).collect();
        for number in others {
            let code = self.processes.get(&number).map_or(Ok(137), |p| p.reap().map(|end| end.code));
            if let Err(error) = code.and_then(|code| self.exec_exited(number, code)) {
                troubles.push(error.to_string());
            }
        }
    }

    /// What is to be cleared away, by us or by whoever finds us dead.
    pub(super) fn recovery(&self) -> Recovery {
        let networks = self.home.clone().map(|home| (home, self.bundle.id.clone()));
        Recovery { cgroup: self.cgroup.clone(), networks }
    }

    /// Gives back what it has of the machine.
    fn clear_away(&mut self, troubles: &mut Vec<String>) {
        self.held_ports.clear();
        self.oom = None;
        self.due = Due::default();
        self.end_probing();
        self.names = None;
        self.relays = Relays::default();
        for joined in std::mem::take(&mut self.state.networks) {
            self.tell_network("disconnect", &joined);
        }
        if let Some(external) = External::of(&self.bundle) {
            troubles.extend(external.delete().err().map(|error| error.to_string()));
        }
        // What cannot be cleared away stays written down, for whoever removes the container or starts it again.
        let cleared = self.recovery().clear_away().and_then(|()| Recovery::forget(&self.bundle.run_dir));
        troubles.extend(cleared.err().map(|error| error.to_string()));
    }

    /// Nobody is there to be asked any more.
    pub(super) fn close_down(&mut self) {
        self.listener = None;
        // Harmless as well: a socket nobody listens on.
        drop(fs::remove_file(socket_path(&self.bundle.run_dir)));
    }

    pub(super) fn write_end(&mut self, code: i32, at: Timestamp, troubles: Vec<String>) -> Result<()> {
        self.state.status = Status::Exited;
        self.state.pid = None;
        self.state.exit_code = Some(code);
        self.state.finished_at = Some(at);
        let told = self.state.error.take().into_iter().chain(troubles).collect::<Vec<_>>();
        self.state.error = Some(told.join("; ")).filter(|text| !text.is_empty());
        self.save()
    }

    /// What the process has written and nobody has read yet. It ends: whoever could write more is dead, or was left
    /// behind by an exec, and then what is there now is what belongs to it.
    fn drain(&mut self, number: u32) {
        let channels: Vec<_> = self
            .processes
            .get(&number)
            .map_or_else(Vec::new, |p| p.outputs.iter().map(|(c, _)| *c).collect());
        for channel in channels {
            let mut budget = 64;
            while budget > 0 && self.read_output(number, channel) {
                budget -= 1;
            }
        }
    }

    /// Everyone who follows the process, but not who gets another answer anyway.
    pub(super) fn tell_exit(&mut self, number: u32, exit: &Exit, except: Option<u32>) -> Result<()> {
        let following = |c: &super::client::Client| c.following.process == Some(number) && c.following.exit;
        let clients: Vec<_> = self
            .clients
            .iter()
            .filter(|(id, c)| following(c) && Some(**id) != except)
            .map(|(id, _)| *id)
            .collect();
        for client in clients {
            self.answer(client, &Reply::Exited(exit.clone()))?;
        }
        Ok(())
    }

    /// The last act: the command that removes the container, if nobody has. Connections stay open across it, so that
    /// their end tells clients that it is done.
    pub(super) fn leave(self) -> Result<()> {
        let Some(command) = self.bundle.on_exit.as_ref().filter(|_| !self.is_cleaned) else { return Ok(()) };
        for client in self.clients.values() {
            fcntl_setfd(&client.socket, FdFlags::empty()).map_err(io::Error::from)?;
        }
        let arguments = command.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<Vec<_>, _>>();
        let arguments = arguments.map_err(|_| Error::invalid("an argument contains a zero byte"))?;
        let Some(program) = arguments.first() else { return Ok(()) };
        berth_sys::signal::reset().context(|| "cannot reset signals")?;
        Err(berth_sys::exec::execve(program, &arguments, &[]))
            .context(|| "cannot run the command that cleans up")
    }
}
