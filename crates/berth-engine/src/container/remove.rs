//! `rm`: a container, its files and its name go.
//!
//! Invariant: nobody starts a container that is being removed; what a crash leaves of it belongs to no record.

use super::Container;
use crate::engine::Engine;
use crate::spec::Signal;
use berth_oci::{Error, Kind, Result};
use berth_runtime::Status;

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Whether a running one is killed first.
    pub force: bool,
    /// Whether volumes that nobody named go with it.
    pub volumes: bool,
}

/// A container that runs goes only by force.
fn refuse(text: &str, status: Status) -> Result<()> {
    let refused =
        |why: &str| Error::conflict(format!("cannot remove container \"{text}\": container is {why}"));
    match status {
        Status::Running => Err(refused("running: stop the container before removing or force remove")
            .hint(format!("`berth stop {text}` ends it, `berth rm -f {text}` kills and removes it"))),
        Status::Restarting => Err(refused("restarting: stop the container before removing or force remove")),
        Status::Paused => Err(refused("paused and must be unpaused first")),
        Status::Created | Status::Exited => Ok(()),
    }
}

impl Engine {
    /// Removes a container.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`: it is running and `force` was not asked for.
    pub fn remove(&self, text: &str, options: RemoveOptions) -> Result<()> {
        let record = self.store()?.container(text)?;
        loop {
            let state =
                berth_runtime::state(&self.store()?.container_dir(&record.id), &self.run_dir(&record.id))?;
            if let (Some(state), false) = (&state, options.force) {
                refuse(text, state.status)?;
            }
            if state.is_some_and(|state| state.is_live()) {
                self.end(&record.id)?;
            }
            if self.discard(&record.id, options.volumes)? {
                return Ok(());
            }
            // Somebody is starting it at this moment: then it runs in the next.
            std::thread::yield_now();
        }
    }

    /// Kills whatever of it still lives.
    fn end(&self, id: &str) -> Result<()> {
        match berth_runtime::Connection::open(&self.run_dir(id)) {
            Ok(mut connection) => {
                connection.subscribe()?;
                match connection.signal(Signal::KILL.number()) {
                    Ok(()) => {}
                    Err(error)
                        if matches!(error.kind(), Kind::Conflict | Kind::NotFound | Kind::Unavailable) => {}
                    Err(error) => return Err(error),
                }
                while connection.next_event()? != berth_runtime::Event::Closed {}
                Ok(())
            }
            Err(error) if error.kind() == Kind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes a container that has no process; false where somebody is starting it. Another who removes it at the
    /// same time is no error.
    ///
    /// Its record goes before its run directory: whoever starts it afterwards finds nothing to start.
    pub(crate) fn discard(&self, id: &str, volumes: bool) -> Result<bool> {
        let run_dir = self.run_dir(id);
        let Some(_claim) = berth_runtime::claim(&self.store()?.container_dir(id), &run_dir)? else {
            return Ok(false);
        };
        let container = match self.recorded(id) {
            Ok(container) => Some(container),
            // Somebody else has removed it, or nobody can read what it had.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => None,
            Err(error) => return Err(error),
        };
        self.store()?.release_rootfs(id)?;
        let removed = match self.store()?.remove_container(id) {
            Err(error) if error.kind() == Kind::NotFound => {
                // Whoever took the record may have been killed before he took the rest.
                self.store()?.remove_container_dir(id)?;
                false
            }
            removed => removed.map(|_| true)?,
        };
        berth_runtime::remove_run_dir(&run_dir)?;
        if let Some(container) = container.filter(|_| removed) {
            if container.document.spec.size.is_some() {
                self.store()?.forget_limit(id)?;
            }
            self.tell_container(&container, "destroy", &[])?;
            if volumes {
                self.remove_volumes(&container.document.anonymous_volumes())?;
            }
        }
        Ok(true)
    }

    /// What the monitor of a container with `--rm` asks for after its exit.
    ///
    /// # Errors
    /// Its files cannot be removed.
    pub fn clean_up(&self, id: &str) -> Result<()> {
        match self.container(id) {
            Ok(container) if container.is_running() => Ok(()),
            Ok(_) => self.discard(id, true).map(drop),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes every container that is not running and that `chosen` says yes to; answers the ids and the bytes.
    ///
    /// # Errors
    /// A container's files cannot be removed.
    pub fn prune_containers(&self, chosen: &dyn Fn(&Container) -> bool) -> Result<(Vec<String>, u64)> {
        let (mut ids, bytes) = self.prunable_containers(chosen)?;
        for at in (0..ids.len()).rev() {
            if !self.discard(&ids[at], false)? {
                ids.remove(at);
            }
        }
        Ok((ids, bytes))
    }

    /// What [`prune_containers`](Self::prune_containers) would remove now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn prunable_containers(&self, chosen: &dyn Fn(&Container) -> bool) -> Result<(Vec<String>, u64)> {
        let mut ids = Vec::new();
        let mut bytes = 0;
        for container in self.containers()? {
            let idle = !container.state.as_ref().is_some_and(berth_runtime::State::is_live);
            if idle && chosen(&container) {
                bytes += self.writable_size(&container.id)?;
                ids.push(container.id);
            }
        }
        Ok((ids, bytes))
    }
}
