//! What happens, written down where every process of this root finds it.
//!
//! Here: the verbs' own words, which are docker's; what a container does is told by its monitor. Invariant: what is
//! told has happened.

use crate::container::Container;
use crate::engine::Engine;
use berth_oci::Result;
use berth_runtime::{Happened, Journal, JournalReader};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Container {
    /// What every event of this container carries.
    #[must_use]
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = self.document.process.labels.clone();
        attributes.insert("image".to_owned(), self.document.spec.image.clone());
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }
}

impl Engine {
    pub(crate) fn journal_directory(&self) -> PathBuf {
        self.settings().location.root.join("events")
    }

    /// Every event that is remembered, and on as they come.
    ///
    /// # Errors
    /// The journal cannot be read or followed.
    pub fn events(&self) -> Result<JournalReader> {
        Journal::at(&self.journal_directory()).reader()
    }

    /// Writes down that something happened to a thing of this kind (`image`, `volume`, `network`, …).
    ///
    /// # Errors
    /// The journal cannot be written to.
    pub fn tell(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<()> {
        Journal::at(&self.journal_directory()).append(&Happened {
            time: Timestamp::now(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
        })
    }

    /// The same for a container.
    pub(crate) fn tell_container(
        &self,
        container: &Container,
        action: &str,
        more: &[(&str, String)],
    ) -> Result<()> {
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        self.tell(
            "container",
            action,
            &container.id,
            container.attributes().into_iter().chain(more).collect(),
        )
    }
}
