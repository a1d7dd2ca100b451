//! An image as it leaves for a registry: its layers that were made here, and lie as plain tars, are compressed.
//!
//! Configs stay, and with them diff IDs; manifests change, and what is attested of them is about the new ones.
//! Invariant: an image whose layers all have a form that a registry gave them leaves with the digest it has here.

use super::composed::{Composed, Parts};
use super::substitute::parts;
use berth_oci::media_type::{self, Compression};
use berth_oci::{
    Descriptor, Digest, ImageIndex, ImageManifest, Manifest, ManifestBody, Result, Source, Verified,
};
use berth_store::{Packing, Store};
use std::collections::HashMap;
use std::io::Read;

/// Where layers come from whose compressed form is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// The registries that they came from.
    Fetched,
    /// They are compressed anew, which gives them other digests.
    Packed,
}

/// See the module.
pub(super) struct Leaving<'a> {
    /// What goes.
    pub(super) image: Composed<&'a dyn Source>,
    /// What each layer goes as, and its diff ID.
    pub(super) layers: Vec<(Descriptor, Digest)>,
}

impl<'a> Leaving<'a> {
    /// Packs what has to be; `pause` is called before each layer and may stop it.
    pub(super) fn new(
        store: &'a Store,
        root: &Manifest,
        source: &'a dyn Source,
        absent: Absent,
        pause: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        let mut packing =
            Making { store, source, absent, pause, parts: Parts::default(), layers: Vec::new() };
        let root = packing.manifest(root)?;
        let Making { parts, layers, .. } = packing;
        Ok(Self { image: Composed { root, parts, inner: source }, layers })
    }
}

struct Making<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    absent: Absent,
    pause: &'a dyn Fn() -> Result<()>,
    parts: Parts,
    layers: Vec<(Descriptor, Digest)>,
}

impl Making<'_> {
    fn manifest(&mut self, manifest: &Manifest) -> Result<Manifest> {
        match manifest.body() {
            ManifestBody::Index(index) => self.index(manifest, index),
            ManifestBody::Image(image) if is_image(image) => self.image(manifest, image),
            ManifestBody::Image(_) => Ok(manifest.clone()),
        }
    }

    fn image(&mut self, manifest: &Manifest, image: &ImageManifest) -> Result<Manifest> {
        let (_, diff_ids) = parts(self.store, manifest)?;
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
            let layer = match self.must_be_packed(layer)? {
                true => {
                    (self.pause)()?;
                    let packed = self.parts.pack(self.store, &diff_id, Packing::default())?;
                    in_words_of(manifest, packed)
                }
                false => layer.clone(),
            };
            self.layers.push((layer.clone(), diff_id));
            layers.push(layer);
        }
        match layers == image.layers {
            true => Ok(manifest.clone()),
            false => Ok(Manifest::from_body(ManifestBody::Image(ImageManifest { layers, ..image.clone() }))),
        }
    }

    /// A plain layer that a registry has is plain because somebody wanted it so.
    fn must_be_packed(&self, layer: &Descriptor) -> Result<bool> {
        let Some(compression) = media_type::layer_compression(&layer.media_type) else { return Ok(false) };
        if compression == Compression::None {
            return Ok(self.store.origins(&layer.digest)?.is_empty());
        }
        Ok(self.absent == Absent::Packed && !self.store.has_blob(&layer.digest)?)
    }

    fn index(&mut self, manifest: &Manifest, index: &ImageIndex) -> Result<Manifest> {
        let mut became: HashMap<Digest, Descriptor> = HashMap::new();
        let mut index = index.clone();
        let (about, images): (Vec<_>, Vec<_>) =
            index.manifests.iter_mut().partition(|entry| entry.annotations.contains_key(SUBJECT));
        for entry in images {
            let child = self.source.manifest(entry)?;
            let made = self.manifest(&child)?;
            if made.digest() != child.digest() {
                became.insert(child.digest().clone(), made.descriptor());
                self.replace(entry, made);
            }
        }
        for entry in about {
            let Ok(subject) = entry.annotations[SUBJECT].parse::<Digest>() else { continue };
            let Some(new) = became.get(&subject) else { continue };
            let statements = self.source.manifest(entry)?;
            let made = self.attestation(&statements, &subject, new)?;
            entry.annotations.insert(SUBJECT.to_owned(), new.digest.to_string());
            self.replace(entry, made);
        }
        match became.is_empty() {
            true => Ok(manifest.clone()),
            false => Ok(Manifest::from_body(ManifestBody::Index(index))),
        }
    }

    fn replace(&mut self, entry: &mut Descriptor, made: Manifest) {
        let Descriptor { digest, size, .. } = made.descriptor();
        (entry.digest, entry.size) = (digest, size);
        self.parts.manifest(made);
    }

    /// What was said of the manifest as it lies here is said of the one that leaves.
    fn attestation(&mut self, manifest: &Manifest, old: &Digest, new: &Descriptor) -> Result<Manifest> {
        let Some(image) = manifest.image() else { return Ok(manifest.clone()) };
        let mut image = image.clone();
        let mut words = vec![(old.hex().to_owned(), new.digest.hex().to_owned())];
        for layer in image.layers.iter_mut().chain([&mut image.config]) {
            self.reword(layer, &mut words)?;
        }
        if let Some(subject) = image.subject.as_mut().filter(|subject| subject.digest == *old) {
            (subject.digest, subject.size) = (new.digest.clone(), new.size);
        }
        Ok(Manifest::from_body(ManifestBody::Image(image)))
    }

    /// The config follows the statements, whose digests are its diff IDs.
    fn reword(&mut self, document: &mut Descriptor, words: &mut Vec<(String, String)>) -> Result<()> {
        let mut text = String::new();
        Verified::new(self.source.blob(document, 0)?, document).read_to_string(&mut text)?;
        let reworded = words.iter().fold(text, |text, (old, new)| text.replace(old, new));
        let made = self.parts.document(&document.media_type, reworded.into_bytes());
        words.push((document.digest.hex().to_owned(), made.digest.hex().to_owned()));
        (document.digest, document.size) = (made.digest, made.size);
        Ok(())
    }
}

/// The annotation of an index's entry that says which other entry it is about.
const SUBJECT: &str = "vnd.docker.reference.digest";

/// Whether its config promises layers; an artifact's does not.
fn is_image(image: &ImageManifest) -> bool {
    [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&image.config.media_type.as_str())
        && image.layers.iter().any(|layer| media_type::layer_compression(&layer.media_type).is_some())
}

/// Docker's manifests have docker's words for their layers.
fn in_words_of(manifest: &Manifest, layer: Descriptor) -> Descriptor {
    match manifest.media_type() == media_type::DOCKER_MANIFEST {
        true => Descriptor { media_type: media_type::DOCKER_LAYER_GZIP.to_owned(), ..layer },
        false => layer,
    }
}
