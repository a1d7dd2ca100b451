//! Who makes a container's processes: berth itself, or another OCI runtime that is named (`--runtime`).
//!
//! Invariant: a runtime is found again at every start, and what only ours can do is refused before anything is made.

use crate::engine::Engine;
use crate::spec::{ContainerSpec, Mount};
use berth_oci::{Error, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What ours is called: by us, and by docker, whose usual one scripts name to have what everybody has.
pub(crate) const OURS: [&str; 3] = ["berth", "runc", "io.containerd.runc.v2"];

impl Engine {
    /// The program of another runtime; none where it is ours.
    pub(super) fn runtime_of(&self, spec: &ContainerSpec) -> Result<Option<PathBuf>> {
        let Some(name) = &spec.runtime else { return Ok(None) };
        let settings = self.settings();
        let found = match settings.runtimes.get(name) {
            Some(path) => Some(path.clone()),
            None if OURS.contains(&name.as_str()) => return Ok(None),
            None if name.starts_with('/') => Some(PathBuf::from(name)),
            None if name.contains('/') => None,
            None => settings.programs.iter().map(|dir| dir.join(name)).find(|path| is_program(path)),
        };
        let program = found.filter(|path| is_program(path)).ok_or_else(|| {
            Error::invalid(format!("unknown or invalid runtime name: {name}")).hint(
                "berth runs containers itself (berth, runc, io.containerd.runc.v2); others are programs by path, on PATH, or under [runtimes] in the configuration",
            )
        })?;
        check(spec, name)?;
        Ok(Some(program))
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether it can be said in OCI's words.
fn check(spec: &ContainerSpec, name: &str) -> Result<()> {
    let is_part = |mount: &Mount| match mount {
        Mount::Volume(volume) => volume.subpath.is_some(),
        Mount::Image(_) => true,
        Mount::Bind(_) | Mount::Tmpfs(_) => false,
    };
    let ours = [
        (spec.init, "--init"),
        (spec.users.is_own(), "--userns"),
        (spec.mounts.iter().any(is_part), "a mount of an image, or of a part of a volume,"),
    ];
    match ours.into_iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Error::unsupported(format!("{what} needs berth's own runtime, not {name}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_ours_can_do_is_refused() {
        let refused = |spec: ContainerSpec| check(&spec, "crun").map_err(|error| error.to_string());
        assert_eq!(refused(ContainerSpec::default()), Ok(()));
        for (spec, what) in [
            (ContainerSpec { init: true, ..ContainerSpec::default() }, "--init"),
            (ContainerSpec { users: "auto".parse().unwrap(), ..ContainerSpec::default() }, "--userns"),
        ] {
            assert_eq!(refused(spec), Err(format!("{what} needs berth's own runtime, not crun")));
        }
    }
}
