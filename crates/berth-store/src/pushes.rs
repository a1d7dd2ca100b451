//! What images of this store are called at registries, where that is not what they are called here.
//!
//! Layers that were made here lie as plain tars and leave compressed, which gives the manifest another digest. Invariant:
//! a row says what a registry took; the image's own digest, which is its id, stays.

use crate::database::{Answer, Durability, digest, moment, number, parsed};
use crate::names::canonical;
use crate::store::Store;
use berth_oci::{Descriptor, Digest, Reference, Result};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

impl Store {
    /// Notes that a repository has these layers now, given as what it has and the diff ID of that, and that the image
    /// has this digest there.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn note_push(
        &self,
        target: &Digest,
        name: &Reference,
        digest: &Digest,
        layers: &[(Descriptor, Digest)],
    ) -> Result<()> {
        let now = moment(jiff::Timestamp::now());
        let repository = name.name_only();
        self.inner.database.write(Durability::Process, |transaction| {
            for (layer, diff_id) in layers {
                transaction.execute(
                    "INSERT OR IGNORE INTO origin (digest, media_type, size, diff_id)
                     SELECT ?1, ?2, ?3, diff_id FROM layer WHERE diff_id = ?4",
                    params![layer.digest.as_str(), layer.media_type, number(layer.size), diff_id.as_str()],
                )?;
                transaction.execute(
                    "INSERT OR REPLACE INTO place (digest, repository, seen)
                     SELECT digest, ?2, ?3 FROM origin WHERE digest = ?1",
                    params![layer.digest.as_str(), repository.to_string(), now],
                )?;
            }
            if digest != target {
                let name = repository.with_digest(digest.clone()).to_string();
                transaction.execute(
                    "INSERT OR REPLACE INTO pushed (name, target, at)
                     SELECT ?1, target, ?3 FROM image WHERE target = ?2",
                    params![name, target.as_str(), now],
                )?;
            }
            Ok(())
        })
    }

    /// What each image that was pushed is called at registries, the last push first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pushes(&self) -> Result<HashMap<Digest, Vec<Reference>>> {
        self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT target, name FROM pushed ORDER BY at DESC")?;
            let mut rows = statement.query([])?;
            let mut found: HashMap<Digest, Vec<Reference>> = HashMap::new();
            while let Some(row) = rows.next()? {
                found.entry(digest(row, 0)?).or_default().push(parsed(row, 1)?);
            }
            Ok(found)
        })
    }

    /// What this image is called at registries, the last push first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pushes_of(&self, target: &Digest) -> Result<Vec<Reference>> {
        self.inner.database.read(|connection| {
            let mut statement =
                connection.prepare("SELECT name FROM pushed WHERE target = ? ORDER BY at DESC")?;
            let names = statement.query_map([target.as_str()], |row| parsed(row, 0))?;
            Ok(names.collect::<rusqlite::Result<Vec<_>>>()?)
        })
    }

    /// The image that was pushed as `repository@digest`, if any was.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pushed_as(&self, name: &Reference) -> Result<Option<Digest>> {
        self.inner.database.read(|connection| target(connection, name))
    }
}

/// The image that was pushed under this name.
pub(crate) fn target(connection: &Connection, name: &Reference) -> Answer<Option<Digest>> {
    let mut statement = connection.prepare("SELECT target FROM pushed WHERE name = ?")?;
    Ok(statement.query_row([canonical(name).to_string()], |row| digest(row, 0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::testing::{Archive, Head};
    use std::collections::BTreeMap;

    #[test]
    fn a_push_is_remembered_as_long_as_its_image() {
        let (_directory, store) = crate::store::tests::temporary();
        let lease = store.lease().unwrap();
        let tar = Archive(Vec::new()).with(Head::new(b'0', "file"), b"bytes").end();
        let (layer, diff_id) = store.add_layer(&tar[..], &lease).unwrap();
        let config: berth_oci::ImageConfig = serde_json::from_value(serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        }))
        .unwrap();
        let name: Reference = "localhost:5000/a:1".parse().unwrap();
        let image = store.put_image(&config, vec![layer], BTreeMap::new(), Some(&name), &lease).unwrap();
        let packed = store.pack(&diff_id, crate::Packing::default()).unwrap().descriptor().clone();
        let there = Digest::of(b"the manifest that the registry has");
        store.note_push(image.digest(), &name, &there, &[(packed.clone(), diff_id.clone())]).unwrap();
        store.note_push(image.digest(), &name, &there, &[(packed.clone(), diff_id)]).unwrap();
        let by_digest = name.with_digest(there.clone());
        let known = std::slice::from_ref(&by_digest);
        assert_eq!(store.pushes_of(image.digest()).unwrap(), known);
        assert_eq!(store.pushes().unwrap()[image.digest()], known);
        assert_eq!(store.pushed_as(&by_digest).unwrap().as_ref(), Some(image.digest()));
        assert_eq!(store.resolve(&by_digest.to_string()).unwrap().target, *image.digest());
        assert_eq!(store.origins(&packed.digest).unwrap(), [name.name_only()]);
        assert!(store.has_layer(&packed, false, &lease).unwrap(), "nobody fetches it again");
        store.remove_image(image.digest()).unwrap();
        assert_eq!(store.pushed_as(&by_digest).unwrap(), None);
    }
}
