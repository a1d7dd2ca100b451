//! Names of images: tag, untag, and how a reference is written in the database.
//!
//! Invariant: a stored name is `registry/repository:tag`, or `registry/repository@digest` for what was asked for by
//! its digest; never both, never neither.

use crate::database::{Durability, digest, exists, moment};
use crate::store::Store;
use berth_oci::{Digest, Error, Reference, Result};
use rusqlite::{Connection, OptionalExtension, params};

/// The name under which `reference` is stored: as docker, the digest beats the tag.
pub(crate) fn canonical(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()),
        None => reference.clone().or_latest(),
    }
}

impl Store {
    /// Gives an image another name. Whatever had that name before keeps its other names, or dangles.
    ///
    /// # Errors
    /// `NotFound`: no such image; `Invalid`: the name has a digest.
    pub fn tag(&self, target: &Digest, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference")
                .hint(format!("leave `@sha256:…` out of `{}`", name.familiar())));
        }
        let name = canonical(name);
        self.inner.database.write(Durability::Machine, |transaction| {
            if !exists(transaction, "SELECT 1 FROM image WHERE target = ?", [target.as_str()])? {
                return Err(Error::not_found(format!("No such image: {target}")).into());
            }
            Ok(put(transaction, &name, target)?)
        })
    }

    /// Takes a name away; answers the image that had it, which may dangle now.
    ///
    /// # Errors
    /// `NotFound`: nothing has that name.
    pub fn untag(&self, name: &Reference) -> Result<Digest> {
        let name = canonical(name);
        self.inner.database.write(Durability::Machine, |transaction| {
            transaction
                .prepare("DELETE FROM name WHERE name = ? RETURNING target")?
                .query_row([name.to_string()], |row| digest(row, 0))
                .optional()?
                .ok_or_else(|| no_such_image(&name.familiar()).into())
        })
    }

    /// The image that has exactly this name, if any: what a pull compares with the registry's answer.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn target_of(&self, name: &Reference) -> Result<Option<Digest>> {
        let name = canonical(name).to_string();
        self.inner.database.read(|connection| {
            let mut statement = connection.prepare("SELECT target FROM name WHERE name = ?")?;
            Ok(statement.query_row([name], |row| digest(row, 0)).optional()?)
        })
    }
}

/// Docker's words for an image that is not here.
pub(crate) fn no_such_image(text: &str) -> Error {
    Error::not_found(format!("No such image: {text}")).hint("`berth images` lists what is here")
}

/// The name means that image from now on.
pub(crate) fn put(connection: &Connection, name: &Reference, target: &Digest) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO name (name, target, tagged) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET target = ?2, tagged = ?3",
        params![canonical(name).to_string(), target.as_str(), moment(jiff::Timestamp::now())],
    )?;
    Ok(())
}
