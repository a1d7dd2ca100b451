//! What a build takes from elsewhere: files of the web, and repositories. For steps, and for contexts before any step.
//!
//! Not here: HTTP (`berth-distribution`), git (`git/`), what is known already. Invariant: whatever it is, it comes
//! into a place of the caller's, in bounds, and ends when the build does.

use super::git;
use crate::Engine;
use berth_build::git_ref::GitRef;
use berth_build::{Cancel, GitAccess, GitCommit, WebFile};
use berth_distribution::{Download, DownloadRequest, Validators};
use berth_oci::Result;
use berth_store::Workplace;
use std::path::{Path, PathBuf};

/// No file that is fetched for a build is larger, in bytes.
pub const WEB_FILE_LIMIT: u64 = 64 << 30;

impl Engine {
    /// Fetches a file of the web into `path`; `None`: it still is what `known` says. At most `limit` bytes.
    ///
    /// # Errors
    /// There is no such file, the line or the server is broken, the file is too large, or the build was cancelled.
    pub fn fetch_file(
        &self,
        url: &str,
        known: Option<&WebFile>,
        path: &Path,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<Option<WebFile>> {
        let validators = known
            .map(|known| Validators { etag: known.etag.clone(), last_modified: known.last_modified.clone() });
        let request = DownloadRequest { url, known: validators.as_ref(), limit };
        let answer = self.client().download(&request, path, &mut |_| cancel.check())?;
        Ok(match answer {
            Download::Unchanged => None,
            Download::Fetched { digest, size, validators } => {
                let modified = validators.modified();
                let Validators { etag, last_modified } = validators;
                Some(WebFile { digest, size, modified, etag, last_modified })
            }
        })
    }

    /// The commit that an address means now.
    ///
    /// # Errors
    /// There is none, the repository cannot be asked, or `git` is not installed.
    pub fn git_commit(&self, source: &GitRef, access: &GitAccess, cancel: &Cancel) -> Result<GitCommit> {
        self.with_repository(source, access, cancel, git::commit)
    }

    /// Writes a commit's files into a directory that does not exist yet.
    ///
    /// # Errors
    /// As [`git_commit`](Self::git_commit); the disk is full.
    pub fn git_checkout(
        &self,
        source: &GitRef,
        commit: &GitCommit,
        access: &GitAccess,
        into: &Path,
        cancel: &Cancel,
    ) -> Result<()> {
        self.with_repository(source, access, cancel, |repository| git::checkout(repository, commit, into))
    }

    fn with_repository<T>(
        &self,
        source: &GitRef,
        access: &GitAccess,
        cancel: &Cancel,
        work: impl FnOnce(&git::Repository<'_>) -> Result<T>,
    ) -> Result<T> {
        let place = self.store()?.workplace()?;
        let scratch = place.directory()?;
        let proxies = &self.settings().registries.proxies;
        work(&git::Repository { source, access, proxies, cancel, scratch: &scratch })
    }

    /// What is in an archive, as a directory that stays as long as the place does.
    ///
    /// # Errors
    /// It is no archive, or a harmful one; the disk is full.
    pub fn unpacked(&self, archive: impl std::io::Read + Send) -> Result<(PathBuf, Workplace)> {
        let store = self.store()?;
        let place = store.workplace()?;
        let plain = berth_store::archives::decompress(archive)?;
        let (_, diff_id) = store.add_layer(plain, place.lease())?;
        let directory = place.rootfs(&[diff_id])?.lowers[0].clone();
        Ok((directory, place))
    }
}
