//! `rm`: a container, its files and its name go.
//!
//! Invariant: what can be found under the container's id is gone before its record is, except the record itself.

use super::Container;
use super::shared::unmount_memory;
use crate::engine::Engine;
use crate::spec::Signal;
use berth_oci::{AtPath, Error, Kind, Result};
use berth_runtime::Status;
use std::fs;
use std::io::ErrorKind;

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Whether a running one is killed first.
    pub force: bool,
    /// Whether volumes that nobody named go with it.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`: it is running and `force` was not asked for.
    pub fn remove(&self, text: &str, options: RemoveOptions) -> Result<()> {
        let record = self.store()?.container(text)?;
        let state =
            berth_runtime::state(&self.store()?.container_dir(&record.id), &self.run_dir(&record.id))?;
        let status = state.as_ref().map(|state| state.status);
        match status {
            Some(Status::Running) if !options.force => {
                return Err(Error::conflict(format!(
                    "cannot remove container \"{text}\": container is running: stop the container before removing or force remove"
                ))
                .hint(format!("`berth stop {text}` ends it, `berth rm -f {text}` kills and removes it")));
            }
            Some(Status::Restarting) if !options.force => {
                return Err(Error::conflict(format!(
                    "cannot remove container \"{text}\": container is restarting: stop the container before removing or force remove"
                )));
            }
            Some(Status::Paused) if !options.force => {
                return Err(Error::conflict(format!(
                    "cannot remove container \"{text}\": container is paused and must be unpaused first"
                )));
            }
            _ => {}
        }
        if state.is_some_and(|state| state.is_live()) {
            self.end(&record.id)?;
        }
        self.discard(&record.id, options.volumes)
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

    /// Removes a container that has no process. Another who does the same at the same time is no error.
    pub(crate) fn discard(&self, id: &str, volumes: bool) -> Result<()> {
        let container = match self.recorded(id) {
            Ok(container) => Some(container),
            // Somebody else has removed it, or nobody can read what it had.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => None,
            Err(error) => return Err(error),
        };
        self.store()?.release_rootfs(id)?;
        let run_dir = self.run_dir(id);
        unmount_memory(&run_dir)?;
        match fs::remove_dir_all(&run_dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).at(&run_dir),
            _ => {}
        }
        match self.store()?.remove_container(id) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            removed => removed?,
        };
        let Some(container) = container else { return Ok(()) };
        self.tell_container(&container, "destroy", &[])?;
        match volumes {
            true => self.remove_volumes(&container.document.anonymous_volumes()),
            false => Ok(()),
        }
    }

    /// What the monitor of a container with `--rm` asks for after its exit.
    ///
    /// # Errors
    /// Its files cannot be removed.
    pub fn clean_up(&self, id: &str) -> Result<()> {
        match self.container(id) {
            Ok(container) if container.is_running() => Ok(()),
            Ok(_) => self.discard(id, true),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes every container that is not running and that `chosen` says yes to; answers the ids and the bytes.
    ///
    /// # Errors
    /// A container's files cannot be removed.
    pub fn prune_containers(&self, chosen: &dyn Fn(&Container) -> bool) -> Result<(Vec<String>, u64)> {
        let (ids, bytes) = self.prunable_containers(chosen)?;
        for id in &ids {
            self.discard(id, false)?;
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
