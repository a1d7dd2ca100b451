//! The mounts that all containers share, and the register of who uses which.

use super::erofs;
use crate::disk;
use crate::layer::Form;
use berth_oci::{AtPath, Digest, Error, Result};
use rustix::fs::FlockOperation;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The kernel's limit for the layers of an overlay (`OVL_MAX_STACK`).
const LAYERS_LIMIT: usize = 500;

/// Where a layer lies in the store.
#[derive(Clone, Copy, Debug)]
pub struct LayerPlace<'a> {
    /// Which layer.
    pub diff_id: &'a Digest,
    /// How it is kept there.
    pub form: Form,
    /// Its directory.
    pub directory: &'a Path,
}

/// The shared mounts below one run root.
#[derive(Clone, Debug)]
pub struct Mounts {
    directory: PathBuf,
}

impl Mounts {
    /// The mounts below `runroot`; touches nothing yet.
    #[must_use]
    pub fn new(runroot: &Path) -> Self {
        Self { directory: runroot.join("mnt") }
    }

    /// Mounts whatever is not mounted and registers `user`, replacing what it had. Layers come lowest first; the
    /// directories go back uppermost first, as an overlay wants them.
    ///
    /// # Errors
    /// A layer cannot be mounted, or there are more than an overlay takes. Nothing is registered then.
    pub fn acquire(&self, user: &str, layers: &[LayerPlace<'_>]) -> Result<Vec<PathBuf>> {
        Ok(self.acquire_all(user, &[layers])?.remove(0))
    }

    /// The same for several stacks, each of which is to be an overlay.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_all(&self, user: &str, stacks: &[&[LayerPlace<'_>]]) -> Result<Vec<Vec<PathBuf>>> {
        let stacks: Vec<_> = stacks.iter().map(|layers| distinct(layers)).collect();
        if let Some(count) = stacks.iter().map(Vec::len).find(|count| *count > LAYERS_LIMIT) {
            return Err(Error::unsupported(format!(
                "the image has {count} layers; the kernel stacks {LAYERS_LIMIT} at most"
            )));
        }
        let _lock = self.lock()?;
        let all = stacks.iter().map(|layers| self.lowers(layers)).collect::<Result<_>>()?;
        self.register(user, &stacks.concat())?;
        Ok(all)
    }

    /// Their directories; layers come uppermost first.
    fn lowers(&self, layers: &[LayerPlace<'_>]) -> Result<Vec<PathBuf>> {
        let mut lowers = Vec::with_capacity(layers.len());
        for layer in layers {
            let lower = self.mounted(layer)?;
            let hides_rest = is_opaque(&lower);
            lowers.push(lower);
            // overlayfs looks at every directory's mark but the root's.
            if hides_rest {
                break;
            }
        }
        Ok(lowers)
    }

    /// `user` no longer uses anything. What it used stays mounted for the next one.
    ///
    /// # Errors
    /// The register cannot be written.
    pub fn release(&self, user: &str) -> Result<()> {
        let path = self.user(user);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at(path),
            _ => Ok(()),
        }
    }

    /// Unmounts everything that no living user is registered for; how many. Users that `is_alive` does not know
    /// are taken off the register.
    ///
    /// # Errors
    /// The register cannot be read, or a mount does not go.
    pub fn unmount_unused(&self, is_alive: &dyn Fn(&str) -> bool) -> Result<usize> {
        if !self.directory.is_dir() {
            return Ok(0);
        }
        let _lock = self.lock()?;
        let mut used = HashSet::new();
        for entry in disk::entries(&self.directory.join("users"))? {
            match entry.file_name().to_str().is_some_and(is_alive) {
                true => used.extend(read_lines(&entry.path())?),
                false => fs::remove_file(entry.path()).at(entry.path())?,
            }
        }
        let mut count = 0;
        for entry in disk::entries(&self.directory)? {
            let name = entry.file_name().into_string().unwrap_or_default();
            let is_layer = name != "users" && name != "lock" && !used.contains(&name);
            count += usize::from(is_layer && self.unmount_one(&entry.path())?);
        }
        Ok(count)
    }

    /// Unmounts one layer unless it is used; whether it is not mounted now.
    ///
    /// # Errors
    /// As [`unmount_unused`](Self::unmount_unused).
    pub fn unmount(&self, diff_id: &Digest) -> Result<bool> {
        let target = self.target(diff_id);
        if !target.is_dir() {
            return Ok(true);
        }
        let _lock = self.lock()?;
        for entry in disk::entries(&self.directory.join("users"))? {
            if read_lines(&entry.path())?.iter().any(|line| line == diff_id.hex()) {
                return Ok(false);
            }
        }
        self.unmount_one(&target)
    }

    fn unmount_one(&self, target: &Path) -> Result<bool> {
        if !erofs::detach(target)? {
            return Ok(false);
        }
        match fs::remove_dir(target) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at(target),
            _ => Ok(true),
        }
    }

    /// The directory of a layer, mounted if it has to be.
    fn mounted(&self, layer: &LayerPlace<'_>) -> Result<PathBuf> {
        if layer.form == Form::Directory {
            return Ok(layer.directory.to_owned());
        }
        let target = self.target(layer.diff_id);
        if !erofs::is_mounted(&target) {
            disk::make_directory(&target)?;
            erofs::attach(&erofs::detached(layer.directory)?, &target)?;
        }
        Ok(target)
    }

    fn register(&self, user: &str, layers: &[LayerPlace<'_>]) -> Result<()> {
        let users = self.directory.join("users");
        disk::make_directory(&users)?;
        let lines: String = layers.iter().map(|layer| format!("{}\n", layer.diff_id.hex())).collect();
        // Should it stay behind, it is a user that nobody knows.
        let fresh = users.join(".new");
        fs::write(&fresh, lines).at(&fresh)?;
        let path = self.user(user);
        fs::rename(&fresh, &path).at(&path)
    }

    fn user(&self, user: &str) -> PathBuf {
        self.directory.join("users").join(user)
    }

    fn target(&self, diff_id: &Digest) -> PathBuf {
        self.directory.join(diff_id.hex())
    }

    /// Held until it is dropped, and no longer than we live.
    fn lock(&self) -> Result<File> {
        disk::make_directory(&self.directory)?;
        let path = self.directory.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from).at(&path)?;
        Ok(file)
    }
}

/// Uppermost first. A layer that comes twice counts where it lies highest: overlayfs refuses the second, which
/// would change nothing.
fn distinct<'a>(layers: &[LayerPlace<'a>]) -> Vec<LayerPlace<'a>> {
    let mut seen = HashSet::new();
    layers.iter().rev().filter(|layer| seen.insert(layer.diff_id)).copied().collect()
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::getxattr(directory, crate::overlay::opaque(), &mut value).is_ok_and(|_| value == *b"y")
}

fn read_lines(path: &Path) -> Result<Vec<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        // Released since the directory was listed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).at(path),
    }
}
