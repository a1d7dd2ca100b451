//! Containers: what is remembered of one, and the verbs, one file each.
//!
//! Invariant: the record in the store says what was wanted and never changes its meaning; what a container is
//! doing is asked of the runtime each time, so that no record can be wrong about it.

mod boot;
mod check;
mod commit;
mod create;
mod devices;
mod exec;
mod files;
mod given;
mod image_mounts;
mod life;
mod links;
mod list;
mod logs;
mod networking;
mod owners;
mod remove;
mod runtime;
mod shared;
mod start;
mod stats;
mod stop;
mod top;
mod update;
mod users;
mod volumes;
mod why;

pub use commit::CommitOptions;
pub use create::{CreateRequest, Created};
pub use exec::ExecSpec;
pub use files::{Difference, DifferenceKind, PathKind};
pub use list::{ContainerSize, Selection, word};
pub(crate) use networking::ports;
pub use remove::RemoveOptions;
pub(crate) use start::thermal_paths;
pub use start::{Launch, StartOptions};
pub use stop::{StopOptions, WaitCondition};
pub use top::Top;
pub use update::UpdateRequest;
pub(crate) use users::Span;
pub use users::UserRange;
pub use why::{Cause, Diagnosis};

use crate::engine::Engine;
use crate::process::Process;
use crate::spec::{ContainerSpec, Mount};
use berth_oci::{Digest, Error, Result};
use berth_runtime::net::{Joined, Published};
use berth_runtime::{Health, State, Status};
use berth_store::ContainerRecord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A container as it is now.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name, without docker's slash.
    pub name: String,
    /// The target of its image; none where the image has been removed by force.
    pub image: Option<Digest>,
    /// The manifest below that target.
    pub manifest: Option<Digest>,
    /// When it was made.
    pub created: Timestamp,
    /// What was wanted.
    pub document: Document,
    /// What it is doing; none when it has never been started.
    pub state: Option<State>,
}

/// What the store keeps of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The person's words.
    pub spec: ContainerSpec,
    /// Put together with the image's.
    pub process: Process,
    /// The container's name for itself.
    pub hostname: String,
    /// What is mounted in it: the person's, other containers', and the image's volumes, each with its name.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// The host's users that its users are, where they are not the same.
    #[serde(default)]
    pub users: Option<UserRange>,
    /// The diff IDs of its image, the base first: a start needs nothing else of the image.
    pub layers: Vec<Digest>,
}

impl Document {
    /// As the store keeps it: of the person's words those that were said. Every list of containers reads all of them,
    /// and a person says three of a hundred.
    fn text(&self) -> String {
        const STRINGS: &str = "a document has string keys";
        let unsaid = serde_json::to_value(ContainerSpec::default()).expect(STRINGS);
        let mut document = serde_json::to_value(self).expect(STRINGS);
        if let Some(spec) = document["spec"].as_object_mut() {
            spec.retain(|key, value| unsaid[key.as_str()] != *value);
        }
        document.to_string()
    }
}

impl Container {
    /// The first twelve digits of its id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        short_id(&self.id)
    }

    /// What it is doing. One that was never started is created, and so is one that could not be.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.state {
            Some(state) if state.started_at.is_some() => state.status,
            _ => Status::Created,
        }
    }

    /// Its places on networks; none while it does not run, or has no network of its own.
    #[must_use]
    pub fn joined(&self) -> &[Joined] {
        self.state.as_ref().filter(|_| self.is_running()).map_or(&[], |state| &state.networks)
    }

    /// Its published ports, while it runs.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        self.joined().iter().flat_map(|joined| joined.ports.clone()).collect()
    }

    /// Whether its program runs, paused or not, or is about to run again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.status(), Status::Running | Status::Paused | Status::Restarting)
    }

    /// What its check says, where it has one.
    #[must_use]
    pub fn health(&self) -> Option<&Health> {
        self.state.as_ref().and_then(|state| state.health.as_ref())
    }
}

/// Nobody named is root, with all the groups that root has there.
fn user_of(user: &str) -> &str {
    if user.is_empty() { "0" } else { user }
}

/// The first twelve digits of an id.
#[must_use]
pub fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Engine {
    /// The container that `text` means: an id, a name, or a unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where a prefix fits several.
    pub fn container(&self, text: &str) -> Result<Container> {
        let container = self.recorded(text)?;
        match self.is_to_go(&container)? && self.discard(&container.id, true)? {
            false => Ok(container),
            true => Err(Error::not_found(format!("No such container: {text}"))
                .hint("it was to go with its process (--rm), which has ended")),
        }
    }

    /// Every container, the youngest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for record in self.store()?.containers()? {
            let container = self.with_state(record)?;
            if !self.is_to_go(&container)? || !self.discard(&container.id, true)? {
                containers.push(container);
            }
        }
        Ok(containers)
    }

    /// As [`Self::container`], also one that is to go.
    fn recorded(&self, text: &str) -> Result<Container> {
        self.with_state(self.store()?.container(text)?)
    }

    /// Whether it should have gone with its process, and nobody is left who would see to that: its monitor was
    /// killed, or the machine was restarted.
    fn is_to_go(&self, container: &Container) -> Result<bool> {
        let has_ended = container.state.as_ref().is_some_and(|state| state.status == Status::Exited);
        Ok(container.document.spec.auto_remove
            && has_ended
            && !berth_runtime::is_attended(&self.run_dir(&container.id))?)
    }

    fn with_state(&self, record: ContainerRecord) -> Result<Container> {
        let document = serde_json::from_str(&record.document).map_err(|error| {
            Error::corrupt(format!("the record of container {} cannot be read: {error}", record.name))
                .hint("`berth rm -f` removes it")
        })?;
        let state =
            berth_runtime::state(&self.store()?.container_dir(&record.id), &self.run_dir(&record.id))?;
        Ok(Container {
            id: record.id,
            name: record.name,
            image: record.image,
            manifest: record.manifest,
            created: record.created,
            document,
            state,
        })
    }

    /// Where a container's socket, lock and other things that do not outlive a boot are.
    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.settings().location.runroot.join("containers").join(id)
    }

    /// Where a container's output is kept.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub fn log_path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.store()?.container_dir(id).join(format!("{id}-json.log")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(spec: ContainerSpec) -> Document {
        let hostname = "abc".to_owned();
        Document { spec, process: Process::default(), hostname, mounts: vec![], users: None, layers: vec![] }
    }

    #[test]
    fn a_document_keeps_what_was_said_and_nothing_else() {
        let mut spec = ContainerSpec { image: "busybox".into(), tty: true, ..ContainerSpec::default() };
        spec.labels.insert("a".into(), "b".into());
        spec.resources.memory = Some(6_000_000);
        spec.oom_score_adj = -5;
        for spec in [ContainerSpec::default(), spec] {
            let document = document(spec);
            assert_eq!(serde_json::from_str::<Document>(&document.text()).unwrap(), document);
        }
        assert!(document(ContainerSpec::default()).text().contains(r#""spec":{}"#));
    }
}
