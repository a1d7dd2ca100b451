//! Whose the files of a container's mounts are: looked up when it starts, and given away where that was asked for.
//!
//! Invariant: nothing that the machine itself lives from is given to anybody.

use super::Container;
use super::volumes::Places;
use crate::engine::Engine;
use crate::runtime_spec::Ids;
use crate::spec::{Mount, Owners};
use crate::tree;
use berth_oci::{AtPath, Error, Result};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories whose files have to stay their owners'.
const KEPT: [&str; 13] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/sbin", "/sys", "/usr", "/var",
];

/// Who owns what, where a mount asks for it.
#[derive(Debug, Default)]
pub(super) struct MountOwners {
    /// Who the container's program is.
    pub(super) program: Ids,
    /// Owners of the sources of mounts, by target.
    pub(super) sources: BTreeMap<PathBuf, Ids>,
}

impl Engine {
    /// Looks up who owns what; gives away what is to be given.
    pub(super) fn mount_owners(&self, container: &Container, places: &Places) -> Result<MountOwners> {
        let mut found = MountOwners::default();
        let asking: Vec<_> = container
            .document
            .mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Bind(bind) => Some((mount, &bind.owners, bind.source.clone())),
                Mount::Volume(volume) => {
                    let directory = places.directories.get(volume.name.as_deref().unwrap_or_default())?;
                    let part = volume.subpath.as_deref().unwrap_or(Path::new(""));
                    Some((mount, &volume.owners, directory.join(part)))
                }
                Mount::Tmpfs(_) | Mount::Image(_) => None,
            })
            .filter(|(_, owners, _)| matches!(owners, Owners::Shown | Owners::Given))
            .collect();
        if asking.is_empty() {
            return Ok(found);
        }
        found.program = self.program_of(container)?;
        for (mount, owners, source) in asking {
            match owners {
                Owners::Given => {
                    // A volume keeps the container's own numbers where it can be shown, a bind the host's.
                    let is_bind = matches!(mount, Mount::Bind(_));
                    let users = container.document.users.filter(|users| is_bind || users.is_given);
                    let Ids { uid, gid } = found.program;
                    let (uid, gid) = users.map_or((uid, gid), |users| users.outside(uid, gid));
                    give(&source, Ids { uid, gid })?;
                }
                _ => {
                    let metadata = fs::metadata(&source).at(&source)?;
                    let ids = Ids { uid: metadata.uid(), gid: metadata.gid() };
                    found.sources.insert(mount.target().to_owned(), ids);
                }
            }
        }
        Ok(found)
    }

    /// The user and the group of a container's program.
    fn program_of(&self, container: &Container) -> Result<Ids> {
        let user = super::user_of(&container.document.process.user);
        if user == "0" {
            return Ok(Ids::default());
        }
        let root = self.open_root(container)?;
        let identity = berth_runtime::resolve_user(root.as_fd(), user)?;
        Ok(Ids { uid: identity.uid, gid: identity.gid })
    }
}

fn give(source: &Path, to: Ids) -> Result<()> {
    let real = fs::canonicalize(source).at(source)?;
    if KEPT.iter().any(|kept| real == Path::new(kept)) {
        return Err(Error::denied(format!(
            "`{}` is not given to a container's user: the machine lives from it",
            real.display()
        ))
        .hint("`idmap` instead of `U` only shows the files with other owners"));
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&real, flags, Mode::empty()).map_err(io::Error::from).at(&real)?;
    tree::give(opened.as_fd(), to.uid, to.gid, &real)
}
