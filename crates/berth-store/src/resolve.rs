//! Docker's look-up: what a word on the command line means among the images that are here.
//!
//! An exact name first, then `repository@digest` (the digest may be the one that a push gave the image), then an id or a
//! unique prefix of one. Ids are those of root manifests, of their children and of their configs, because tools print
//! all three.

use crate::database::{Answer, digest};
use crate::names::{canonical, no_such_image};
use crate::pushes;
use crate::record::{self, ImageRecord};
use crate::store::Store;
use berth_oci::{Digest, Error, Reference, Result};
use rusqlite::{Connection, params};

/// Shorter prefixes are names, as docker has it.
const SHORTEST_PREFIX: usize = 4;

impl Store {
    /// The image that `text` means: `name[:tag][@digest]`, an id, or a unique prefix of an id.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` where a prefix fits several images, `Invalid` where it is neither name nor id.
    pub fn resolve(&self, text: &str) -> Result<ImageRecord> {
        let reference = text.parse::<Reference>();
        let found = self.inner.database.read(|connection| {
            if let Ok(reference) = &reference
                && let Some(record) = by_name(connection, reference)?
            {
                return Ok(Some(record));
            }
            match id_prefix(text) {
                Some(prefix) => by_id(connection, &prefix),
                None => Ok(None),
            }
        })?;
        match (found, reference) {
            (Some(record), _) => Ok(record),
            (None, Ok(reference)) => Err(no_such_image(&reference.or_latest().familiar())),
            (None, Err(_)) if id_prefix(text).is_some() => Err(no_such_image(text)),
            (None, Err(error)) => Err(error),
        }
    }
}

fn by_name(connection: &Connection, reference: &Reference) -> Answer<Option<ImageRecord>> {
    let name = canonical(reference).to_string();
    let exact = "image.target = (SELECT target FROM name WHERE name = ?)";
    if let Some(record) = record::select(connection, exact, [name])?.pop() {
        return Ok(Some(record));
    }
    let Some(digest) = reference.digest() else { return Ok(None) };
    if let Some(target) = pushes::target(connection, reference)? {
        return Ok(record::select(connection, "image.target = ?", [target.as_str()])?.pop());
    }
    let repository = reference.name_only();
    let candidates = record::select(connection, OWNS_DIGEST, [digest.as_str()])?;
    Ok(candidates.into_iter().find(|image| image.names.iter().any(|n| n.name_only() == repository)))
}

/// The digest is the image's own, or one of its manifests' or configs'.
const OWNS_DIGEST: &str = "image.target IN (SELECT target FROM content WHERE digest = ?1 AND kind IN (0, 1))";

fn by_id(connection: &Connection, prefix: &str) -> Answer<Option<ImageRecord>> {
    let targets = targets(connection, prefix)?;
    match &targets[..] {
        [] => Ok(None),
        [target] => Ok(record::select(connection, "image.target = ?", [target.as_str()])?.pop()),
        several => Err(Error::conflict(format!("ambiguous reference: {prefix}")).hint(format!(
            "it fits {} images: {}",
            several.len(),
            several.iter().take(4).map(Digest::short).collect::<Vec<_>>().join(", ")
        )))?,
    }
}

/// The images with that id; those whose own digest fits come before those that only contain one that does.
fn targets(connection: &Connection, prefix: &str) -> Answer<Vec<Digest>> {
    let range = params![prefix, format!("{prefix}g")];
    for sql in [
        "SELECT target FROM image WHERE target >= ?1 AND target < ?2",
        "SELECT DISTINCT image.target FROM content JOIN image ON image.target = content.target
         WHERE content.digest >= ?1 AND content.digest < ?2 AND kind IN (0, 1)",
    ] {
        let mut statement = connection.prepare(sql)?;
        let found: Vec<Digest> =
            statement.query_map(range, |row| digest(row, 0))?.collect::<rusqlite::Result<_>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// `text` as the beginning of a digest; `g`, which follows the last hexadecimal digit, ends the range.
fn id_prefix(text: &str) -> Option<String> {
    let (algorithm, hex) = text.split_once(':').unwrap_or(("sha256", text));
    let longest = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return None,
    };
    let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && (SHORTEST_PREFIX..=longest).contains(&hex.len())).then(|| format!("{algorithm}:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_not_too_short() {
        for (text, expected) in [
            ("beef", Some("sha256:beef")),
            ("sha256:beef", Some("sha256:beef")),
            ("sha512:beef", Some("sha512:beef")),
            ("bee", None),
            ("nginx", None),
            ("nginx:beef", None),
            ("BEEF", None),
        ] {
            assert_eq!(id_prefix(text).as_deref(), expected, "{text}");
        }
    }
}
