//! From the store to a registry.
//!
//! Compressed layers that the store did not keep come from where they came from, or are mounted there without
//! moving at all. Invariant: the digest that arrives is the one that is here, unless the answer says otherwise.

use super::origin::Origins;
use super::substitute::Substitute;
use crate::Engine;
use berth_oci::{
    Descriptor, Digest, Error, Event, Kind, Manifest, Platform, Platforms, Progress, Reference, Result,
    Source, copy,
};
use berth_store::{ImageRecord, Store};

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest that the tag means at the registry now.
    pub manifest: Descriptor,
    /// Why that is not the image's own digest, if it is not.
    pub changed: Option<String>,
}

impl Engine {
    /// Sends an image to the registry of its name. Of an index everything goes, or the image for `platform`.
    ///
    /// # Errors
    /// Nothing has that name; the registry refuses it or cannot be reached.
    pub fn push(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Pushed> {
        let store = self.store()?;
        let reference = reference.clone().or_latest();
        let target = store.target_of(&reference)?.ok_or_else(|| missing(&reference))?;
        let record = store.image(&target)?;
        let lease = store.lease()?;
        lease.protect(&[berth_store::Protected::Image(&target)])?;
        let (root, why) = choose(store, &record, platform)?;
        let origins = Origins::new(self.client(), progress);
        let source = store.source(root.digest(), Some(&origins));
        match self.send(&source, &reference, progress) {
            Ok(root) => Ok(Pushed { manifest: root.descriptor(), changed: why }),
            Err(error) if error.kind() == Kind::Cancelled => Err(error),
            // Was it the registry that we push to, or one that a layer should have come from?
            Err(error) => match self.first_lost(store, &root, &source)? {
                None => Err(error),
                Some(lost) => {
                    let manifest = match root.image() {
                        Some(_) => root,
                        None => store.platform_image(&target, platform)?.manifest,
                    };
                    self.push_recompressed(&reference, &manifest, &source, progress, &lost)
                }
            },
        }
    }

    /// All tags of a repository that are here.
    ///
    /// # Errors
    /// Nothing here is of that repository.
    pub fn tags_here(&self, repository: &Reference) -> Result<Vec<Reference>> {
        let images = self.store()?.images()?;
        let names = images.into_iter().flat_map(|image| image.names);
        let mut names: Vec<Reference> =
            names.filter(|name| name.tag().is_some() && name.name() == repository.name()).collect();
        names.sort();
        match names.is_empty() {
            true => Err(Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                repository.familiar_name()
            ))),
            false => Ok(names),
        }
    }

    fn send(&self, source: &dyn Source, reference: &Reference, progress: &dyn Progress) -> Result<Manifest> {
        let store = self.store()?;
        let mount_from = |digest: &Digest| store.origins(digest).unwrap_or_default();
        let sink = self.client().sink(reference, &mount_from, progress)?;
        copy(source, &sink, &self.copying(&Platforms::All), progress)
    }

    /// The compressed form of a layer cannot be had any more: it is made anew, which changes the image's digest.
    fn push_recompressed(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        source: &dyn Source,
        progress: &dyn Progress,
        why: &Error,
    ) -> Result<Pushed> {
        let note = format!("{why}: compressing again, which gives the image another digest");
        super::pull::stop_if(progress.report(Event::Note(&note)).is_break())?;
        let substitute = Substitute::compressed(self.store()?, manifest, source)?;
        let root = self.send(&substitute, reference, progress)?;
        Ok(Pushed { manifest: root.descriptor(), changed: Some(note) })
    }
}

fn missing(reference: &Reference) -> Error {
    Error::not_found(format!("tag does not exist: {}", reference.familiar()))
        .hint("`berth images` lists what is here; `berth tag` gives an image this name")
}

/// What is pushed: the whole image, or, where not all of an index is here, the one image that is.
fn choose(
    store: &Store,
    record: &ImageRecord,
    platform: Option<&Platform>,
) -> Result<(Manifest, Option<String>)> {
    let root = store.manifest(&record.target)?;
    let is_partial = record.manifests()?.iter().any(|manifest| !manifest.available);
    match (root.index().is_some(), platform) {
        (true, Some(_)) => Ok((store.platform_image(&record.target, platform)?.manifest, None)),
        (true, None) if is_partial => {
            let manifest = store.platform_image(&record.target, None)?.manifest;
            let why = format!(
                "Not all multiplatform-content is present and only the available single-platform image was pushed\n\
                 {} -> {}",
                record.target,
                manifest.digest()
            );
            Ok((manifest, Some(why)))
        }
        (false, Some(platform)) => {
            let image = store.platform_image(&record.target, Some(platform))?;
            Ok((image.manifest, None))
        }
        _ => Ok((root, None)),
    }
}

/// Whether an error is that nothing has the name: docker says that without "from daemon".
#[must_use]
pub fn is_missing_tag(error: &Error) -> bool {
    error.kind() == Kind::NotFound && error.message().starts_with("tag does not exist")
}
