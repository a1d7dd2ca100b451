//! What a step's result depends on, written down: the key is its digest, and the difference between two of them is
//! the reason why a step was done anew.

use berth_oci::Digest;
use serde::{Deserialize, Serialize};

/// What equal inputs come to. When a step makes something else of them than before, this is raised, and what older
/// berths made is not found any more.
const RULES: u32 = 2;

/// The inputs of a step, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs(pub(crate) Vec<(String, String)>);

impl Inputs {
    pub(crate) fn new(operation: &str) -> Self {
        Self(vec![("operation".to_owned(), operation.to_owned())])
    }

    /// Adds an input.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Adds several of one kind.
    pub(crate) fn add_all<'v>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = &'v String>,
    ) -> &mut Self {
        for value in values {
            self.add(name, value.as_str());
        }
        self
    }

    /// The digest of all of them.
    pub(crate) fn key(&self) -> Digest {
        // JSON tells where each one ends.
        Digest::of(&serde_json::to_vec(&(RULES, self)).expect("text has a JSON form"))
    }
}

/// A step that was done, as its record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the step is called.
    pub(crate) name: String,
    pub(crate) inputs: Inputs,
    pub(crate) layers: Vec<crate::host::Layer>,
    /// What doing it took, in milliseconds.
    #[serde(default)]
    pub(crate) cost_ms: u64,
    /// When it was done: what the history says as long as the result is used.
    pub(crate) made: jiff::Timestamp,
    /// The key under which the result stands, where this is only another way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_inputs_apart() {
        let mut one = Inputs::new("run");
        one.add("a", "b").add("c", "");
        let mut two = Inputs::new("run");
        two.add("a", "bc").add("", "");
        assert_ne!(one.key(), two.key());
        assert_eq!(one.key(), one.clone().key());
    }
}
