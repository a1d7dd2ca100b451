//! A root file system with what is to be added to it: look-ups see both, additions go to the plan.

use super::made::{Made, MadeKind};
use super::owner::Owner;
use crate::files::{MetaKind, Root, components, join};
use berth_oci::{Context, Error, Result};
use berth_store::tar::{NewEntry, NewKind, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};

const LINKS_LIMIT: usize = 40;

/// See the module.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// `None`: there is nothing below, as with `--link` and `scratch`.
    base: Option<&'a Root>,
    made: BTreeMap<Vec<u8>, Made>,
    /// Directories of the base that something else has taken the place of.
    replaced: BTreeSet<Vec<u8>>,
    /// No file is younger than this.
    latest: Option<i64>,
    /// What directories that nobody asked for by name get.
    now: i64,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Directory,
    Symlink(Vec<u8>),
    Other,
}

impl<'a> Target<'a> {
    pub(crate) fn new(base: Option<&'a Root>, now: i64, latest: Option<i64>) -> Self {
        Self { base, made: BTreeMap::new(), replaced: BTreeSet::new(), latest, now }
    }

    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// What stands at a path whose directories hold no links.
    pub(crate) fn look_up(&self, path: &[u8]) -> Result<Option<Seen>> {
        if path.is_empty() {
            return Ok(Some(Seen::Directory));
        }
        if let Some(made) = self.made.get(path) {
            return Ok(Some(match &made.kind {
                MadeKind::Directory => Seen::Directory,
                MadeKind::Symlink(target) => Seen::Symlink(target.clone()),
                _ => Seen::Other,
            }));
        }
        let Some(base) = self.base.filter(|_| !self.is_replaced(path)) else { return Ok(None) };
        let Some(meta) = base.look_up(path, false)? else { return Ok(None) };
        Ok(Some(match meta.kind {
            MetaKind::Directory => Seen::Directory,
            MetaKind::Symlink => Seen::Symlink(base.target(path)?),
            _ => Seen::Other,
        }))
    }

    /// The path that `path` really is: links followed inside the root, names that are not there taken as they are.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.resolve_below(b"", path)
    }

    /// The same with a directory for the root, which holds no links itself.
    pub(crate) fn resolve_below(&self, base: &[u8], path: &[u8]) -> Result<Vec<u8>> {
        let top = components(base);
        let mut real = top.clone();
        let mut rest = components(path);
        rest.reverse();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == b".." {
                if real.len() > top.len() {
                    real.pop();
                }
                continue;
            }
            real.push(component);
            if let Some(Seen::Symlink(target)) = self.look_up(&real.join(&b'/'))? {
                links += 1;
                if links > LINKS_LIMIT {
                    return Err(Error::invalid(format!(
                        "too many links: `{}`",
                        String::from_utf8_lossy(path)
                    )));
                }
                real.pop();
                if target.starts_with(b"/") {
                    real.clone_from(&top);
                }
                let mut more = components(&target);
                more.reverse();
                rest.extend(more);
            }
        }
        Ok(real.join(&b'/'))
    }

    /// Makes a directory and those above it where they are missing; the path holds no links.
    pub(crate) fn make_directories(&mut self, path: &[u8], owner: Owner, mode: u32) -> Result<()> {
        let mut here = Vec::new();
        for component in components(path) {
            here = join(&here, &component);
            match self.look_up(&here)? {
                Some(Seen::Directory) => {}
                Some(_) => {
                    let shown = String::from_utf8_lossy(&here).into_owned();
                    return Err(Error::invalid(format!("mkdir /{shown}: not a directory")));
                }
                None => self.put(here.clone(), Made::directory(mode, owner.uid, owner.gid, self.now)),
            }
        }
        Ok(())
    }

    /// Adds a name. A directory over a directory changes only its attributes; anything else in a directory's place
    /// needs [`clear`](Self::clear) first.
    pub(crate) fn put(&mut self, path: Vec<u8>, made: Made) {
        self.made.insert(path, made);
    }

    /// Takes a directory away, with everything in it.
    pub(crate) fn clear(&mut self, path: &[u8]) {
        let below = join(path, b"");
        let inside = self.made.range(below.clone()..).map(|(other, _)| other);
        let inside: Vec<Vec<u8>> = inside.take_while(|other| other.starts_with(&below)).cloned().collect();
        for other in inside {
            self.made.remove(&other);
        }
        self.made.remove(path);
        self.replaced.insert(path.to_vec());
    }

    /// A file of the root file system as it was, links followed.
    pub(crate) fn open_below(&self, path: &[u8]) -> Result<Option<File>> {
        let Some(base) = self.base else { return Ok(None) };
        let real = base.real_path(path)?;
        match base.look_up(&real, false)? {
            Some(meta) if meta.kind == MetaKind::File => base.open(&real).map(Some),
            _ => Ok(None),
        }
    }

    /// The names to be added, sorted.
    #[cfg(test)]
    pub(crate) fn made(&self) -> &BTreeMap<Vec<u8>, Made> {
        &self.made
    }

    /// Writes the layer: everything that was added, each below the directories that lead to it.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut writer = Writer::new(out);
        let mut written: BTreeSet<Vec<u8>> = BTreeSet::new();
        for (path, made) in &self.made {
            self.write_parents(path, &mut writer, &mut written)?;
            if written.insert(path.clone()) {
                self.write_one(path, made, &mut writer)
                    .context(|| format!("`/{}`", String::from_utf8_lossy(path)))?;
            }
        }
        writer.finish().map(drop)
    }

    fn write_parents(
        &self,
        path: &[u8],
        writer: &mut Writer<&mut dyn Write>,
        written: &mut BTreeSet<Vec<u8>>,
    ) -> Result<()> {
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let parent = &path[..at];
            if self.made.contains_key(parent) || written.contains(parent) {
                continue;
            }
            let meta = match self.base {
                Some(base) => base.look_up(parent, false)?,
                None => None,
            };
            let made = match meta {
                Some(meta) => Made::directory(meta.mode, meta.uid, meta.gid, meta.mtime),
                None => Made::directory(0o755, 0, 0, self.now),
            };
            self.write_one(parent, &made, writer)?;
            written.insert(parent.to_vec());
        }
        Ok(())
    }

    fn write_one(&self, path: &[u8], made: &Made, writer: &mut Writer<&mut dyn Write>) -> Result<()> {
        let kind = match &made.kind {
            MadeKind::File { size, .. } => NewKind::File(*size),
            MadeKind::Directory => NewKind::Directory,
            MadeKind::Symlink(target) => NewKind::Symlink(target),
            MadeKind::HardLink(target) => NewKind::HardLink(target),
            MadeKind::CharDevice(device) => NewKind::CharDevice(*device),
            MadeKind::BlockDevice(device) => NewKind::BlockDevice(*device),
            MadeKind::Fifo => NewKind::Fifo,
        };
        let mtime = made.mtime.min(self.latest.unwrap_or(i64::MAX));
        let (mode, uid, gid) = (made.mode, made.uid, made.gid);
        let entry = NewEntry { path, kind, mode, uid, gid, mtime, xattrs: &made.xattrs };
        match &made.kind {
            MadeKind::File { bytes, .. } => writer.entry(&entry, &mut *bytes.open()?),
            _ => writer.entry(&entry, &mut io::empty()),
        }
    }

    fn is_replaced(&self, path: &[u8]) -> bool {
        self.replaced.iter().any(|gone| path.starts_with(gone) && path.get(gone.len()) == Some(&b'/'))
    }
}
