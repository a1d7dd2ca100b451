//! The hidden role `__cleanup`: a container with `--rm` goes after its end, even if whoever started it is gone.
//!
//! Not here: when (the container's monitor starts it). Invariant: it reads no settings; where the store is, the
//! monitor was told.

use crate::terminal;
use berth_engine::{Engine, EngineSettings};
use berth_oci::Platform;
use berth_store::{KeepBlobs, Location};
use std::ffi::OsString;
use std::path::PathBuf;

/// Ends with a code if the words ask for this role: `berth __cleanup ROOT RUNROOT ID`.
pub(crate) fn role(words: &[OsString]) -> Option<i32> {
    let [_, role, root, runroot, id] = words else { return None };
    if role != "__cleanup" {
        return None;
    }
    let engine = Engine::new(EngineSettings {
        location: Location { root: PathBuf::from(root), runroot: PathBuf::from(runroot) },
        registries: berth_distribution::Settings::default(),
        jobs: 1,
        keep_blobs: KeepBlobs::Auto,
        platform: Platform::host(),
        executable: PathBuf::from("/proc/self/exe"),
        cdi_directories: Vec::new(),
        usual: false,
        publish_at: None,
        cgroup_base: String::new(),
        runtimes: std::collections::BTreeMap::new(),
        programs: Vec::new(),
        apart: None,
    });
    match engine.clean_up(&id.to_string_lossy()) {
        Ok(()) => Some(0),
        Err(error) => {
            terminal::complain(format!("cannot remove container {}: {error}", id.to_string_lossy()));
            Some(1)
        }
    }
}
