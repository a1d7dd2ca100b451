//! One pass over a layer: two threads, both digests, the tar on the disk and its index in memory.
//!
//! ```text
//! feed:    reader → (digest of zstd) → inflate ─┐ 8 buffers of 128 KiB ┌→ (digest of gzip, partial file)
//!                                               └──────────────────────┴→ diff ID → tar → scan → index
//! ```

use super::bounds::Bounds;
use super::extract::Extractor;
use super::feed::{BUFFERS, Belt, Buffer, Parcel, Stop, feed};
use super::inflate::{Inflater, detect};
use super::owner::Owner;
use super::ready::{Content, Form, IngestedLayer, allocated};
use super::settle::{Compressed, Settler, Target};
use super::temporary::Temporary;
use super::tree::Tree;
use crate::erofs::{Identity, Plan, Tail};
use berth_oci::media_type::{self, Compression};
use berth_oci::{Algorithm, AtPath, Context, Descriptor, Digest, Error, Hasher, Kind, Result};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// What to do with which layer.
#[derive(Clone, Copy, Debug)]
pub struct IngestPlan<'a> {
    /// The compressed layer's size and digest, which are checked. `None`: whatever comes is right.
    pub expected: Option<&'a Descriptor>,
    /// The diff ID that the image's config promises, which is checked.
    pub diff_id: Option<&'a Digest>,
    /// A directory on the store's disk for what is not finished.
    pub temporary: &'a Path,
    /// Remembers the compressed bytes; those that are there from an earlier try are not asked for again.
    pub partial: Option<&'a Path>,
    /// Whether the partial file stays, complete and synced, when the layer has arrived.
    pub keep_compressed: bool,
    /// How to keep the layer.
    pub form: Form,
    /// What it may cost.
    pub bounds: Bounds,
}

/// Opens a layer's bytes from an offset on.
pub type Open<'a> = dyn Fn(u64) -> Result<Box<dyn Read + Send + 'a>> + 'a;

/// Takes a layer in. Its bytes are verified on the way; the result still wants [`IngestedLayer::commit`].
///
/// # Errors
/// The bytes are not what was promised, no layer at all, or harmful (`Corrupt`, `Unsupported`): nothing stays. The
/// source broke off or was cancelled: what came stays in the partial file for the next try.
pub fn ingest(plan: &IngestPlan<'_>, open: &Open<'_>) -> Result<IngestedLayer> {
    let known = known_bytes(plan)?;
    match attempt(plan, open, known) {
        // What an earlier try left behind may have been harmed by a power failure.
        Err(Failure::Bytes(_)) if known > 0 => {
            forget(plan)?;
            attempt(plan, open, 0)
        }
        answer => answer,
    }
    .map_err(|failure| match failure {
        Failure::Source(error) => error,
        // The first failure is what there is to say; what cannot be removed now is swept later.
        Failure::Bytes(error) => {
            let _ = forget(plan);
            error
        }
    })
    .context(|| name(plan))
}

/// Whether what came so far is still good.
enum Failure {
    Source(Error),
    Bytes(Error),
}

/// Everything that is ours to fail: the bytes, the disk. A full disk does not make bytes bad.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            Kind::Corrupt | Kind::Unsupported => Self::Bytes(error),
            _ => Self::Source(error),
        }
    }
}

fn name(plan: &IngestPlan<'_>) -> String {
    match (plan.expected, plan.diff_id) {
        (Some(expected), _) => format!("layer {}", expected.digest),
        (None, Some(diff_id)) => format!("layer {diff_id}"),
        (None, None) => "the layer".to_owned(),
    }
}

/// How much of the layer an earlier try left behind.
fn known_bytes(plan: &IngestPlan<'_>) -> Result<u64> {
    let Some(path) = plan.partial else { return Ok(0) };
    let length = match path.metadata() {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e).at(path),
    };
    match plan.expected {
        Some(expected) if length <= expected.size => Ok(length),
        _ => forget(plan).map(|()| 0),
    }
}

fn forget(plan: &IngestPlan<'_>) -> Result<()> {
    match plan.partial {
        Some(path) => crate::disk::remove(path),
        None => Ok(()),
    }
}

fn attempt(plan: &IngestPlan<'_>, open: &Open<'_>, known: u64) -> Result<IngestedLayer, Failure> {
    let partial = plan.partial.map(open_partial).transpose()?;
    let size = plan.expected.map(|expected| expected.size);
    let earlier: Box<dyn Read> = match (&partial, plan.partial) {
        (Some(_), Some(path)) => Box::new(File::open(path).at(path)?.take(known)),
        _ => Box::new(io::empty()),
    };
    let rest: Box<dyn Read> = match size == Some(known) {
        true => Box::new(io::empty()),
        false => open(known).map_err(Failure::Source)?,
    };
    let mut reader = earlier.chain(rest);
    let mut first = Buffer::new();
    if let Err(error) = first.fill(&mut reader) {
        Compressed::new(None, plan.expected, partial, known).take(first.filled())?;
        return Err(Failure::Source(error));
    }
    let compression = detect(first.filled())?;
    let diff_algorithm = plan.diff_id.map_or(Algorithm::Sha256, Digest::algorithm);
    let blob_algorithm = plan.expected.map_or(Algorithm::Sha256, |expected| expected.digest.algorithm());
    let is_plain = compression == Compression::None && diff_algorithm == blob_algorithm;
    let hasher = (!is_plain).then(|| Hasher::new(blob_algorithm));
    let compressed = Compressed::new(hasher, plan.expected, partial, known);
    let settler = Settler::new(diff_algorithm, plan.bounds, target(plan)?);
    let (settler, compressed, inflater) = run(plan, compression, first, &mut reader, settler, compressed)?;
    let (blob_digest, length) = compressed.finish();
    check_size(plan, length)?;
    inflater.as_ref().map_or(Ok(()), Inflater::finish)?;
    let (diff_id, tar_size, entries, target) = settler.finish()?;
    let blob_digest = blob_digest.unwrap_or_else(|| diff_id.clone());
    check_digests(plan, &blob_digest, &diff_id)?;
    let (content, index_size) = settle_content(plan, target, tar_size, &diff_id)?;
    settle_partial(plan)?;
    Ok(IngestedLayer {
        compressed: descriptor(plan, compression, blob_digest, length),
        diff_id,
        compression,
        tar_size,
        index_size,
        entries,
        form: plan.form,
        content,
        temporary: plan.temporary.to_owned(),
    })
}

fn open_partial(path: &Path) -> Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path).at(path)
}

fn target(plan: &IngestPlan<'_>) -> Result<Target> {
    Ok(match plan.form {
        Form::Erofs => Target::Erofs { tar: Temporary::new(plan.temporary)?, tree: Tree::new() },
        Form::Directory => Target::Directory(Extractor::new(plan.temporary, Owner::of_process()?)?),
    })
}

/// Both threads, until the reader's end.
fn run(
    plan: &IngestPlan<'_>,
    compression: Compression,
    first: Buffer,
    reader: &mut dyn Read,
    settler: Settler,
    compressed: Compressed,
) -> Result<(Settler, Compressed, Option<Inflater>), Failure> {
    let inflater = Inflater::new(compression)?;
    // Inflating gzip takes longer than all the rest, zstd does not: the digest goes where time is.
    let is_here = compression == Compression::Zstd;
    let (belt, parcels, returned) = belt();
    thread::scope(|scope| {
        let (mut here, travelling) =
            if is_here { (Some(compressed), None) } else { (None, Some(compressed)) };
        let worker = scope.spawn(move || settle(settler, travelling, parcels, returned, plan.temporary));
        let fed = feed(&belt, first, reader, inflater, here.as_mut());
        drop(belt);
        let settled = match worker.join() {
            Ok(settled) => settled,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match (settled, fed) {
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(Stop::Source(error))) => Err(Failure::Source(error)),
            (Ok(_), Err(Stop::Bytes(error))) => Err(error.into()),
            (Ok(_), Err(Stop::Gone)) => unreachable!("the other thread ends early only with an error"),
            (Ok((settler, travelled)), Ok(inflater)) => {
                let compressed = travelled.or(here).expect("one of the threads has it");
                Ok((settler, compressed, inflater))
            }
        }
    })
}

fn belt() -> (Belt, Receiver<Parcel>, SyncSender<Buffer>) {
    let (to, parcels) = sync_channel(BUFFERS);
    let (returned, empty) = sync_channel(BUFFERS);
    for _ in 1..BUFFERS {
        returned.send(Buffer::new()).expect("the receiver is in our hands");
    }
    (Belt { to, empty }, parcels, returned)
}

/// The second thread's whole life; both ends of the belt are its own, so that they close when it fails.
fn settle(
    mut settler: Settler,
    mut compressed: Option<Compressed>,
    parcels: Receiver<Parcel>,
    returned: SyncSender<Buffer>,
    at: &Path,
) -> Result<(Settler, Option<Compressed>)> {
    for parcel in parcels {
        settler.take(&parcel, compressed.as_mut(), at)?;
        let (Parcel::Compressed(buffer) | Parcel::Plain { buffer, .. } | Parcel::Both(buffer)) = parcel;
        // Nobody waits for it any more once everything is read.
        let _ = returned.send(buffer);
    }
    Ok((settler, compressed))
}

fn check_size(plan: &IngestPlan<'_>, length: u64) -> Result<()> {
    match plan.expected {
        Some(expected) if expected.size != length => {
            Err(Error::corrupt(format!("it ended after {length} of its {} bytes", expected.size)))
        }
        _ => Ok(()),
    }
}

fn check_digests(plan: &IngestPlan<'_>, blob: &Digest, diff_id: &Digest) -> Result<()> {
    if let Some(expected) = plan.expected.filter(|expected| expected.digest != *blob) {
        return Err(Error::corrupt(format!(
            "its bytes are others than {}: their digest is {blob}",
            expected.digest
        )));
    }
    match plan.diff_id {
        Some(expected) if expected != diff_id => Err(Error::corrupt(format!(
            "uncompressed it should be {expected}, as the image's config says, but it is {diff_id}"
        ))),
        _ => Ok(()),
    }
}

/// Index and tar, or the directory, reach the disk.
fn settle_content(
    plan: &IngestPlan<'_>,
    target: Target,
    tar_size: u64,
    diff_id: &Digest,
) -> Result<(Content, u64)> {
    match target {
        Target::Directory(extractor) => {
            let extracted = extractor.finish()?;
            let size = extracted.disk_bytes();
            Ok((Content::Directory(extracted), size))
        }
        Target::Erofs { tar, mut tree } => {
            tree.finish()?;
            let index = Temporary::new(plan.temporary)?;
            write_index(&tree, tar.file(), index.file(), tar_size, diff_id).at(plan.temporary)?;
            drop(tree);
            crate::disk::sync_file(index.file(), plan.temporary)?;
            crate::disk::sync_file(tar.file(), plan.temporary)?;
            let index_size = allocated(index.file(), plan.temporary)?;
            Ok((Content::Erofs { tar, index }, index_size))
        }
    }
}

/// The index of a finished tree.
pub(super) fn write_index(
    tree: &Tree,
    tar: &File,
    index: &File,
    tar_size: u64,
    diff_id: &Digest,
) -> io::Result<()> {
    let plan = Plan::new(tree, tar_size)?;
    let identity = Identity { uuid: uuid(diff_id), tag: diff_id.hex().as_bytes() };
    plan.write(tree, &identity, &mut &*index)?;
    for tail in plan.tails() {
        copy_sparse(tree, tar, index, tail)?;
    }
    match plan.length() > plan.metadata_length() {
        true => index.set_len(plan.length()),
        false => Ok(()),
    }
}

/// The parts of a sparse file go where they belong; what lies between them is never written.
fn copy_sparse(tree: &Tree, tar: &File, index: &File, tail: &Tail) -> io::Result<()> {
    let sparse = tree.sparse(tail.sparse);
    let mut buffer = vec![0; 64 << 10];
    let mut from = sparse.offset;
    for segment in &sparse.segments {
        let mut done = 0;
        while done < segment.length {
            let count = (segment.length - done).min(buffer.len() as u64) as usize;
            tar.read_exact_at(&mut buffer[..count], from)?;
            index.write_all_at(&buffer[..count], tail.position + segment.offset + done)?;
            done += count as u64;
            from += count as u64;
        }
    }
    Ok(())
}

/// A UUID of version 8 (RFC 9562 §5.8) out of the digest.
fn uuid(diff_id: &Digest) -> [u8; 16] {
    let hex = diff_id.hex().as_bytes();
    let nibble = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'a' + 10 };
    let mut uuid: [u8; 16] = std::array::from_fn(|i| nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// The compressed bytes are complete: they stay, synced, or go.
fn settle_partial(plan: &IngestPlan<'_>) -> Result<()> {
    match (plan.partial, plan.keep_compressed) {
        (Some(path), true) => crate::disk::sync_file(&File::open(path).at(path)?, path),
        (Some(path), false) => crate::disk::remove(path),
        (None, _) => Ok(()),
    }
}

fn descriptor(plan: &IngestPlan<'_>, compression: Compression, digest: Digest, size: u64) -> Descriptor {
    let media_type = match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    };
    plan.expected.cloned().unwrap_or_else(|| Descriptor::new(media_type, digest, size))
}
