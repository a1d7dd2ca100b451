//! Images of registries joined to one index, at the registry: what `buildx imagetools create` does.
//!
//! Not here: lists that are put together over several commands (`manifest_lists.rs`). Invariant: nothing comes into
//! the store, and the index appears after everything that it lists.

use crate::Engine;
use crate::build::{Annotated, BuildAnnotation, annotation_words};
use berth_oci::{
    CopyOptions, Descriptor, Digest, Error, ImageIndex, Manifest, ManifestBody, Platforms, Reference, Result,
    Silent, Sink, Source, copy, media_type,
};

/// Something to be joined: an image of a registry, perhaps with its entry as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSource {
    /// Where it is.
    pub name: Reference,
    /// What its entry says; `None`: what its manifest and config say.
    pub entry: Option<Descriptor>,
}

/// An index that nobody has yet, or a manifest that gets another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedList {
    /// It.
    pub manifest: Manifest,
    /// Where its parts are.
    parts: Vec<Reference>,
}

impl Engine {
    /// Joins images. One alone, of which nothing new is said, stays what it is.
    ///
    /// # Errors
    /// One of them does not exist, or its registry cannot be reached.
    pub fn join_images(
        &self,
        sources: &[ListSource],
        platforms: &[berth_oci::Platform],
        annotations: &[BuildAnnotation],
    ) -> Result<JoinedList> {
        let mut roots = Vec::with_capacity(sources.len());
        for source in sources {
            let name = match &source.entry {
                Some(entry) => source.name.name_only().with_digest(entry.digest.clone()),
                None => source.name.clone(),
            };
            roots.push((self.remote_manifest(&name, false)?, name, source.entry.clone()));
        }
        if let ([(manifest, name, None)], true, true) =
            (&roots[..], annotations.is_empty(), platforms.is_empty())
        {
            let parts = vec![name.name_only().with_digest(manifest.digest().clone())];
            return Ok(JoinedList { manifest: manifest.clone(), parts });
        }
        let (mut entries, mut parts): (Vec<Descriptor>, Vec<Reference>) = (Vec::new(), Vec::new());
        for (manifest, name, entry) in roots {
            let found = match (manifest.index(), entry) {
                (Some(index), None) => index.manifests.clone(),
                (_, Some(entry)) => vec![entry],
                (None, None) => {
                    let platform = self.remote_platform(&name, &manifest, false)?;
                    vec![Descriptor { platform, ..manifest.descriptor() }]
                }
            };
            for entry in found {
                // The later one counts: `--append` is there to replace, too.
                entries.retain(|known| known.digest != entry.digest);
                parts.push(name.name_only().with_digest(entry.digest.clone()));
                entries.push(entry);
            }
        }
        let wanted = |entry: &Descriptor| {
            let about = entry.annotation("vnd.docker.reference.digest");
            platforms.is_empty()
                || entry.platform.as_ref().is_some_and(|platform| platforms.contains(platform))
                || about.is_some_and(|about| {
                    entries.iter().any(|other| {
                        other.digest.as_str() == about
                            && other.platform.as_ref().is_some_and(|platform| platforms.contains(platform))
                    })
                })
        };
        let mut kept: Vec<Descriptor> = entries.iter().filter(|entry| wanted(entry)).cloned().collect();
        if kept.is_empty() {
            return Err(Error::not_found("none of the images is for the platforms that are wanted"));
        }
        for entry in &mut kept {
            let words = annotation_words(annotations, Annotated::ManifestDescriptor, entry.platform.as_ref());
            entry.annotations.extend(words);
        }
        parts.retain(|part| kept.iter().any(|entry| Some(&entry.digest) == part.digest()));
        let manifest = Manifest::from_body(ManifestBody::Index(ImageIndex {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: kept,
            subject: None,
            annotations: annotation_words(annotations, Annotated::Index, None),
        }));
        Ok(JoinedList { manifest, parts })
    }

    /// Puts a joined list to a registry, with what its repository lacks.
    ///
    /// # Errors
    /// The registry does not take it, or a part has gone meanwhile.
    pub fn push_joined(&self, list: &JoinedList, to: &Reference) -> Result<Digest> {
        let client = self.client();
        for part in &list.parts {
            if part.name() == to.name() {
                continue;
            }
            let digest = part.digest().cloned();
            let digest = digest.ok_or_else(|| Error::internal("a part has no digest"))?;
            let mount_from = |_: &Digest| vec![part.name_only()];
            let by_digest = to.name_only().with_digest(digest);
            let sink = client.sink(&by_digest, &mount_from, &Silent)?;
            let options = CopyOptions { platforms: Platforms::All, jobs: self.settings().jobs };
            copy(&client.source(part, &Silent)?, &sink, &options, &Silent)?;
        }
        client.sink(to, &|_| Vec::new(), &Silent)?.put_manifest(&list.manifest, true)?;
        Ok(list.manifest.digest().clone())
    }

    /// A document of an image at a registry: a config, a statement; verified and bounded.
    ///
    /// # Errors
    /// It is not there, is something else, or has more than `limit` bytes.
    pub fn remote_document(&self, name: &Reference, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if descriptor.size > limit {
            return Err(Error::invalid(format!("{} has more than {limit} bytes", descriptor.digest)));
        }
        let source = self.client().source(name, &Silent)?;
        let mut bytes = Vec::new();
        let mut reader = berth_oci::Verified::new(source.blob(descriptor, 0)?, descriptor);
        std::io::Read::read_to_end(&mut reader, &mut bytes)?;
        Ok(bytes)
    }
}
