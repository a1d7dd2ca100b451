//! Repositories as sources of builds, by way of the `git` program.
//!
//! Here: [`commit`], which asks what a name means now, and [`checkout`], which writes a commit's files. How the
//! program is kept in bounds is in `command.rs`. Not here: what an address says ([`GitRef`]). Invariant: nothing in a
//! repository is run, and no configuration but ours is read.

mod checkout;
mod command;
mod resolve;

pub(super) use checkout::checkout;
pub(super) use resolve::commit;

use berth_build::git_ref::{GitRef, redacted};
use berth_build::{Cancel, GitAccess, GitCommit};
use berth_distribution::Proxies;
use berth_oci::{Digest, Error, Result};
use std::path::Path;

/// A repository, and what is needed to speak to it.
pub(super) struct Repository<'a> {
    pub(super) source: &'a GitRef,
    pub(super) access: &'a GitAccess,
    pub(super) proxies: &'a Proxies,
    pub(super) cancel: &'a Cancel,
    /// An empty directory for whatever git wants to keep.
    pub(super) scratch: &'a Path,
}

/// What a checkout is known by: everything that decides what is in it.
pub(super) fn key(source: &GitRef, commit: &GitCommit) -> Digest {
    let (remote, reference) = (redacted(&source.remote), commit.reference.as_deref().unwrap_or_default());
    let how = (source.keep_git_dir, source.submodules, source.mtime);
    Digest::of(format!("checkout 1\n{remote}\n{}\n{reference}\n{how:?}", commit.id).as_bytes())
}

impl Repository<'_> {
    /// The address as git wants it.
    fn remote(&self) -> Result<String> {
        let remote = &self.source.remote;
        if remote.starts_with('-') || remote.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid(format!("`{remote}` is no address of a repository")));
        }
        Ok(match self.source.could_be_path {
            true => format!("https://{remote}"),
            false => remote.clone(),
        })
    }

    /// The address without a password, for people and for what stays.
    fn shown(&self) -> String {
        redacted(&self.source.remote)
    }
}
