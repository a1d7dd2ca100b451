//! Archives written front to back: what `docker save` writes since docker 25, or a plain OCI archive.
//!
//! Both are an OCI layout in a tar; docker's has a `manifest.json` on top, so that every docker and podman reads
//! it. Invariant: an archive whose writing failed once is never finished.

use super::index::blob_name;
use super::layout::{VERSION, empty_index};
use super::{naming, tar_writer};
use berth_oci::{
    Blob, Descriptor, Digest, Error, ImageManifest, Manifest, Platform, Reference, Result, Sink, Verified,
};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard};

/// Which kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// What `docker load` reads, and everything that reads OCI archives.
    Docker,
    /// Without docker's additions.
    Oci,
}

/// An archive that is being written; threads take turns.
pub struct ArchiveWriter<W> {
    format: ArchiveFormat,
    state: Mutex<State<W>>,
}

struct State<W> {
    out: W,
    broken: bool,
    blobs: HashSet<Digest>,
    manifests: HashMap<Digest, Manifest>,
    entries: Vec<Descriptor>,
    images: Vec<DockerImage>,
}

/// An entry of docker's manifest.json.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl<W: Write + Send> ArchiveWriter<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// `out` takes no bytes.
    pub fn new(mut out: W, format: ArchiveFormat) -> Result<Self> {
        tar_writer::directory(&mut out, "blobs/")?;
        tar_writer::directory(&mut out, "blobs/sha256/")?;
        let state = State {
            out,
            broken: false,
            blobs: HashSet::new(),
            manifests: HashMap::new(),
            entries: Vec::new(),
            images: Vec::new(),
        };
        Ok(Self { format, state: Mutex::new(state) })
    }

    /// Where one image goes, with all of its names.
    #[must_use]
    pub fn sink(&self, names: &[Reference]) -> ArchiveSink<'_, W> {
        ArchiveSink { writer: self, names: names.to_vec() }
    }

    /// Writes what lists the images, and ends the archive.
    ///
    /// # Errors
    /// Something failed before, or `out` takes no more bytes.
    pub fn finish(self) -> Result<W> {
        let mut state = self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.broken {
            return Err(broken());
        }
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("these have string keys only");
        let index = json(serde_json::to_vec(&empty_index(std::mem::take(&mut state.entries))));
        state.file("index.json", &index)?;
        if self.format == ArchiveFormat::Docker {
            let images = json(serde_json::to_vec(&state.images));
            state.file("manifest.json", &images)?;
        }
        state.file("oci-layout", VERSION)?;
        tar_writer::end(&mut state.out)?;
        state.out.flush()?;
        Ok(state.out)
    }

    fn state(&self) -> Result<MutexGuard<'_, State<W>>> {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.broken { Err(broken()) } else { Ok(state) }
    }
}

fn broken() -> Error {
    Error::conflict("the archive is incomplete: writing it failed before")
}

impl<W: Write> State<W> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.stream(name, bytes.len() as u64, &mut &*bytes)
    }

    /// Whatever goes wrong in here leaves half an entry behind, after which nothing can follow.
    fn stream(&mut self, name: &str, size: u64, bytes: &mut dyn Read) -> Result<()> {
        self.broken = true;
        tar_writer::file(&mut self.out, name, size, bytes)?;
        self.broken = false;
        Ok(())
    }

    /// What docker's list says about an image: of an index the best one for this machine that is in the archive.
    fn docker_image(&self, root: &Manifest, names: &[Reference]) -> Option<DockerImage> {
        let image = match root.image() {
            Some(image) => image,
            None => self.best(root)?,
        };
        let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
        Some(DockerImage {
            config: blob_name(&image.config.digest),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: image.layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
        })
    }

    fn best(&self, index: &Manifest) -> Option<&ImageManifest> {
        let children = index.children().iter();
        let here = children.filter_map(|child| {
            let image = self.manifests.get(&child.digest)?.image()?;
            Some((child.platform.as_ref()?, image))
        });
        let here: Vec<_> = here.filter(|(platform, _)| platform.os != "unknown").collect();
        let best = Platform::host().best(here.iter().map(|(platform, image)| (*platform, *image)));
        best.or(here.first().map(|(_, image)| *image))
    }
}

/// See [`ArchiveWriter::sink`].
pub struct ArchiveSink<'a, W> {
    writer: &'a ArchiveWriter<W>,
    names: Vec<Reference>,
}

impl<W: Write + Send> Sink for ArchiveSink<'_, W> {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.writer.state()?.blobs.contains(&descriptor.digest))
    }

    fn put_blob(&self, blob: &Blob<'_>) -> Result<()> {
        let descriptor = blob.descriptor();
        // Opened before the lock is taken: a slow source should not keep another one waiting longer than it must.
        let mut bytes = Verified::new(blob.open(0)?, descriptor);
        let mut state = self.writer.state()?;
        if state.blobs.contains(&descriptor.digest) {
            return Ok(());
        }
        state.stream(&blob_name(&descriptor.digest), descriptor.size, &mut bytes)?;
        // The digest is compared at the end of the stream, which `size` bytes alone do not reach.
        if let Err(error) = std::io::copy(&mut bytes, &mut std::io::sink()) {
            state.broken = true;
            return Err(error.into());
        }
        state.blobs.insert(descriptor.digest.clone());
        Ok(())
    }

    fn put_manifest(&self, manifest: &Manifest, is_root: bool) -> Result<()> {
        let mut state = self.writer.state()?;
        if state.blobs.insert(manifest.digest().clone()) {
            state.file(&blob_name(manifest.digest()), manifest.raw())?;
        }
        state.manifests.insert(manifest.digest().clone(), manifest.clone());
        if !is_root {
            return Ok(());
        }
        let descriptor = manifest.descriptor();
        let entries = self.names.iter().map(|name| naming::named(descriptor.clone(), Some(name)));
        let entries: Vec<_> = entries.collect();
        let is_unnamed = entries.is_empty();
        state.entries.extend(entries);
        state.entries.extend(is_unnamed.then_some(descriptor));
        let image = state.docker_image(manifest, &self.names);
        state.images.extend(image);
        Ok(())
    }
}
