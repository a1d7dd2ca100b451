//! What happens to containers when the machine starts and when it stops.
//!
//! Not here: who calls this (a unit file does). Invariant: a stop of the machine is nobody's wish that a container
//! does not run.

use super::{Container, StopOptions};
use crate::engine::Engine;
use berth_oci::{Error, Result};
use berth_runtime::Status;

impl Engine {
    /// Starts every container whose policy says so and that does not run: after a boot, or when its monitor was
    /// killed. Answers each with what came of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn start_with_machine(&self) -> Result<Vec<(Container, Option<Error>)>> {
        let mut results = Vec::new();
        // The oldest first, as they were started.
        for container in self.containers()?.into_iter().rev().filter(wants_to_start) {
            let error = self.start(&container.id).err();
            results.push((container, error));
        }
        Ok(results)
    }

    /// Stops every container that runs; those whose policy says so start with the machine again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stop_with_machine(&self) -> Result<Vec<(Container, Option<Error>)>> {
        let running = self.containers()?.into_iter().filter(Container::is_running).collect::<Vec<_>>();
        // All at once: each may take its time to end.
        let end = |container: &Container| self.end_politely(container, StopOptions::default(), false).err();
        let errors = std::thread::scope(|scope| {
            let handles: Vec<_> = running.iter().map(|c| scope.spawn(move || end(c))).collect();
            handles
                .into_iter()
                .map(|h| h.join().expect("ending a container does not panic"))
                .collect::<Vec<_>>()
        });
        Ok(running.into_iter().zip(errors).collect())
    }
}

fn wants_to_start(container: &Container) -> bool {
    let Some(state) = container.state.as_ref().filter(|state| state.started_at.is_some()) else {
        return false;
    };
    let policy = container.document.spec.restart;
    state.status == Status::Exited
        && policy.starts_with_machine(state.exit_code.unwrap_or_default(), state.restarts, state.stopped)
}
