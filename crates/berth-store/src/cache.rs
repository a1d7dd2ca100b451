//! How much the results of builds take, and who else needs it.

use crate::assess::Part;
use crate::database::{count, digest};
use crate::ingest::tree_bytes;
use crate::store::Store;
use berth_oci::{AtPath, Digest, Result};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

/// The layers that steps keep.
#[derive(Clone, Debug, Default)]
pub struct StepLayers {
    /// Of each step: its layers, and the bytes that each takes on the disk.
    pub of_steps: HashMap<Digest, Vec<(Digest, u64)>>,
    /// Layers that an image or a container has, too.
    pub elsewhere: HashSet<Digest>,
}

impl Store {
    /// Which layers the results of steps keep here.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn step_layers(&self) -> Result<StepLayers> {
        self.inner.database.read(|connection| {
            let mut layers = StepLayers::default();
            let mut statement = connection.prepare(
                "SELECT content.target, content.digest, layer.disk FROM content
                 JOIN step ON step.key = content.target JOIN layer ON layer.diff_id = content.digest
                 WHERE content.kind = ?",
            )?;
            let mut rows = statement.query([Part::Layer as i64])?;
            while let Some(row) = rows.next()? {
                let of_step = layers.of_steps.entry(digest(row, 0)?).or_default();
                of_step.push((digest(row, 1)?, count(row, 2)?));
            }
            let mut statement = connection.prepare(
                "SELECT DISTINCT digest FROM content WHERE kind = ? AND target NOT IN (SELECT key FROM step)",
            )?;
            let elsewhere = statement.query_map([Part::Layer as i64], |row| digest(row, 0))?;
            layers.elsewhere = elsewhere.collect::<rusqlite::Result<_>>()?;
            Ok(layers)
        })
    }

    /// Bytes of a tree below the store, as it lies on the disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes_below(&self, path: &Path) -> Result<u64> {
        tree_bytes(path)
    }

    /// Bytes of the store's disk: all of them, and those that are free.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn disk_space(&self) -> Result<(u64, u64)> {
        let root = &self.inner.location.root;
        let disk = rustix::fs::statvfs(root).map_err(io::Error::from).at(root)?;
        Ok((disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewStep;
    use crate::store::tests::temporary;
    use crate::tar::testing::{Archive, Head};
    use std::time::Duration;

    #[test]
    fn layers_are_counted_for_their_steps() {
        let (_directory, store) = temporary();
        let lease = store.lease().unwrap();
        let tar = Archive(Vec::new()).with(Head::new(b'0', "file"), b"x").end();
        let diff_id = store.add_layer(std::io::Cursor::new(tar), &lease).unwrap().1;
        let keys = [Digest::of(b"one"), Digest::of(b"two")];
        for key in &keys {
            let layers = std::slice::from_ref(&diff_id);
            store.put_step(&NewStep { key, document: "{}", layers, cost: Duration::ZERO }).unwrap();
        }
        let layers = store.step_layers().unwrap();
        assert_eq!(layers.of_steps.len(), 2);
        assert_eq!(layers.of_steps[&keys[0]][0].0, diff_id);
        assert!(layers.of_steps[&keys[0]][0].1 > 0 && layers.elsewhere.is_empty());
        let (all, free) = store.disk_space().unwrap();
        assert!(all > free && free > 0);
    }
}
