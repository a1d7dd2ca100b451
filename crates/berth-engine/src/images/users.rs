//! Which containers use an image.

use super::remove::User;
use crate::Engine;
use berth_oci::{Digest, Result};
use berth_runtime::Status;
use std::collections::HashMap;

impl Engine {
    /// The containers that use an image, the running ones first.
    pub(crate) fn image_users(&self, target: &Digest) -> Result<Vec<User>> {
        let store = self.store()?;
        let mut users = Vec::new();
        for container in store.containers()?.into_iter().filter(|c| c.image.as_ref() == Some(target)) {
            let is_running = self.is_running(&container.id)?;
            users.push(User { id: container.id, is_running });
        }
        users.sort_by_key(|user| !user.is_running);
        Ok(users)
    }

    /// Whether a container has processes.
    pub(crate) fn is_running(&self, id: &str) -> Result<bool> {
        Ok(matches!(self.container_status(id)?, Some(Status::Running | Status::Paused)))
    }

    /// What a container is doing; none where it was never started.
    pub(crate) fn container_status(&self, id: &str) -> Result<Option<Status>> {
        let run_dir = self.settings().location.runroot.join("containers").join(id);
        let state = berth_runtime::state(&self.store()?.container_dir(id), &run_dir)?;
        Ok(state.map(|state| state.status))
    }

    /// How many containers each image has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn image_use(&self) -> Result<HashMap<Digest, usize>> {
        let mut counts = HashMap::new();
        for image in self.store()?.containers()?.into_iter().filter_map(|container| container.image) {
            *counts.entry(image).or_default() += 1;
        }
        Ok(counts)
    }
}
