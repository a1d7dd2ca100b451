//! What a build takes from elsewhere: files of the web, and repositories. For steps, and for contexts before any step.
//!
//! Not here: HTTP (`berth-distribution`), git (`git/`), what is known already. Invariant: whatever it is, it comes
//! into a place of the caller's, in bounds, and ends when the build does.

use super::git;
use crate::Engine;
use berth_build::git_ref::GitRef;
use berth_build::{Cancel, GitAccess, GitCommit, Layer, WebFile};
use berth_distribution::{Download, DownloadRequest, Validators};
use berth_oci::Result;
use berth_store::{ChangesOptions, Lease, NewStep, Workplace};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// No file that is fetched for a build is larger, in bytes.
pub const WEB_FILE_LIMIT: u64 = 64 << 30;

/// What the build cache knows of a commit's files.
#[derive(Serialize, Deserialize)]
struct Fetched {
    /// As all of its entries have it.
    name: String,
    files: Layer,
}

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
        let answer = self.client().download(&request, path, &mut |_, _| cancel.check())?;
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

    /// A commit's files as a layer, which is kept for the lease. What was fetched once is in the build cache, and is
    /// not fetched again.
    ///
    /// # Errors
    /// As [`git_commit`](Self::git_commit); the disk is full.
    pub fn git_checkout(
        &self,
        source: &GitRef,
        commit: &GitCommit,
        access: &GitAccess,
        lease: &Lease,
        cancel: &Cancel,
    ) -> Result<Layer> {
        let store = self.store()?;
        let key = git::key(source, commit);
        let known = store.step(&key, lease)?.map(|step| serde_json::from_str::<Fetched>(&step.document));
        // A note that nobody can read is as good as none.
        if let Some(Ok(known)) = known {
            return Ok(known.files);
        }
        let started = Instant::now();
        let place = store.workplace()?;
        let directory = place.directory()?.join("checkout");
        self.with_repository(source, access, cancel, |it| git::checkout(it, commit, &directory))?;
        let (descriptor, diff_id) = store.add_changes(&directory, &ChangesOptions::default(), lease)?;
        let files = Layer { descriptor, diff_id };
        let fetched = Fetched { name: format!("{} at {}", source.shown(), commit.id), files };
        store.put_step(&NewStep {
            key: &key,
            document: &serde_json::to_string(&fetched).expect("text has a JSON form"),
            layers: std::slice::from_ref(&fetched.files.diff_id),
            cost: started.elapsed(),
        })?;
        Ok(fetched.files)
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
