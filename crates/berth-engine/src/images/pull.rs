//! From a registry into the store.
//!
//! Invariant: an image that is known and complete costs one question to the registry, and nothing is written.

use crate::Engine;
use berth_oci::{Context, Digest, Error, Event, Kind, Platforms, Progress, Reference, Result, copy};
use berth_store::{IngestOptions, Store};

/// What a pull came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the name means now.
    pub digest: Digest,
    /// Whether it meant something else before, or nothing.
    pub is_new: bool,
}

impl Engine {
    /// Fetches an image and gives it its name. Of an index, the image for this machine's platform (or the one
    /// asked for) comes along, or all of them.
    ///
    /// # Errors
    /// There is no such image, or not for that platform; the registry cannot be reached; the disk is full. What
    /// has arrived stays, and the next pull goes on from there.
    pub fn pull(
        &self,
        reference: &Reference,
        platforms: &Platforms,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let store = self.store()?;
        let reference = reference.clone().or_latest();
        let before = meant(store, &reference)?;
        if let Some((digest, target)) = self.known(store, &reference, before.as_ref(), platforms)? {
            stop_if(progress.report(Event::Resolved { digest: &digest }).is_break())?;
            let is_new = before.as_ref() != Some(&target);
            if is_new {
                store.tag(&target, &reference)?;
            }
            return Ok(Pulled { digest, is_new });
        }
        let lease = store.lease()?;
        let source = self.client().source(&reference, progress)?;
        let options =
            IngestOptions { keep_blobs: self.settings().keep_blobs, origin: Some(reference.name_only()) };
        let sink = store.sink(Some(&reference), options, &lease);
        let root = copy(&source, &sink, &self.copying(platforms), progress)
            .map_err(|error| unresolved(error, &reference))?;
        let is_new = before.as_ref() != Some(root.digest());
        Ok(Pulled { digest: root.digest().clone(), is_new })
    }

    /// The tags of a repository.
    ///
    /// # Errors
    /// There is no such repository, or the registry cannot be reached.
    pub fn tags(&self, repository: &Reference) -> Result<Vec<String>> {
        self.client().tags(repository)
    }

    /// What the name means at the registry and which image that is here, where all of it is here already. A name that
    /// means nothing here is not asked for: the pull itself is as cheap a question.
    fn known(
        &self,
        store: &Store,
        reference: &Reference,
        before: Option<&Digest>,
        platforms: &Platforms,
    ) -> Result<Option<(Digest, Digest)>> {
        let Some(before) = before else { return Ok(None) };
        let digest = match reference.digest() {
            Some(digest) => digest.clone(),
            None => self.client().head(reference).map_err(|error| unresolved(error, reference))?.digest,
        };
        let pushed = store.pushed_as(&reference.with_digest(digest.clone()))?;
        let target = match pushed {
            Some(pushed) if pushed == *before || store.image(&digest).is_err() => Some(pushed),
            _ => (digest == *before || store.image(&digest).is_ok()).then(|| digest.clone()),
        };
        match target {
            Some(target) if is_complete(store, &target, platforms)? => Ok(Some((digest, target))),
            _ => Ok(None),
        }
    }
}

/// The image that the name means here: one that has it, or was pushed as it.
fn meant(store: &Store, reference: &Reference) -> Result<Option<Digest>> {
    match store.target_of(reference)? {
        None if reference.digest().is_some() => store.pushed_as(reference),
        target => Ok(target),
    }
}

fn is_complete(store: &Store, target: &Digest, platforms: &Platforms) -> Result<bool> {
    match platforms {
        Platforms::One(platform) => match store.platform_image(target, Some(platform)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        },
        Platforms::All | Platforms::Available => {
            Ok(store.image(target)?.manifests()?.iter().all(|manifest| manifest.available))
        }
    }
}

/// Docker's words for a name that a registry does not know.
fn unresolved(error: Error, reference: &Reference) -> Error {
    match error.kind() {
        Kind::NotFound if error.message().starts_with("no matching manifest") => error,
        Kind::NotFound | Kind::Unavailable | Kind::Unauthorized | Kind::Denied => Err::<(), _>(error)
            .context(|| format!("failed to resolve reference \"{reference}\""))
            .expect_err("it was an error before"),
        _ => error,
    }
}

pub(crate) fn stop_if(stopped: bool) -> Result<()> {
    match stopped {
        true => Err(Error::cancelled("the transfer was stopped")),
        false => Ok(()),
    }
}
