//! How much a running container uses: asked of the kernel, without its monitor.

use crate::cgroup::{self, Usage};
use crate::recovery::Recovery;
use crate::state::State;
use berth_oci::Result;
use std::fs;
use std::path::Path;

/// What the container with this run directory and state uses; nothing where it does not run.
///
/// # Errors
/// What its monitor wrote down cannot be read; `Unsupported`: it has no cgroup, so nobody counts.
pub fn usage(run_dir: &Path, state: &State) -> Result<Usage> {
    let own = Recovery::read(run_dir)?.cgroup;
    if own.dirs().next().is_none() && !berth_sys::users::is_initial()? {
        return Err(cgroup::not_given("nobody counts what containers use"));
    }
    let mut usage = own.usage();
    if let Some(pid) = state.pid {
        // It may have ended just now.
        let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        (usage.received, usage.sent) = cgroup::network(&text);
    }
    Ok(usage)
}
