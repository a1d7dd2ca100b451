//! `ADD`: as `COPY`, with archives unpacked and files from elsewhere.

use super::Solver;
use super::copy::{FetchedFile, From, read};
use super::snapshot::Snapshot;
use super::stage::Turn;
use super::step::Doing;
use crate::copy::{Bytes, Made, MadeKind, Placing, Target, destination, unpack};
use crate::dockerfile::{Add, Expander};
use crate::failure::Failure;
use crate::files::digest_of_file;
use berth_oci::{AtPath, Error, Result};
use berth_store::Workplace;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::sync::Arc;

pub(super) fn add(
    solver: &Solver<'_>,
    snapshot: &mut Snapshot,
    turn: &Turn<'_>,
    add: &Add,
) -> Result<(), Failure> {
    let shared = solver.shared;
    let mut transfer = read(snapshot, "ADD", &add.files, false, From::Nowhere)?;
    let (remote, local): (Vec<String>, Vec<String>) =
        transfer.sources.drain(..).partition(|source| is_url(source) || is_git(source));
    if let Some(git) = remote.iter().find(|source| is_git(source)) {
        return Err(Error::unsupported(format!("ADD {git}: git repositories cannot be added yet"))
            .hint("clone it beside the Dockerfile and COPY it, or give it as the build context")
            .into());
    }
    let checksum =
        Expander::new(snapshot.scope.variables()).optional(add.checksum.as_ref()).map_err(Error::from)?;
    if checksum.is_some() && (remote.len() != 1 || !local.is_empty()) {
        return Err(Error::invalid("checksum can't be specified for multiple sources or local files").into());
    }
    // What is fetched has to lie somewhere until the layer is written.
    let place = shared.store.workplace()?;
    for (number, url) in remote.iter().enumerate() {
        let file = fetch(solver, &place, number, url, checksum.as_deref(), add.unpack.unwrap_or(false))?;
        transfer.fetched.push(file);
    }
    transfer.sources = local;
    if !transfer.sources.is_empty() {
        transfer.from = From::Host(shared.contexts.main()?);
    }
    transfer.unpack = add.unpack.unwrap_or(true);
    transfer.make(solver, snapshot, turn)
}

fn is_url(source: &str) -> bool {
    (source.starts_with("http://") || source.starts_with("https://")) && !is_git(source)
}

fn is_git(source: &str) -> bool {
    let path = source.split(['#', '?']).next().unwrap_or_default();
    source.starts_with("git@")
        || source.starts_with("git://")
        || source.starts_with("ssh://")
        || (path.contains("://") && path.ends_with(".git"))
}

/// Fetches a file and proves it.
fn fetch(
    solver: &Solver<'_>,
    place: &Workplace,
    number: usize,
    url: &str,
    checksum: Option<&str>,
    unpack: bool,
) -> Result<FetchedFile, Failure> {
    let shared = solver.shared;
    let path = place.directory()?.join(format!("fetched-{number}"));
    let fetched = shared.host.fetch(url, &path, shared.cancel)?;
    let mut file = File::open(&path).at(&path)?;
    let digest = digest_of_file(&mut file)?;
    let mut text = String::from("sha256:");
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    if let Some(expected) = checksum
        && expected != text
    {
        return Err(Error::corrupt(format!("digest mismatch {text}: {expected}"))
            .hint(format!("{url} is not what the Dockerfile expects"))
            .into());
    }
    let name = fetched.name.or_else(|| name_of(url)).unwrap_or_else(|| "__unnamed__".to_owned());
    let size = file.metadata().at(&path)?.len();
    let modified = fetched.modified.unwrap_or_else(|| shared.now().as_second());
    Ok(FetchedFile { name, path: Arc::new(path), size, digest: text, modified, unpack })
}

/// The last part of an address's path.
fn name_of(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let path = rest.split(['?', '#']).next()?.split_once('/')?.1;
    let name = path.rsplit('/').next()?;
    Some(name.to_owned()).filter(|name| !name.is_empty() && name != "." && name != "..")
}

/// Puts what was fetched in its place: a file that only root may read, or what is in it.
pub(super) fn place_fetched(
    doing: &Doing<'_>,
    target: &mut Target<'_>,
    file: &FetchedFile,
    placing: &Placing<'_>,
) -> Result<()> {
    if file.unpack {
        let temporary = doing.place.directory()?.join("archive");
        let bytes = File::open(&*file.path).at(&*file.path)?;
        if unpack(target, bytes, placing.destination, placing.owner, &temporary)? {
            return Ok(());
        }
    }
    let path = destination(target, file.name.as_bytes(), false, placing)?;
    let owner = placing.owner.unwrap_or_default();
    let made = Made {
        kind: MadeKind::File { size: file.size, bytes: Bytes::Host(Arc::clone(&file.path)) },
        mode: placing.mode.map_or(0o600, |change| change.apply(0o600, false)),
        uid: owner.uid,
        gid: owner.gid,
        mtime: file.modified,
        xattrs: BTreeMap::new(),
    };
    target.put(path, made);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_addresses() {
        for (url, name) in [
            ("http://x/a/b.tar", Some("b.tar")),
            ("http://x/a?b=c/d", Some("a")),
            ("http://x/", None),
            ("http://x", None),
            ("https://x/a/..", None),
        ] {
            assert_eq!(name_of(url).as_deref(), name, "{url}");
        }
        assert!(is_git("https://x/y.git#main:sub") && is_git("git@x:y") && !is_git("http://x/git"));
        assert!(is_url("http://x/y") && !is_url("./http://x"));
    }
}
