//! Containers as records: an id, a unique name, the image, and a document that only the engine reads.
//!
//! Invariant: a container's directory exists before its row and goes after it; a row keeps the image's content.

use crate::database::{self, Answer, Durability, exists, moment, parsed_or_null, timestamp};
use crate::layout::is_identifier;
use crate::store::Store;
use crate::volumes::use_volumes;
use crate::{disk, locks::StoreLock};
use berth_oci::{Digest, Error, Result};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use std::path::PathBuf;

/// A container that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewContainer<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name, without docker's leading slash.
    pub name: &'a str,
    /// The image it uses, if any: the target, and the manifest below it.
    pub image: Option<(&'a Digest, &'a Digest)>,
    /// The engine's document.
    pub document: &'a str,
    /// Names of the volumes it uses; they stay as long as it does.
    pub volumes: &'a [&'a str],
    /// The targets of other images that it sees; their content stays as long as it does.
    pub images: &'a [&'a Digest],
}

/// A container of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Its id.
    pub id: String,
    /// Its name, without docker's leading slash.
    pub name: String,
    /// The target of the image it uses.
    pub image: Option<Digest>,
    /// The manifest below that target.
    pub manifest: Option<Digest>,
    /// When it was made.
    pub created: Timestamp,
    /// The engine's document.
    pub document: String,
}

const COLUMNS: &str = "id, name, image, manifest, created, document";

impl Store {
    /// Where a container's own files lie.
    #[must_use]
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.inner.location.containers().join(id)
    }

    /// Adds a container and makes its directory; its image is kept from now on.
    ///
    /// # Errors
    /// `Conflict`: the name or the id is taken; `NotFound`: the image is gone; `Invalid`: the id is not one.
    pub fn add_container(&self, new: &NewContainer<'_>) -> Result<ContainerRecord> {
        if !is_identifier(new.id) {
            return Err(Error::invalid(format!("`{}` is not a container id", new.id)));
        }
        let _adding = StoreLock::shared(&self.inner.location.locks())?;
        let directory = self.container_dir(new.id);
        if directory.exists() {
            return Err(Error::conflict(format!("there is a container {} already", new.id)));
        }
        disk::make_directory(&directory)?;
        let added = self.insert(new);
        if added.is_err() {
            disk::remove(&directory)?;
        }
        added
    }

    fn insert(&self, new: &NewContainer<'_>) -> Result<ContainerRecord> {
        let created = Timestamp::now();
        let (image, manifest) = new.image.unzip();
        self.inner.database.write(Durability::Process, |transaction| {
            is_free(transaction, new.name)?;
            if let Some(target) = image {
                use_image(transaction, target, created)?;
            }
            transaction.execute(
                &format!("INSERT INTO container ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"),
                params![
                    new.id,
                    new.name,
                    image.map(Digest::as_str),
                    manifest.map(Digest::as_str),
                    moment(created),
                    new.document
                ],
            )?;
            use_volumes(transaction, new.id, new.volumes)?;
            for other in new.images.iter().filter(|other| Some(**other) != image) {
                use_image(transaction, other, created)?;
                let sql = "INSERT OR IGNORE INTO image_use (container, image) VALUES (?, ?)";
                transaction.execute(sql, [new.id, other.as_str()])?;
            }
            exactly(transaction, "id = ?", [new.id])
        })
    }

    /// Every container, the youngest first; one query.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        self.inner.database.read(|connection| select(connection, "TRUE ORDER BY created DESC, id", []))
    }

    /// Which images containers see beside their own: ids of containers, and targets.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn further_images(&self) -> Result<Vec<(String, Digest)>> {
        self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT container, image FROM image_use")?;
            let uses = statement.query_map([], |row| Ok((row.get(0)?, database::parsed(row, 1)?)))?;
            Ok(uses.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The containers that use an image, the youngest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn containers_of(&self, target: &Digest) -> Result<Vec<ContainerRecord>> {
        self.inner
            .database
            .read(|connection| select(connection, "image = ? ORDER BY created DESC, id", [target.as_str()]))
    }

    /// The container that `text` means: an id, a name (with or without docker's slash), or a unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where a prefix fits several.
    pub fn container(&self, text: &str) -> Result<ContainerRecord> {
        self.inner.database.read(|connection| find(connection, text))
    }

    /// Replaces a container's document by what `change` makes of the current one, without losing another's change.
    ///
    /// # Errors
    /// As [`container`](Self::container), and whatever `change` answers.
    pub fn update_container(
        &self,
        text: &str,
        change: impl FnOnce(&ContainerRecord) -> Result<String>,
    ) -> Result<ContainerRecord> {
        self.inner.database.write(Durability::Process, |transaction| {
            let mut record = find(transaction, text)?;
            record.document = change(&record)?;
            let row = params![record.document, record.id];
            transaction.execute("UPDATE container SET document = ? WHERE id = ?", row)?;
            Ok(record)
        })
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// As [`container`](Self::container); `Conflict`: the name is taken.
    pub fn rename_container(&self, text: &str, name: &str) -> Result<ContainerRecord> {
        self.inner.database.write(Durability::Process, |transaction| {
            let mut record = find(transaction, text)?;
            if record.name == name {
                return Err(
                    Error::invalid("Renaming a container with the same name as its current name").into()
                );
            }
            is_free(transaction, name)?;
            transaction.execute("UPDATE container SET name = ? WHERE id = ?", params![name, record.id])?;
            name.clone_into(&mut record.name);
            Ok(record)
        })
    }

    /// Removes a container's row, then its directory. Nothing of it may be mounted any more.
    ///
    /// # Errors
    /// As [`container`](Self::container); the directory cannot be removed.
    pub fn remove_container(&self, text: &str) -> Result<ContainerRecord> {
        let record = self.inner.database.write(Durability::Process, |transaction| {
            let record = find(transaction, text)?;
            transaction.execute("DELETE FROM container WHERE id = ?", [&record.id])?;
            Ok(record)
        })?;
        self.remove_container_dir(&record.id)?;
        Ok(record)
    }

    /// Removes the files of a container that has no record any more, if there are any.
    ///
    /// # Errors
    /// The disk does not let us.
    pub fn remove_container_dir(&self, id: &str) -> Result<()> {
        let trashed = disk::discard(&self.container_dir(id), &self.inner.location.trash())?;
        trashed.map_or(Ok(()), |trashed| disk::remove(&trashed))
    }
}

fn find(connection: &Connection, text: &str) -> Answer<ContainerRecord> {
    let name = text.strip_prefix('/').unwrap_or(text);
    for (condition, value) in [("id = ?", text), ("name = ?", name)] {
        if let Some(record) = select(connection, condition, [value])?.pop() {
            return Ok(record);
        }
    }
    let mut fitting = match text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && !text.is_empty() {
        true => select(connection, "id >= ?1 AND id < ?1 || 'g'", [text])?,
        false => Vec::new(),
    };
    match (fitting.pop(), fitting.is_empty()) {
        (Some(record), true) => Ok(record),
        (Some(_), false) => {
            Err(Error::conflict(format!("multiple IDs found with provided prefix: {text}")).into())
        }
        (None, _) => {
            Err(Error::not_found(format!("No such container: {text}"))
                .hint("`berth ps -a` lists what is here"))?
        }
    }
}

/// Fails in docker's words where somebody has the name.
fn is_free(connection: &Connection, name: &str) -> Answer<()> {
    let mut statement = connection.prepare("SELECT id FROM container WHERE name = ?")?;
    match statement.query_row([name], |row| row.get::<_, String>(0)).optional()? {
        None => Ok(()),
        Some(id) => Err(Error::conflict(format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove \
             (or rename) that container to be able to reuse that name."
        ))
        .into()),
    }
}

fn use_image(connection: &Connection, target: &Digest, now: Timestamp) -> Answer<()> {
    let known = "SELECT 1 FROM image WHERE target = ?";
    if !exists(connection, known, [target.as_str()])? {
        return Err(crate::names::no_such_image(target.as_str()).into());
    }
    connection
        .execute("UPDATE image SET used = ? WHERE target = ?", params![moment(now), target.as_str()])?;
    Ok(())
}

fn exactly(connection: &Connection, condition: &str, parameters: impl Params) -> Answer<ContainerRecord> {
    let record = select(connection, condition, parameters)?.pop();
    Ok(record.ok_or(rusqlite::Error::QueryReturnedNoRows)?)
}

fn select(connection: &Connection, condition: &str, parameters: impl Params) -> Answer<Vec<ContainerRecord>> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM container WHERE {condition}"))?;
    let records = statement.query_map(parameters, record)?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

fn record(row: &Row<'_>) -> rusqlite::Result<ContainerRecord> {
    Ok(ContainerRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        image: parsed_or_null(row, 2)?,
        manifest: parsed_or_null(row, 3)?,
        created: timestamp(row, 4)?,
        document: database::text(row, 5)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;
    use berth_oci::Kind;

    fn new<'a>(id: &'a str, name: &'a str) -> NewContainer<'a> {
        NewContainer { id, name, image: None, document: "{}", volumes: &[], images: &[] }
    }

    #[test]
    fn containers_are_found_as_docker_finds_them() {
        let (_directory, store) = temporary();
        store.add_container(&new("abc1", "web")).unwrap();
        store.add_container(&new("abd2", "abc")).unwrap();
        for (text, expected) in [
            ("abc1", Ok("abc1")),
            ("web", Ok("abc1")),
            ("/web", Ok("abc1")),
            ("abc", Ok("abd2")),
            ("abd", Ok("abd2")),
            ("ab", Err("multiple IDs found with provided prefix: ab")),
            ("x", Err("No such container: x")),
            ("", Err("No such container: ")),
            ("ab%", Err("No such container: ab%")),
        ] {
            let found = store.container(text);
            assert_eq!(found.as_ref().map(|c| c.id.as_str()).map_err(|e| e.message()), expected, "{text}");
        }
    }

    #[test]
    fn a_name_belongs_to_one_container() {
        let (_directory, store) = temporary();
        store.add_container(&new("abc1", "web")).unwrap();
        let error = store.add_container(&new("abd2", "web")).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(
            error.to_string(),
            "Conflict. The container name \"/web\" is already in use by container \"abc1\". You have to remove \
             (or rename) that container to be able to reuse that name."
        );
        assert!(!store.container_dir("abd2").exists());
        store.add_container(&new("abd2", "db")).unwrap();
        assert_eq!(store.rename_container("db", "web").unwrap_err().kind(), Kind::Conflict);
        assert_eq!(store.rename_container("db", "db").unwrap_err().kind(), Kind::Invalid);
        store.rename_container("db", "cache").unwrap();
        assert_eq!(store.container("cache").unwrap().id, "abd2");
        assert_eq!(store.add_container(&new("../x", "y")).unwrap_err().kind(), Kind::Invalid);
        let gone = Digest::of(b"gone");
        let with_image = NewContainer { image: Some((&gone, &gone)), ..new("abe3", "z") };
        assert_eq!(store.add_container(&with_image).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn updates_do_not_get_lost_and_removal_is_complete() {
        let (_directory, store) = temporary();
        store.add_container(&NewContainer { document: "0", ..new("abc1", "web") }).unwrap();
        std::fs::write(store.container_dir("abc1").join("log"), b"x").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let store = Store::open(store.location()).unwrap();
                    for _ in 0..25 {
                        let add =
                            |c: &ContainerRecord| Ok((c.document.parse::<u32>().unwrap() + 1).to_string());
                        store.update_container("web", add).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.container("web").unwrap().document, "100");
        assert_eq!(store.containers().unwrap().len(), 1);
        store.remove_container("web").unwrap();
        assert!(!store.container_dir("abc1").exists() && store.containers().unwrap().is_empty());
    }
}
