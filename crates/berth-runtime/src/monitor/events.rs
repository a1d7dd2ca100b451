//! What a monitor writes into the journal.

use super::Monitor;
use crate::journal::{Happened, Journal};
use crate::net::Joined;
use jiff::Timestamp;
use std::collections::BTreeMap;

impl Monitor {
    /// An event of the container.
    pub(super) fn tell(&self, action: &str, more: &[(&str, String)]) {
        let Some(source) = &self.bundle.life.journal else { return };
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let attributes: BTreeMap<_, _> = source.attributes.clone().into_iter().chain(more).collect();
        let happened = Happened {
            time: Timestamp::now(),
            kind: "container".to_owned(),
            action: action.to_owned(),
            id: self.bundle.id.clone(),
            attributes,
        };
        // A full disk must not end the container; its own state says what matters.
        drop(Journal::at(&source.directory).append(&happened));
    }

    /// The container has come to a network, or has left it.
    pub(super) fn tell_network(&self, action: &str, joined: &Joined) {
        let Some(source) = &self.bundle.life.journal else { return };
        let attributes = [
            ("container", self.bundle.id.clone()),
            ("name", joined.network.clone()),
            ("type", joined.driver.as_str().to_owned()),
        ];
        let happened = Happened {
            time: Timestamp::now(),
            kind: "network".to_owned(),
            action: action.to_owned(),
            id: joined.network_id.clone(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value)).into(),
        };
        // As with the container's own.
        drop(Journal::at(&source.directory).append(&happened));
    }

    /// The container's program has ended.
    pub(super) fn tell_end(&self, code: i32, at: jiff::Timestamp) {
        let ran = self.state.started_at.map_or(0, |started| at.duration_since(started).as_secs());
        self.tell("die", &[("execDuration", ran.to_string()), ("exitCode", code.to_string())]);
    }

    /// An exec begins.
    pub(super) fn tell_exec(&self, action: &str, number: u32) {
        if let Some((id, words)) = self.processes.get(&number).and_then(|p| p.name.as_ref()) {
            self.tell(&format!("{action}: {words}"), &[("execID", id.clone())]);
        }
    }

    /// An exec has ended.
    pub(super) fn tell_exec_end(&self, number: u32, code: i32) {
        if let Some((id, _)) = self.processes.get(&number).and_then(|p| p.name.as_ref()) {
            self.tell("exec_die", &[("execID", id.clone()), ("exitCode", code.to_string())]);
        }
    }
}
