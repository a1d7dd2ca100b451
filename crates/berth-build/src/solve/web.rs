//! Files from the web: found by a digest, remembered by what their servers say of them, fetched when they are needed.
//!
//! Not here: speaking HTTP ([`Host`](crate::Host)), where the file goes (`add.rs`). Invariant: bytes are used only
//! when their digest is the one in the step's key.

use super::Solver;
use super::step::Doing;
use crate::files::digest_of_reader;
use crate::host::{Material, WebFile};
use berth_oci::{Algorithm, AtPath, Digest, Error, Result};
use berth_store::{Store, Workplace};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

/// A file of the web whose digest is known.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    /// What it is called in the image.
    pub(super) name: String,
    url: String,
    /// What its bytes must be.
    digest: Digest,
    /// Whether it is unpacked, if it is an archive.
    pub(super) unpack: bool,
    here: Option<Here>,
}

/// Its bytes, and what has to stay for them.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) path: Arc<PathBuf>,
    pub(super) file: WebFile,
    _place: Option<Arc<Workplace>>,
}

pub(super) fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Finds out the digest: it is given, or the server says that the file is what it was, or it is fetched.
pub(super) fn find(solver: &Solver<'_>, url: &str, checksum: Option<&str>, is_fresh: bool) -> Result<Remote> {
    let shared = solver.shared;
    let name = name_of(url).unwrap_or_else(|| "__unnamed__".to_owned());
    let remote = |digest, here| Remote { name, url: url.to_owned(), digest, unpack: false, here };
    if let Some(checksum) = checksum {
        let digest = checksum.parse().map_err(|error| {
            Error::invalid(format!("ADD --checksum={checksum}: {error}")).hint("write sha256: and 64 digits")
        })?;
        return Ok(remote(digest, None));
    }
    let known = if is_fresh { None } else { recall(shared.store, url)? };
    let place = shared.store.workplace()?;
    let path = place.directory()?.join("fetched");
    match (shared.host.fetch(url, known.as_ref(), &path, shared.cancel)?, known) {
        (None, Some(known)) => Ok(remote(known.digest, None)),
        (None, None) => Err(Error::internal(format!("{url} is unchanged, but was not known"))),
        (Some(file), _) => {
            remember(shared.store, url, &file)?;
            let digest = file.digest.clone();
            Ok(remote(digest, Some(Here { path: Arc::new(path), file, _place: Some(Arc::new(place)) })))
        }
    }
}

impl Remote {
    /// What stands for it in a key.
    pub(super) fn input(&self) -> (String, String) {
        (format!("fetched {}", self.name), self.digest.to_string())
    }

    /// As a part of what the build is made of.
    pub(super) fn material(&self) -> Material {
        Material::Web { url: self.url.clone(), digest: self.digest.clone() }
    }

    /// Its bytes: fetched now, if they are not here yet, and proved.
    pub(super) fn here(&self, doing: &Doing<'_>, number: usize) -> Result<Here> {
        if let Some(here) = &self.here {
            return Ok(here.clone());
        }
        let shared = doing.shared;
        let path = doing.place.directory()?.join(format!("fetched-{number}"));
        let fetched = shared.host.fetch(&self.url, None, &path, shared.cancel)?;
        let file = fetched.ok_or_else(|| Error::internal(format!("{} was not fetched", self.url)))?;
        let found = match self.digest.algorithm() {
            Algorithm::Sha256 => file.digest.clone(),
            other => digest_of_reader(&mut File::open(&path).at(&path)?, other)?,
        };
        if found != self.digest {
            forget(shared.store, &self.url)?;
            return Err(Error::corrupt(format!("digest mismatch {found}: {}", self.digest))
                .hint(format!("{} is not what was expected of it", self.url)));
        }
        remember(shared.store, &self.url, &file)?;
        Ok(Here { path: Arc::new(path), file, _place: None })
    }
}

/// The last part of an address's path.
fn name_of(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let path = rest.split(['?', '#']).next()?.split_once('/')?.1;
    let name = crate::git_ref::decoded_path(path.rsplit('/').find(|part| !part.is_empty())?);
    // A slash that was written as `%2F` does not lead anywhere.
    let name = name.rsplit('/').next()?.to_owned();
    Some(name).filter(|name| !name.is_empty() && name != "." && name != ".." && !name.contains('\0'))
}

/// Where it is written down what a server said of a file.
fn note(store: &Store, url: &str) -> Result<PathBuf> {
    Ok(store.build_directory("web")?.join(Digest::of(url.as_bytes()).hex()))
}

fn recall(store: &Store, url: &str) -> Result<Option<WebFile>> {
    // A damaged note is as good as none.
    Ok(fs::read(note(store, url)?).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn remember(store: &Store, url: &str, file: &WebFile) -> Result<()> {
    let path = note(store, url)?;
    if file.etag.is_none() && file.last_modified.is_none() {
        return forget(store, url);
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&fresh, serde_json::to_vec(file).expect("text has a JSON form")).at(&fresh)?;
    fs::rename(&fresh, &path).at(&path)
}

fn forget(store: &Store, url: &str) -> Result<()> {
    let path = note(store, url)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        answer => answer.at(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_addresses() {
        for (url, name) in [
            ("http://x/a/b.tar", Some("b.tar")),
            ("http://x/a?b=c/d", Some("a")),
            ("http://x/a/", Some("a")),
            ("http://x/a%20b+c", Some("a b+c")),
            ("http://x/a%2F..%2Fpasswd", Some("passwd")),
            ("http://x/%2e%2E", None),
            ("http://x/", None),
            ("http://x", None),
            ("https://x/a/..", None),
        ] {
            assert_eq!(name_of(url).as_deref(), name, "{url}");
        }
        assert!(is_address("http://x/y") && !is_address("./http://x"));
    }
}
