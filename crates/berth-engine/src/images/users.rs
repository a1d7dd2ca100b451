//! Which containers use an image.

use super::remove::User;
use crate::Engine;
use berth_oci::{Digest, Result};
use berth_runtime::Status;
use std::collections::HashMap;

impl Engine {
    /// The containers that use an image, the running ones first.
    pub(crate) fn image_users(&self, target: &Digest) -> Result<Vec<User>> {
        let uses = self.image_uses()?.into_iter().filter(|(_, image)| image == target);
        let mut users = Vec::new();
        for (id, _) in uses {
            let is_running = self.is_running(&id)?;
            users.push(User { id, is_running });
        }
        users.sort_by_key(|user| !user.is_running);
        Ok(users)
    }

    /// Which container uses which image, for its root or beside it.
    pub(crate) fn image_uses(&self) -> Result<Vec<(String, Digest)>> {
        let store = self.store()?;
        let own = store.containers()?.into_iter().filter_map(|record| Some((record.id, record.image?)));
        Ok(own.chain(store.further_images()?).collect())
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
        for (_, image) in self.image_uses()? {
            *counts.entry(image).or_default() += 1;
        }
        Ok(counts)
    }
}
