//! `ADD`: as `COPY`, with archives unpacked, and files and repositories from elsewhere.
//!
//! Not here: fetching ([`Host`](crate::Host)). Invariant: what comes from elsewhere is known by a digest or a commit
//! before the key is made, and is fetched only when the step has to be done.

use super::Solver;
use super::copy::{From, LayersTree, Transfer, layers_tree, read};
use super::snapshot::Snapshot;
use super::stage::Turn;
use super::step::Doing;
use super::web::{self, Remote};
use crate::copy::{Bytes, Made, MadeKind, Placing, Target, destination, place, unpack};
use crate::dockerfile::{Add, Expander};
use crate::event::Event;
use crate::failure::{Failure, StepFailure};
use crate::files::{Wanted, pick};
use crate::git_ref::GitRef;
use crate::host::{GitAccess, GitCommit, Material};
use berth_oci::{AtPath, Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

/// A repository at a commit.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    source: GitRef,
    access: GitAccess,
    commit: GitCommit,
}

pub(super) fn add(
    solver: &Solver<'_>,
    snapshot: &mut Snapshot,
    turn: &Turn<'_>,
    add: &Add,
) -> Result<(), Failure> {
    let shared = solver.shared;
    let mut transfer = read(snapshot, "ADD", &add.files, false, From::Nowhere)?;
    let checksum =
        Expander::new(snapshot.scope.variables()).optional(add.checksum.as_ref()).map_err(Error::from)?;
    let sources = std::mem::take(&mut transfer.sources);
    let is_one = sources.len() == 1 && transfer.documents.is_empty();
    for source in sources {
        match repository(&source)? {
            Some(git) => {
                let git = wanted(git, add, checksum.as_deref())?;
                transfer.repositories.push(find(solver, git)?);
            }
            None if web::is_address(&source) => {
                let mut remote =
                    told(solver, &source, || web::find(solver, &source, checksum.as_deref(), turn.fresh))?;
                shared.note_material(remote.material());
                remote.unpack = add.unpack.unwrap_or(false);
                transfer.remotes.push(remote);
            }
            None => transfer.sources.push(source),
        }
    }
    check_flags(add, checksum.is_some(), is_one, &transfer)?;
    if !transfer.sources.is_empty() {
        transfer.from = From::Host(shared.contexts.main()?);
    }
    transfer.unpack = add.unpack.unwrap_or(true);
    transfer.make(solver, snapshot, turn)
}

/// Flags that mean something for sources from elsewhere only.
fn check_flags(add: &Add, has_checksum: bool, is_one: bool, transfer: &Transfer<'_>) -> Result<()> {
    let is_remote = !transfer.repositories.is_empty() || !transfer.remotes.is_empty();
    if has_checksum && !(is_one && is_remote) {
        return Err(Error::invalid("checksum can't be specified for multiple sources or local files"));
    }
    if add.unpack.is_some() && !transfer.repositories.is_empty() {
        return Err(Error::invalid("unpack can't be specified for git sources"));
    }
    Ok(())
}

/// A repository, if the source is one; what could as well be a path is one.
fn repository(source: &str) -> Result<Option<GitRef>> {
    let found = GitRef::parse(source).map_err(|why| Error::invalid(format!("ADD {source}: {why}")))?;
    Ok(found.filter(|found| !found.could_be_path))
}

/// The address together with what the flags say about it.
fn wanted(mut git: GitRef, add: &Add, checksum: Option<&str>) -> Result<GitRef> {
    if let Some(keep) = add.keep_git_dir {
        git.keep_git_dir = Some(keep);
    }
    match (checksum, &git.checksum) {
        (Some(flag), Some(own)) if flag != own => {
            Err(Error::invalid(format!("checksum conflicts: {own:?} vs {flag:?}")))
        }
        (Some(flag), _) => Ok(GitRef { checksum: Some(flag.to_owned()), ..git }),
        (None, _) => Ok(git),
    }
}

fn find(solver: &Solver<'_>, source: GitRef) -> Result<Repository, Failure> {
    let shared = solver.shared;
    let access = shared.request.git_access(&source);
    let commit = told(solver, &source.shown(), || shared.host.commit(&source, &access, shared.cancel))?;
    shared.note_material(Material::Git { url: source.shown(), commit: commit.id.clone() });
    Ok(Repository { source, access, commit })
}

/// Work that has a line of its own.
fn told<T>(solver: &Solver<'_>, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T, Failure> {
    let shared = solver.shared;
    let (step, started) = (shared.number(), Instant::now());
    shared.tell(Event::Started { step, name });
    match work() {
        Ok(found) => {
            shared.tell(Event::Done { step, elapsed: started.elapsed() });
            Ok(found)
        }
        Err(error) => {
            shared.tell(Event::Failed { step, why: error.message() });
            let step = StepFailure { name: name.to_owned(), output: Vec::new(), kept: None };
            Err(Failure { error, place: None, step: Some(step) })
        }
    }
}

impl Repository {
    /// What stands for its files in a key.
    pub(super) fn input(&self) -> (String, String) {
        let source = &self.source;
        let value = format!(
            "{} {:?} {:?} {:?} {:?}",
            self.commit.id, source.subdir, source.keep_git_dir, source.submodules, source.mtime
        );
        (format!("repository {}", source.remote), value)
    }

    /// Puts its files in their place; the answer has to stay until the step's layer is written.
    pub(super) fn place(
        &self,
        doing: &Doing<'_>,
        target: &mut Target<'_>,
        transfer: &Transfer<'_>,
        placing: &Placing<'_>,
    ) -> Result<LayersTree> {
        let shared = doing.shared;
        let lease = doing.place.lease();
        let files = shared.host.checkout(&self.source, &self.commit, &self.access, lease, shared.cancel)?;
        let tree = layers_tree(shared, &[files])?;
        let root = &tree.root;
        let directory = self.source.subdir.as_deref().unwrap_or("/");
        let wanted = Wanted { path: directory, parents: false, exclude: transfer.exclude.as_ref() };
        let choices = pick(root, &wanted).map_err(|error| self.without(directory, error))?;
        if !choices.iter().all(|choice| choice.files[0].meta.is_directory()) {
            return Err(Error::invalid(format!(
                "invalid subdir {directory} of {}: not a directory",
                self.name()
            )));
        }
        choices.iter().try_for_each(|choice| place(target, root, choice, placing))?;
        Ok(tree)
    }

    fn name(&self) -> String {
        self.source.shown()
    }

    fn without(&self, directory: &str, error: Error) -> Error {
        match error.kind() {
            berth_oci::Kind::NotFound => Error::not_found(format!(
                "{} has no directory {directory} at {}",
                self.name(),
                self.commit.id
            )),
            _ => error,
        }
    }
}

/// Puts what was fetched in its place: a file that only root may read, or what is in it.
pub(super) fn place_remote(
    doing: &Doing<'_>,
    number: usize,
    target: &mut Target<'_>,
    remote: &Remote,
    placing: &Placing<'_>,
) -> Result<()> {
    let here = remote.here(doing, number)?;
    if remote.unpack {
        let temporary = doing.place.directory()?.join("archive");
        let bytes = File::open(&*here.path).at(&*here.path)?;
        if unpack(target, bytes, placing.destination, placing.owner, &temporary)? {
            return Ok(());
        }
    }
    let path = destination(target, remote.name.as_bytes(), false, placing)?;
    let owner = placing.owner.unwrap_or_default();
    let made = Made {
        kind: MadeKind::File { size: here.file.size, bytes: Bytes::Host(here.path) },
        mode: placing.mode.map_or(0o600, |change| change.apply(0o600, false)),
        uid: owner.uid,
        gid: owner.gid,
        // As docker has it for servers that do not say.
        mtime: here.file.modified.unwrap_or(0),
        xattrs: BTreeMap::new(),
    };
    target.put(path, made);
    Ok(())
}
