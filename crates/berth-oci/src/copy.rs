//! [`copy`]: pull, push, save, load and mirror are all this one function.
//!
//! Invariant: blobs go first, then the manifests of an index, then its root; whoever sees a manifest at the sink
//! finds everything it points to there.

use crate::{BlobState, Descriptor, Error, Event, Kind, Manifest, Platform, Progress, Result, media_type};
use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the bytes of one image come from: a name in the store, in a registry, in an archive.
pub trait Source: Sync {
    /// The manifest or index that the name means.
    ///
    /// # Errors
    /// The source does not have it, or cannot be reached.
    fn root(&self) -> Result<Manifest>;

    /// A manifest that an index points to.
    ///
    /// # Errors
    /// As [`root`](Self::root), or its bytes do not match the descriptor.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest>;

    /// The bytes of a blob from `offset` on, **not** verified: the sink does that (see [`Verified`](crate::Verified)).
    ///
    /// # Errors
    /// As [`root`](Self::root).
    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>>;

    /// The bytes of that blob were wrong (`why`). Whether it is worth asking for it again: true for a source that has
    /// several places, will not use the one that lied any more, and has another one left.
    ///
    /// # Errors
    /// Whoever looks at the progress cancelled the copy.
    fn distrust(&self, _descriptor: &Descriptor, _why: &Error) -> Result<bool> {
        Ok(false)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn root(&self) -> Result<Manifest> {
        (**self).root()
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        (**self).manifest(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        (**self).blob(descriptor, offset)
    }

    fn distrust(&self, descriptor: &Descriptor, why: &Error) -> Result<bool> {
        (**self).distrust(descriptor, why)
    }
}

/// Where the bytes of one image go.
pub trait Sink: Sync {
    /// Whether the blob need not be sent.
    ///
    /// # Errors
    /// The sink cannot be asked.
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool>;

    /// Takes a blob in, verifying size and digest; keeps nothing, or a resumable part, of one that is wrong.
    ///
    /// # Errors
    /// The bytes are wrong, the source broke off, or the sink is full.
    fn put_blob(&self, blob: &Blob<'_>) -> Result<()>;

    /// Takes a manifest in, whose blobs and children are there already. `is_root`: it gets the sink's name, too.
    ///
    /// # Errors
    /// The sink refuses it.
    fn put_manifest(&self, manifest: &Manifest, is_root: bool) -> Result<()>;
}

/// A blob on its way: opens its bytes as often as the sink needs, and reports each of them.
pub struct Blob<'a> {
    descriptor: &'a Descriptor,
    source: &'a dyn Source,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
}

impl<'a> Blob<'a> {
    /// A blob outside of a [`copy`]; `stop` cancels it.
    #[must_use]
    pub fn new(
        descriptor: &'a Descriptor,
        source: &'a dyn Source,
        progress: &'a dyn Progress,
        stop: &'a AtomicBool,
    ) -> Self {
        Self { descriptor, source, progress, stop }
    }

    /// What it should be.
    #[must_use]
    pub fn descriptor(&self) -> &'a Descriptor {
        self.descriptor
    }

    /// Its bytes from `offset` on, not verified.
    ///
    /// # Errors
    /// The source cannot deliver them.
    pub fn open(&self, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let inner = self.source.blob(self.descriptor, offset)?;
        Ok(Box::new(Reported { inner, blob: self, done: offset }))
    }

    /// Tells the progress what happens to this blob.
    ///
    /// # Errors
    /// Whoever looks at the progress cancelled the copy, or another blob of it failed.
    pub fn report(&self, state: BlobState) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::cancelled("the transfer was stopped"));
        }
        let flow = self.progress.report(Event::Blob { descriptor: self.descriptor, state });
        if flow.is_break() {
            self.stop.store(true, Ordering::Relaxed);
            return Err(Error::cancelled("the transfer was stopped"));
        }
        Ok(())
    }
}

/// Reports what was read and notices a cancellation.
struct Reported<'a> {
    inner: Box<dyn Read + Send + 'a>,
    blob: &'a Blob<'a>,
    done: u64,
}

impl Read for Reported<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        self.blob.report(BlobState::Transferring { done: self.done })?;
        Ok(count)
    }
}

/// Which images of an index a copy takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All of them, attestations and whatever else the index points to included.
    All,
    /// The best one for this platform; an error if there is none.
    One(Platform),
    /// Those that the source has completely: [`Source::manifest`] of the others answers `NotFound`.
    Available,
}

/// How a copy goes about it.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Which images of an index.
    pub platforms: Platforms,
    /// How many blobs move at once.
    pub jobs: usize,
}

/// Copies the image that `source` names to where `sink` names it; answers its root manifest.
///
/// # Errors
/// The first error of any part; the others are stopped. What has arrived by then stays at the sink, unnamed.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let root = source.root()?;
    let flow = progress.report(Event::Resolved { digest: root.digest() });
    if flow.is_break() {
        return Err(Error::cancelled("the transfer was stopped"));
    }
    let manifests = select(source, &root, &options.platforms, 0)?;
    copy_blobs(source, sink, needed_blobs(&manifests, &root), options.jobs, progress)?;
    for manifest in manifests.iter().filter(|m| m.digest() != root.digest()) {
        sink.put_manifest(manifest, false)?;
    }
    sink.put_manifest(&root, true)?;
    Ok(root)
}

/// Indexes may hold indexes; nobody nests them deeper than this.
const DEPTH_LIMIT: usize = 4;

/// The manifests below `root` that the copy takes along, children before parents, without `root` itself.
fn select(
    source: &dyn Source,
    root: &Manifest,
    platforms: &Platforms,
    depth: usize,
) -> Result<Vec<Manifest>> {
    if depth > DEPTH_LIMIT {
        return Err(Error::invalid(format!("the index nests deeper than {DEPTH_LIMIT} levels")));
    }
    let Some(index) = root.index() else { return Ok(Vec::new()) };
    let chosen: Vec<&Descriptor> = match platforms {
        Platforms::All | Platforms::Available => index.manifests.iter().collect(),
        Platforms::One(platform) => vec![choose(platform, &index.manifests)?],
    };
    let mut found = Vec::new();
    for descriptor in chosen {
        let manifest = match source.manifest(descriptor) {
            Err(e) if e.kind() == Kind::NotFound && *platforms == Platforms::Available => continue,
            answer => answer?,
        };
        found.extend(select(source, &manifest, platforms, depth + 1)?);
        found.push(manifest);
    }
    Ok(found)
}

/// The best of an index's children for `platform`.
fn choose<'a>(platform: &Platform, children: &'a [Descriptor]) -> Result<&'a Descriptor> {
    let offers = || children.iter().filter_map(|d| d.platform.as_ref().map(|p| (p, d)));
    if let Some(best) = platform.best(offers()) {
        return Ok(best);
    }
    // An index without platforms (a saved archive) has one image to offer, or none that we could choose.
    let unlabelled: Vec<_> = children.iter().filter(|d| d.platform.is_none()).collect();
    if let ([only], true) = (&unlabelled[..], children.len() == 1) {
        return Ok(only);
    }
    let known: Vec<String> =
        offers().map(|(p, _)| p.to_string()).filter(|p| !p.starts_with("unknown")).collect();
    Err(Error::not_found(format!("no matching manifest for {platform} in the manifest list entries")).hint(
        format!(
            "the image exists for: {}",
            if known.is_empty() { "no platform at all".into() } else { known.join(", ") }
        ),
    ))
}

/// Every blob once: the largest first, so that the last one to arrive is a small one.
fn needed_blobs<'a>(manifests: &'a [Manifest], root: &'a Manifest) -> Vec<&'a Descriptor> {
    let mut seen = HashSet::new();
    let all = manifests.iter().chain([root]).flat_map(Manifest::blobs);
    let mut blobs: Vec<_> = all.filter(|d| seen.insert(&d.digest)).collect();
    blobs
        .sort_by_key(|d| (media_type::layer_compression(&d.media_type).is_some(), std::cmp::Reverse(d.size)));
    blobs
}

fn copy_blobs(
    source: &dyn Source,
    sink: &dyn Sink,
    blobs: Vec<&Descriptor>,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let blob = |descriptor| Blob { descriptor, source, progress, stop: &stop };
    let mut missing = Vec::new();
    for descriptor in blobs {
        let exists = sink.has_blob(descriptor)?;
        blob(descriptor).report(if exists { BlobState::Exists } else { BlobState::Waiting })?;
        if !exists {
            missing.push(descriptor);
        }
    }
    let jobs = jobs.clamp(1, missing.len().max(1));
    let queue = Mutex::new(missing.into_iter());
    let first_error = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(descriptor) = next(&queue, &stop) {
                    let blob = blob(descriptor);
                    if let Err(error) = put(sink, &blob).and_then(|()| blob.report(BlobState::Done)) {
                        stop.store(true, Ordering::Relaxed);
                        first_error.lock().expect("no thread panics with this lock").get_or_insert(error);
                    }
                }
            });
        }
    });
    first_error.into_inner().expect("no thread panics with this lock").map_or(Ok(()), Err)
}

/// Wrong bytes from a mirror are not the end, as long as somebody else has the blob.
fn put(sink: &dyn Sink, blob: &Blob<'_>) -> Result<()> {
    loop {
        match sink.put_blob(blob) {
            Err(error)
                if error.kind() == Kind::Corrupt && blob.source.distrust(blob.descriptor, &error)? => {}
            answer => return answer,
        }
    }
}

fn next<'a>(
    queue: &Mutex<impl Iterator<Item = &'a Descriptor>>,
    stop: &AtomicBool,
) -> Option<&'a Descriptor> {
    match stop.load(Ordering::Relaxed) {
        true => None,
        false => queue.lock().expect("no thread panics with this lock").next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, ImageIndex, ImageManifest, ManifestBody, Silent, Verified};
    use std::collections::HashMap;
    use std::ops::ControlFlow;

    #[derive(Default)]
    struct Memory {
        blobs: Mutex<HashMap<Digest, Vec<u8>>>,
        manifests: Mutex<HashMap<Digest, Manifest>>,
        root: Mutex<Option<Manifest>>,
    }

    impl Memory {
        fn add(&self, kind: &str, bytes: &[u8]) -> Descriptor {
            let descriptor = Descriptor::of(kind, bytes);
            self.blobs.lock().unwrap().insert(descriptor.digest.clone(), bytes.to_vec());
            descriptor
        }

        fn image(&self, name: &str) -> Manifest {
            let config = self.add(media_type::OCI_CONFIG, name.as_bytes());
            let layers = vec![
                self.add(media_type::OCI_LAYER, b"base"),
                self.add(media_type::OCI_LAYER, format!("layer {name}").as_bytes()),
            ];
            let manifest = Manifest::from_body(ManifestBody::Image(ImageManifest {
                schema_version: 2,
                media_type: None,
                artifact_type: None,
                config,
                layers,
                subject: None,
                annotations: Default::default(),
            }));
            self.put_manifest(&manifest, true).unwrap();
            manifest
        }

        fn index(&self, platforms: &[&str]) -> Manifest {
            let child =
                |p: &&str| Descriptor { platform: Some(p.parse().unwrap()), ..self.image(p).descriptor() };
            let manifests = platforms.iter().map(child).collect();
            let index = ImageIndex {
                schema_version: 2,
                media_type: None,
                artifact_type: None,
                manifests,
                subject: None,
                annotations: Default::default(),
            };
            let index = Manifest::from_body(ManifestBody::Index(index));
            self.put_manifest(&index, true).unwrap();
            index
        }
    }

    impl Source for Memory {
        fn root(&self) -> Result<Manifest> {
            self.root.lock().unwrap().clone().ok_or_else(|| Error::not_found("no root"))
        }
        fn manifest(&self, d: &Descriptor) -> Result<Manifest> {
            self.manifests
                .lock()
                .unwrap()
                .get(&d.digest)
                .cloned()
                .ok_or_else(|| Error::not_found("no manifest"))
        }
        fn blob(&self, d: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
            let bytes = self.blobs.lock().unwrap()[&d.digest][offset as usize..].to_vec();
            Ok(Box::new(io::Cursor::new(bytes)))
        }
    }

    impl Sink for Memory {
        fn has_blob(&self, d: &Descriptor) -> Result<bool> {
            Ok(self.blobs.lock().unwrap().contains_key(&d.digest))
        }
        fn put_blob(&self, blob: &Blob<'_>) -> Result<()> {
            let mut bytes = Vec::new();
            Verified::new(blob.open(0)?, blob.descriptor()).read_to_end(&mut bytes)?;
            self.blobs.lock().unwrap().insert(blob.descriptor().digest.clone(), bytes);
            Ok(())
        }
        fn put_manifest(&self, m: &Manifest, is_root: bool) -> Result<()> {
            for needed in m.blobs() {
                assert!(self.has_blob(needed).unwrap(), "a manifest came before its blobs");
            }
            self.manifests.lock().unwrap().insert(m.digest().clone(), m.clone());
            if is_root {
                *self.root.lock().unwrap() = Some(m.clone());
            }
            Ok(())
        }
    }

    fn options(platforms: Platforms) -> CopyOptions {
        CopyOptions { platforms, jobs: 3 }
    }

    #[test]
    fn one_platform_takes_only_its_own() {
        let (a, b) = (Memory::default(), Memory::default());
        let index = a.index(&["linux/amd64", "linux/arm64", "linux/s390x"]);
        let one = options(Platforms::One("linux/arm64".parse().unwrap()));
        assert_eq!(copy(&a, &b, &one, &Silent).unwrap(), index);
        assert_eq!((b.manifests.lock().unwrap().len(), b.blobs.lock().unwrap().len()), (2, 3));
        let c = Memory::default();
        copy(&b, &c, &options(Platforms::Available), &Silent).unwrap();
        assert_eq!(c.manifests.lock().unwrap().len(), 2);
        assert_eq!(copy(&b, &c, &options(Platforms::All), &Silent).unwrap_err().kind(), Kind::NotFound);
        let none = options(Platforms::One("linux/riscv64".parse().unwrap()));
        assert!(copy(&a, &c, &none, &Silent).unwrap_err().hint_text().unwrap().contains("linux/arm64"));
    }

    #[test]
    fn a_wrong_blob_never_gets_a_manifest() {
        let (a, b) = (Memory::default(), Memory::default());
        let image = a.image("x");
        let layer = &image.image().unwrap().layers[1];
        a.blobs.lock().unwrap().insert(layer.digest.clone(), b"evil".to_vec());
        assert_eq!(copy(&a, &b, &options(Platforms::All), &Silent).unwrap_err().kind(), Kind::Corrupt);
        assert!(b.manifests.lock().unwrap().is_empty());
    }

    #[test]
    fn whoever_looks_can_cancel() {
        let (a, b) = (Memory::default(), Memory::default());
        a.image("x");
        let stop_at_bytes = |event: Event<'_>| match event {
            Event::Blob { state: BlobState::Transferring { .. }, .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        assert_eq!(
            copy(&a, &b, &options(Platforms::All), &stop_at_bytes).unwrap_err().kind(),
            Kind::Cancelled
        );
        assert!(b.root.lock().unwrap().is_none());
    }
}
