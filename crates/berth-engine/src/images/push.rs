//! From the store to a registry.
//!
//! Layers that were made here are compressed on the way, always to the same bytes. Compressed layers that the store did
//! not keep come from where they came from, or are mounted there without moving at all. Invariant: what arrives under
//! another digest than the image has here is written down, or the answer says why.

use super::leaving::{Absent, Leaving};
use super::origin::Origins;
use super::pull::stop_if;
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
    /// Why less than the image went, or layers have another form than a registry gave them, if that is so.
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
        let mut changed = why;
        let mut sent = self.send(&root, Absent::Fetched, &source, &reference, progress);
        if let Err(error) = &sent
            && error.kind() != Kind::Cancelled
            // Was it the registry that we push to, or one that a layer should have come from?
            && let Some(lost) = self.first_lost(store, &root, &source)?
        {
            let note = format!("{lost}: compressing again, which gives the image another digest");
            stop_if(progress.report(Event::Note(&note)).is_break())?;
            changed = Some(note);
            sent = self.send(&root, Absent::Packed, &source, &reference, progress);
        }
        let (manifest, layers) = sent?;
        store.note_push(&target, &reference, &manifest.digest, &layers)?;
        Ok(Pushed { manifest, changed })
    }

    /// Packs what has to be packed, and sends everything; answers what is there now.
    fn send(
        &self,
        root: &Manifest,
        absent: Absent,
        source: &dyn Source,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<(Descriptor, Vec<(Descriptor, Digest)>)> {
        let store = self.store()?;
        let pause = || stop_if(progress.report(Event::Packing).is_break());
        let Leaving { image, layers } = Leaving::new(store, root, source, absent, &pause)?;
        let mount_from = |digest: &Digest| store.origins(digest).unwrap_or_default();
        let sink = self.client().sink(reference, &mount_from, progress)?;
        let sent = copy(&image, &sink, &self.copying(&Platforms::All), progress)?;
        Ok((sent.descriptor(), layers))
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
