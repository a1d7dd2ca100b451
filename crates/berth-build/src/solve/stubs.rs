//! Files and directories that stand in a step's root only so that something can be mounted on them.
//!
//! The runtime makes them; no layer should show them. Invariant: what was there before the step is never removed.

use crate::files::{Meta, Root, components, join};
use berth_oci::{AtPath, Result};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What every container has mounted.
const USUAL: [&str; 5] = ["/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts"];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    /// Not there before, the deepest first.
    missing: Vec<Vec<u8>>,
    /// Directories that were there, and in which something was missing.
    parents: Vec<(Vec<u8>, Meta)>,
}

impl Stubs {
    /// What the mounts will need that is not there.
    pub(super) fn missing(root: &Root, targets: impl Iterator<Item = PathBuf>) -> Result<Self> {
        let mut stubs = Self::default();
        let usual = USUAL.iter().map(PathBuf::from);
        for target in usual.chain(targets) {
            let real = root.real_path(target.as_os_str().as_bytes())?;
            let mut here = Vec::new();
            let mut parent = Vec::new();
            for component in components(&real) {
                here = join(&here, &component);
                if root.look_up(&here, false)?.is_some() {
                    parent.clone_from(&here);
                    continue;
                }
                stubs.missing.push(here.clone());
            }
            if parent != real
                && let Some(meta) = root.look_up(&parent, false)?
            {
                stubs.parents.push((parent, meta));
            }
        }
        stubs.missing.sort_by_key(|path| std::cmp::Reverse(path.len()));
        stubs.missing.dedup();
        stubs.parents.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(stubs)
    }

    /// Takes away what is still as the runtime made it, and directories of which nothing else is left to say.
    pub(super) fn remove(&self, upper: &Path) -> Result<()> {
        for path in &self.missing {
            let path = inside(upper, path);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                remove_empty(&path)?;
            } else if metadata.is_file() && metadata.len() == 0 {
                fs::remove_file(&path).at(&path)?;
            }
        }
        for (path, before) in &self.parents {
            if path.is_empty() {
                continue;
            }
            let path = inside(upper, path);
            let Ok(now) = fs::symlink_metadata(&path) else { continue };
            let is_same = now.is_dir()
                && (now.mode() & 0o7777, now.uid(), now.gid()) == (before.mode, before.uid, before.gid);
            if is_same {
                remove_empty(&path)?;
            }
        }
        Ok(())
    }
}

fn inside(upper: &Path, path: &[u8]) -> PathBuf {
    upper.join(std::ffi::OsStr::from_bytes(path))
}

fn remove_empty(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
            Err(error).at(path)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_for_mounts_goes() {
        let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for directory in ["etc", "proc", "root"] {
            fs::create_dir(lower.path().join(directory)).unwrap();
        }
        let root = Root::context(lower.path(), None).unwrap();
        let targets = ["/root/.cache/x", "/mine"].map(PathBuf::from);
        let stubs = Stubs::missing(&root, targets.into_iter()).unwrap();
        for directory in ["etc", "dev", "sys", "root/.cache/x", "mine"] {
            fs::create_dir_all(upper.path().join(directory)).unwrap();
        }
        fs::write(upper.path().join("etc/resolv.conf"), "").unwrap();
        fs::write(upper.path().join("etc/hosts"), "changed").unwrap();
        fs::write(upper.path().join("mine/file"), "").unwrap();
        stubs.remove(upper.path()).unwrap();
        let left = |path: &str| upper.path().join(path).exists();
        assert!(left("etc/hosts") && left("mine/file"));
        assert!(!left("etc/resolv.conf") && !left("dev") && !left("sys") && !left("root"));
    }
}
