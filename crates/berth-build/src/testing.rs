//! The case tables beside the repository, for tests only.
//!
//! Invariant: where they are not, a test says so and passes.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A path in `../shared/build-cases`, if it is there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/build-cases");
    let found = root.join(path);
    if !found.exists() {
        eprintln!("SKIPPED: {} is not there", found.display());
        return None;
    }
    Some(found)
}

/// A table of it.
pub(crate) fn json(path: &str) -> Option<Value> {
    let text = std::fs::read(shared(path)?).expect("it is there");
    Some(serde_json::from_slice(&text).expect("the tables are JSON"))
}
