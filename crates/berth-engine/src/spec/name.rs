//! Names of containers: what may be one, and one for whoever did not choose.
//!
//! Invariant: a [`ContainerName`] has at least two characters of docker's alphabet, and no leading slash.

use berth_oci::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A name that a container may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerName(String);

impl ContainerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name made of two random numbers: `calm_magellan`.
    #[must_use]
    pub fn from_random(first: usize, second: usize) -> Self {
        let adjective = ADJECTIVES[first % ADJECTIVES.len()];
        let surname = SURNAMES[second % SURNAMES.len()];
        Self(format!("{adjective}_{surname}"))
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContainerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.strip_prefix('/').unwrap_or(text);
        match is_name(name) {
            true => Ok(Self(name.to_owned())),
            false => Err(Error::invalid(format!(
                "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ))
            .hint("a name has at least two characters and starts with a letter or a digit")),
        }
    }
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// How a ship, its weather or its crew may be.
const ADJECTIVES: [&str; 64] = [
    "abeam",
    "able",
    "afloat",
    "airy",
    "amber",
    "anchored",
    "azure",
    "balmy",
    "blue",
    "bold",
    "braced",
    "breezy",
    "bright",
    "brisk",
    "buoyant",
    "calm",
    "candid",
    "clear",
    "coastal",
    "cool",
    "coral",
    "crisp",
    "deep",
    "deft",
    "drifting",
    "eager",
    "even",
    "fair",
    "fleet",
    "foamy",
    "fresh",
    "gentle",
    "gusty",
    "hardy",
    "homing",
    "keen",
    "leeward",
    "level",
    "light",
    "lively",
    "lunar",
    "mellow",
    "merry",
    "misty",
    "moored",
    "northern",
    "patient",
    "placid",
    "polar",
    "quiet",
    "rolling",
    "salty",
    "seaworthy",
    "silver",
    "southern",
    "spry",
    "steady",
    "stout",
    "sunny",
    "swift",
    "tidal",
    "trim",
    "upwind",
    "windward",
];

/// People who sailed, drew charts, built ships or lit the coast.
const SURNAMES: [&str; 64] = [
    "amundsen",
    "baffin",
    "baret",
    "barents",
    "beaufort",
    "bellingshausen",
    "bering",
    "bligh",
    "bougainville",
    "bowditch",
    "brunel",
    "cabot",
    "cabral",
    "cartier",
    "chichester",
    "cook",
    "cousteau",
    "dampier",
    "darling",
    "davis",
    "diaz",
    "drake",
    "elcano",
    "ericson",
    "flinders",
    "fram",
    "franklin",
    "fresnel",
    "frobisher",
    "gama",
    "harrison",
    "hudson",
    "joshua",
    "knoxjohnston",
    "krusenstern",
    "laperouse",
    "magellan",
    "makarov",
    "maury",
    "mercator",
    "moitessier",
    "nansen",
    "nordenskiold",
    "ortelius",
    "piri",
    "plimsoll",
    "polo",
    "pytheas",
    "ross",
    "rozhestvensky",
    "sacagawea",
    "scoresby",
    "shackleton",
    "slocum",
    "smeaton",
    "stevenson",
    "tabarly",
    "tasman",
    "torres",
    "vancouver",
    "vespucci",
    "weddell",
    "wrangel",
    "zheng",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_alphabet() {
        for (text, name) in [("web", "web"), ("/web", "web"), ("a.b-c_D9", "a.b-c_D9"), ("9x", "9x")] {
            assert_eq!(text.parse::<ContainerName>().unwrap().as_str(), name);
        }
        for text in ["", "a", "_ab", ".ab", "-ab", "a b", "a/b", "//ab", "näh", "a:b"] {
            assert_eq!(
                text.parse::<ContainerName>().unwrap_err().to_string(),
                format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
            );
        }
    }

    #[test]
    fn every_random_name_is_a_name_and_no_word_repeats() {
        for at in 0..64 {
            let name = ContainerName::from_random(at, at);
            assert_eq!(name.as_str().parse::<ContainerName>().unwrap(), name);
        }
        let words: std::collections::BTreeSet<_> = ADJECTIVES.iter().chain(&SURNAMES).collect();
        assert_eq!(words.len(), 128);
    }
}
