//! What a build made, as an image that can be copied: layers in the form they are wanted in, configs, attestations,
//! manifests and the index, all of it computed before anything moves.
//!
//! Not here: where it goes (`output.rs`). Invariant: the digest of the root is known, and the same for everybody who
//! asks for the same form.

use super::annotations::{Annotated, BuildAnnotation, check, words_for};
use super::attest::{self, Predicate};
use crate::Engine;
use crate::images::{Composed, Origins, Parts};
use berth_build::BuiltImage;
use berth_oci::media_type::{self, Compression};
use berth_oci::{
    Descriptor, Digest, Error, ImageIndex, ImageManifest, Manifest, ManifestBody, Platform, Result,
};
use berth_store::{OriginFallback, Packing, Store, StoreSource};
use std::collections::BTreeMap;

/// The form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageForm {
    /// How layers that were made here are packed; `None`: they stay as they lie.
    pub packing: Option<Packing>,
    /// Whether layers of base images are packed like that, too.
    pub force: bool,
    /// Whether media types are docker's.
    pub docker_types: bool,
}

impl ImageForm {
    /// As the store has it.
    pub const STORED: Self = Self { packing: None, force: false, docker_types: false };

    /// As it leaves the machine.
    #[must_use]
    pub fn leaving() -> Self {
        Self { packing: Some(Packing::default()), ..Self::STORED }
    }
}

/// What all forms have in common.
pub(super) struct ImageParts<'a> {
    pub(super) engine: &'a Engine,
    pub(super) images: &'a [BuiltImage],
    /// For each image what is attested of it.
    pub(super) predicates: &'a [Vec<Predicate>],
    pub(super) annotations: &'a [BuildAnnotation],
    /// What attestations call the image.
    pub(super) name: Option<String>,
}

/// See the module.
pub(super) type ImageSet<'a> = Composed<StoreSource<'a>>;

impl<'a> ImageParts<'a> {
    /// The image in a form.
    pub(super) fn assemble(&self, form: ImageForm, origins: &'a Origins<'a>) -> Result<ImageSet<'a>> {
        let has_index = self.images.len() > 1 || self.predicates.iter().any(|list| !list.is_empty());
        let platforms: Vec<Platform> = self.images.iter().map(|image| image.platform.clone()).collect();
        check(self.annotations, has_index, &platforms)?;
        let store = self.engine.store()?;
        let fallback: &dyn OriginFallback = origins;
        let mut making = Making { store, form, parts: Parts::default() };
        let (mut entries, mut attestations, mut first) = (Vec::new(), Vec::new(), None);
        for (image, predicates) in self.images.iter().zip(self.predicates) {
            let words = words_for(self.annotations, Annotated::Manifest, Some(&image.platform));
            let manifest = making.manifest(image, words)?;
            let mut entry = manifest.descriptor();
            entry.platform = Some(image.platform.clone());
            entry.annotations =
                words_for(self.annotations, Annotated::ManifestDescriptor, Some(&image.platform));
            if !predicates.is_empty() {
                let subject = attest::subject(self.name.as_deref(), &image.platform, manifest.digest());
                let statements = predicates.iter().map(|predicate| predicate.statement(&subject));
                let attestation = making.attestation(statements.collect());
                attestations.push(attest::entry(&attestation, manifest.digest()));
                making.parts.manifest(attestation);
            }
            entries.push(entry);
            making.parts.manifest(manifest.clone());
            first.get_or_insert(manifest);
        }
        let root = match has_index {
            false => first.expect("a build has a platform"),
            true => {
                entries.extend(attestations);
                making.index(entries, words_for(self.annotations, Annotated::Index, None))
            }
        };
        // What is asked for is always one of its parts.
        let inner = store.source(root.digest(), Some(fallback));
        Ok(ImageSet { root, parts: making.parts, inner })
    }
}

struct Making<'a> {
    store: &'a Store,
    form: ImageForm,
    parts: Parts,
}

impl Making<'_> {
    fn manifest(&mut self, image: &BuiltImage, annotations: BTreeMap<String, String>) -> Result<Manifest> {
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let descriptor = self.layer(&layer.descriptor, &layer.diff_id)?;
            layers.push(Descriptor { media_type: self.layer_type(&descriptor)?, ..descriptor });
        }
        let config = serde_json::to_vec(&image.config).expect("a config has string keys only");
        let (kind, own) = match self.form.docker_types {
            true => (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST),
            false => (media_type::OCI_CONFIG, media_type::OCI_MANIFEST),
        };
        let config = self.parts.document(kind, config);
        Ok(image_manifest(own, config, layers, annotations))
    }

    /// A layer as it is wanted.
    fn layer(&mut self, descriptor: &Descriptor, diff_id: &Digest) -> Result<Descriptor> {
        let Some(packing) = self.form.packing else { return Ok(descriptor.clone()) };
        let is_plain = media_type::layer_compression(&descriptor.media_type) == Some(Compression::None);
        if !is_plain && !self.form.force && self.can_be_had(descriptor)? {
            return Ok(descriptor.clone());
        }
        self.parts.pack(self.store, diff_id, packing)
    }

    /// Whether a compressed layer of a base is here, or a registry is known that has it.
    fn can_be_had(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.store.has_blob(&descriptor.digest)? || !self.store.origins(&descriptor.digest)?.is_empty())
    }

    fn layer_type(&self, descriptor: &Descriptor) -> Result<String> {
        let kind = match (self.form.docker_types, media_type::layer_compression(&descriptor.media_type)) {
            (_, None) => &descriptor.media_type,
            (false, Some(Compression::None)) => media_type::OCI_LAYER,
            (false, Some(Compression::Gzip)) => media_type::OCI_LAYER_GZIP,
            (false, Some(Compression::Zstd)) => media_type::OCI_LAYER_ZSTD,
            (true, Some(Compression::None)) => media_type::DOCKER_LAYER,
            (true, Some(Compression::Gzip)) => media_type::DOCKER_LAYER_GZIP,
            (true, Some(Compression::Zstd)) => {
                return Err(Error::unsupported("docker's media types have no word for layers with zstd")
                    .hint("leave oci-mediatypes=false out, or choose compression=gzip"));
            }
        };
        Ok(kind.to_owned())
    }

    /// An artifact that says something of an image, as BuildKit lays it out: an image for no platform whose layers
    /// are the statements.
    fn attestation(&mut self, statements: Vec<(String, Vec<u8>)>) -> Manifest {
        let mut layers = Vec::new();
        for (predicate, bytes) in statements {
            let mut layer = self.parts.document(attest::STATEMENT, bytes);
            layer.annotations.insert(attest::PREDICATE_TYPE.to_owned(), predicate);
            layers.push(layer);
        }
        let config = self.parts.document(media_type::OCI_CONFIG, attest::config(&layers));
        image_manifest(media_type::OCI_MANIFEST, config, layers, BTreeMap::new())
    }

    fn index(&self, manifests: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Manifest {
        let kind = if self.form.docker_types { media_type::DOCKER_INDEX } else { media_type::OCI_INDEX };
        Manifest::from_body(ManifestBody::Index(ImageIndex {
            schema_version: 2,
            media_type: Some(kind.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations,
        }))
    }
}

fn image_manifest(
    kind: &str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Manifest {
    Manifest::from_body(ManifestBody::Image(ImageManifest {
        schema_version: 2,
        media_type: Some(kind.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations,
    }))
}
