//! A commit's files in a directory.
//!
//! Not here: which commit. Invariant: what is written is the commit that was asked for, whatever the other side
//! sends; `.git` stays only where it is wanted, and then without a password.

use super::Repository;
use berth_build::GitCommit;
use berth_build::git_ref::{Mtime, redacted};
use berth_oci::{AtPath, Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs;
use std::io;
use std::path::Path;

/// Writes the files of a commit into a directory that does not exist yet.
pub(in crate::build) fn checkout(repository: &Repository<'_>, commit: &GitCommit, into: &Path) -> Result<()> {
    fs::create_dir(into).at(into)?;
    let remote = repository.remote()?;
    let git = |words: &[&str]| repository.git(into, words);
    git(&["init", "--quiet", "--template=", "--initial-branch=main", "."])?;
    git(&["remote", "add", "origin", &remote])?;
    fetch(repository, commit, into)?;
    git(&["checkout", "--quiet", "--force", "--detach", &commit.id])?;
    let head = git(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    // A tag's hash was given: its commit is what lies there.
    let wanted = git(&["rev-parse", "--verify", &format!("{}^{{commit}}", commit.id)])?;
    if head != wanted {
        return Err(Error::corrupt(format!("{} gave {} for {}", repository.shown(), head.trim(), commit.id)));
    }
    if repository.source.submodules != Some(false) && into.join(".gitmodules").exists() {
        git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
    }
    if repository.source.mtime == Some(Mtime::Commit) {
        let seconds = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let seconds = seconds.trim().parse().map_err(|_| Error::corrupt("the commit has no date"))?;
        set_times(into, seconds)?;
    }
    match repository.source.keep_git_dir {
        Some(true) => keep(repository, commit, into),
        _ => remove_git(into),
    }
}

/// As little as the other side lets us have: the commit alone, or the name's history, or everything.
fn fetch(repository: &Repository<'_>, commit: &GitCommit, into: &Path) -> Result<()> {
    let has_it = || repository.git(into, &["cat-file", "-e", &format!("{}^{{commit}}", commit.id)]).is_ok();
    let fetch = |words: &[&str]| {
        let all = [&["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--force"], words].concat();
        repository.git(into, &all).map(drop)
    };
    let first = fetch(&["--depth=1", "origin", &commit.id]);
    let refused = match first {
        Ok(()) if has_it() => return Ok(()),
        Ok(()) => Error::not_found("it does not have that commit"),
        Err(error) if error.kind() == Kind::Cancelled => return Err(error),
        Err(error) => error,
    };
    // Not every server gives a commit by its hash, and none without a program behind it gives a part of a history.
    let branches = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    let name = commit.reference.as_deref();
    let tries = [
        name.map(|name| vec!["--depth=1", "origin", name]),
        name.map(|name| vec!["origin", name]),
        Some(vec!["origin", branches[0], branches[1]]),
    ];
    for words in tries.into_iter().flatten() {
        match fetch(&words) {
            Err(error) if error.kind() == Kind::Cancelled => return Err(error),
            _ if has_it() => return Ok(()),
            _ => {}
        }
    }
    Err(refused)
}

/// `.git` as it may stay: the address without its password, and nothing of how it was fetched.
fn keep(repository: &Repository<'_>, commit: &GitCommit, into: &Path) -> Result<()> {
    let remote = redacted(&repository.remote()?);
    repository.git(into, &["remote", "set-url", "origin", &remote])?;
    if let Some(branch) = commit.reference.as_deref().and_then(|name| name.strip_prefix("refs/heads/")) {
        repository.git(into, &["checkout", "--quiet", "-B", branch])?;
    }
    for name in ["FETCH_HEAD", "ORIG_HEAD"] {
        remove(&into.join(".git").join(name))?;
    }
    Ok(())
}

/// Takes `.git` away, that of submodules too.
fn remove_git(directory: &Path) -> Result<()> {
    each(directory, &mut |path, is_directory| {
        if path.file_name().is_some_and(|name| name == ".git") {
            let gone = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            gone.at(path)?;
            return Ok(false);
        }
        Ok(true)
    })
}

fn set_times(directory: &Path, seconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    each(directory, &mut |path, _| {
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from).at(path)?;
        Ok(true)
    })
}

/// Shows every path below a directory, links as what they are; the answer says whether to go on inside.
fn each(directory: &Path, look: &mut dyn FnMut(&Path, bool) -> Result<bool>) -> Result<()> {
    for entry in fs::read_dir(directory).at(directory)? {
        let entry = entry.at(directory)?;
        let (path, kind) = (entry.path(), entry.file_type().at(directory)?);
        if look(&path, kind.is_dir())? && kind.is_dir() {
            each(&path, look)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer.at(path),
    }
}
