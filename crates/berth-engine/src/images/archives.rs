//! Images into archives and out of them.
//!
//! Invariant: an archive's images arrive with the digests they have in it, and leave with the digests they have
//! here, unless the answer says otherwise.

use super::origin::Origins;
use super::substitute::{lost_layer, plain};
use crate::Engine;
use berth_oci::{
    AtPath, CopyOptions, Digest, Event, Manifest, Platform, Platforms, Progress, Reference, Result, Source,
    copy,
};
use berth_store::archives::{Archive, ArchiveFormat, ArchiveWriter};
use berth_store::{IngestOptions, Protected, Store};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// An image that came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub target: Digest,
    /// The names it got.
    pub names: Vec<Reference>,
}

impl Engine {
    /// Opens an archive file or an OCI layout directory.
    ///
    /// # Errors
    /// It cannot be read, or is no archive of images.
    pub fn open_archive(&self, path: &Path) -> Result<Archive> {
        Archive::open(path, &self.spool()?)
    }

    /// Reads an archive from a stream.
    ///
    /// # Errors
    /// It cannot be read, or is no archive of images.
    pub fn read_archive(&self, reader: impl Read + Send) -> Result<Archive> {
        Archive::read(reader, &self.spool()?)
    }

    /// Where what has to be read twice may lie meanwhile.
    fn spool(&self) -> Result<PathBuf> {
        let directory = self.store()?.location().root.join("tmp");
        std::fs::create_dir_all(&directory).at(&directory)?;
        Ok(directory)
    }

    /// Takes all images of an archive in; `loaded` hears of each one as it arrives.
    ///
    /// # Errors
    /// An image is damaged or hostile, or the disk is full. Those before it stay.
    pub fn load(
        &self,
        archive: &Archive,
        platforms: &Platforms,
        progress: &dyn Progress,
        mut loaded: impl FnMut(Loaded) -> Result<()>,
    ) -> Result<()> {
        let store = self.store()?;
        for image in archive.images() {
            let lease = store.lease()?;
            let options = IngestOptions { keep_blobs: self.settings().keep_blobs, origin: None };
            let sink = store.sink(image.names.first(), options, &lease);
            let root = copy(&archive.source(image), &sink, &self.copying(platforms), progress)?;
            for name in image.names.iter().skip(1) {
                store.tag(root.digest(), name)?;
            }
            loaded(Loaded { target: root.digest().clone(), names: image.names.clone() })?;
        }
        Ok(())
    }

    /// Writes images into one archive; answers what the archive was written to. An image that is named by its id
    /// gets no name in there.
    ///
    /// # Errors
    /// No such image, or not here for that platform; `out` takes no more bytes.
    pub fn save<W: Write + Send>(
        &self,
        images: &[String],
        platform: Option<&Platform>,
        format: ArchiveFormat,
        out: W,
        progress: &dyn Progress,
    ) -> Result<W> {
        let store = self.store()?;
        let lease = store.lease()?;
        let mut wanted: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        for text in images {
            let record = store.resolve(text)?;
            let name = super::remove::name_meant(text, &record).filter(|name| name.tag().is_some());
            wanted.entry(record.target).or_default().extend(name);
        }
        let targets: Vec<Protected<'_>> = wanted.keys().map(Protected::Image).collect();
        lease.protect(&targets)?;
        let writer = ArchiveWriter::new(out, format)?;
        for (target, names) in &wanted {
            let sink = writer.sink(names);
            self.with_local(store, target, platform, progress, &mut |source| {
                copy(source, &sink, &self.copying(&Platforms::Available), progress).map(drop)
            })?;
        }
        writer.finish()
    }

    /// Calls `then` with an image of the store as a source that has every byte of it: compressed layers from where
    /// they came from or, where that is gone, as plain tars, which gives the image another digest.
    pub(crate) fn with_local(
        &self,
        store: &Store,
        target: &Digest,
        platform: Option<&Platform>,
        progress: &dyn Progress,
        then: &mut dyn FnMut(&dyn Source) -> Result<()>,
    ) -> Result<()> {
        let root = match platform {
            Some(platform) => store.platform_image(target, Some(platform))?.manifest,
            None => store.manifest(target)?,
        };
        let origins = Origins::new(self.client(), progress);
        let source = store.source(root.digest(), Some(&origins));
        let Some(lost) = self.first_lost(store, &root, &source)? else { return then(&source) };
        let image = match root.image() {
            Some(_) => root,
            None => store.platform_image(target, platform)?.manifest,
        };
        let note = format!("{lost}; layers go uncompressed, which gives the image another digest");
        super::pull::stop_if(progress.report(Event::Note(&note)).is_break())?;
        then(&plain(store, &image, &source)?)
    }

    /// Why the first layer that cannot be had in its compressed form cannot.
    pub(crate) fn first_lost(
        &self,
        store: &Store,
        root: &Manifest,
        source: &dyn Source,
    ) -> Result<Option<berth_oci::Error>> {
        if root.image().is_some() {
            return lost_layer(store, root, source);
        }
        for child in root.children() {
            // Children that are not here do not travel.
            let Ok(manifest) = store.manifest(&child.digest) else { continue };
            if let Some(lost) = self.first_lost(store, &manifest, source)? {
                return Ok(Some(lost));
            }
        }
        Ok(None)
    }

    pub(crate) fn copying(&self, platforms: &Platforms) -> CopyOptions {
        CopyOptions { platforms: platforms.clone(), jobs: self.settings().jobs }
    }
}
