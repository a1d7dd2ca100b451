//! Bringing blobs in: one fetcher at a time for each, resumable, verified, committed in the order that cannot lie.
//!
//! Invariant: a layer's directory is renamed into place whole, under the layer's lock and the shared store lock,
//! and its row follows before either is released.

use crate::assess::layer_of;
use crate::database::{Durability, moment, number};
use crate::disk;
use crate::layer::{self, Bounds, Form, IngestPlan, IngestedLayer};
use crate::layout::Location;
use crate::lease::{Lease, Protected};
use crate::locks::{self, Held, StoreLock};
use crate::store::Store;
use berth_oci::media_type::{self, Compression};
use berth_oci::{AtPath, Blob, BlobState, Context, Descriptor, Digest, Result, Verified};
use rusqlite::{Transaction, params};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What happens to the compressed bytes of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// They stay.
    pub(crate) keep: bool,
    /// They come over a network, and should not have to come twice.
    pub(crate) resume: bool,
}

/// Smaller layers are fetched again rather than resumed.
const RESUMABLE: u64 = 256 << 10;

impl Store {
    /// Takes a layer in.
    pub(crate) fn ingest_layer(&self, blob: &Blob<'_>, arrival: Arrival, lease: &Lease) -> Result<()> {
        let descriptor = blob.descriptor();
        let temporary = lease.directory()?;
        let form = self.inner.form(&temporary)?;
        let keep = arrival.keep && !is_its_own_blob(descriptor, form);
        let with_partial = keep || (arrival.resume && descriptor.size > RESUMABLE);
        let lock = self.wait_for(blob, &descriptor.digest)?;
        if !self.has_layer(descriptor, keep, lease)? {
            let partial = self.inner.location.partial(&descriptor.digest);
            if with_partial {
                disk::make_directory(&self.inner.location.ingest())?;
            }
            let plan = IngestPlan {
                expected: Some(descriptor),
                diff_id: None,
                temporary: &temporary,
                partial: with_partial.then_some(&*partial),
                keep_compressed: keep,
                form,
                bounds: Bounds::default(),
            };
            let layer = layer::ingest(&plan, &|offset| blob.open(offset))?;
            self.commit_layer(layer, lease)?;
            if keep {
                let metadata = fs::metadata(&partial).at(&partial)?;
                self.inner.keep_file(&descriptor.digest, &partial, &metadata, lease)?;
            }
        }
        self.release(lock, &descriptor.digest)
    }

    /// Takes in a layer that was made here (a commit, a build step, an import) and lies nowhere else: `bytes` is its
    /// tar, compressed or not. Answers its descriptor and its diff ID.
    ///
    /// # Errors
    /// It is no layer, or the disk is full.
    pub fn add_layer(&self, bytes: impl Read + Send, lease: &Lease) -> Result<(Descriptor, Digest)> {
        let once = RefCell::new(Some(bytes));
        let open = |_| {
            let bytes = once.borrow_mut().take().expect("a layer that never came before is opened once");
            Ok(Box::new(bytes) as Box<dyn Read + Send + '_>)
        };
        let temporary = lease.directory()?;
        let form = self.inner.form(&temporary)?;
        let blob = lease.temporary()?;
        let plan = IngestPlan {
            expected: None,
            diff_id: None,
            temporary: &temporary,
            partial: (form == Form::Directory).then_some(&*blob),
            keep_compressed: true,
            form,
            bounds: Bounds::default(),
        };
        let mut layer = layer::ingest(&plan, &open)?;
        if form == Form::Erofs {
            // Its blob is the tar itself: nothing has to be kept beside it, and nothing compressed again.
            layer.compressed = Descriptor::new(media_type::OCI_LAYER, layer.diff_id.clone(), layer.tar_size);
        }
        let (descriptor, diff_id) = (layer.compressed.clone(), layer.diff_id.clone());
        self.commit_layer(layer, lease)?;
        if form == Form::Directory {
            let metadata = fs::metadata(&blob).at(&blob)?;
            self.inner.keep_file(&descriptor.digest, &blob, &metadata, lease)?;
        }
        Ok((descriptor, diff_id))
    }

    /// Takes in a blob that is not a layer: a config, an attestation, an artifact's file.
    pub(crate) fn ingest_blob(&self, blob: &Blob<'_>, lease: &Lease) -> Result<()> {
        let descriptor = blob.descriptor();
        let lock = self.wait_for(blob, &descriptor.digest)?;
        if !lease.protect(&[Protected::Blob(&descriptor.digest)])? {
            let path = lease.temporary()?;
            let mut file = disk::create(&path)?;
            std::io::copy(&mut Verified::new(blob.open(0)?, descriptor), &mut file)
                .context(|| format!("cannot fetch blob {}", descriptor.digest))?;
            disk::sync_file(&file, &path)?;
            self.inner.keep_file(&descriptor.digest, &path, &file.metadata().at(&path)?, lease)?;
        }
        self.release(lock, &descriptor.digest)
    }

    /// Whether the layer need not be fetched; keeps it for the lease if so.
    pub(crate) fn has_layer(&self, descriptor: &Descriptor, keep: bool, lease: &Lease) -> Result<bool> {
        self.inner.database.write(Durability::Process, |transaction| {
            let is_kept = lease.hold(transaction, &[Protected::Blob(&descriptor.digest)])?;
            match layer_of(transaction, &descriptor.digest)? {
                Some(layer) => {
                    lease.hold(transaction, &[Protected::Layer(&layer.diff_id)])?;
                    Ok(is_kept || !keep || is_its_own_blob(descriptor, layer.form))
                }
                None => Ok(false),
            }
        })
    }

    /// Waits until no other process fetches this blob; notices a cancellation meanwhile.
    fn wait_for(&self, blob: &Blob<'_>, digest: &Digest) -> Result<Held> {
        let path = self.inner.location.blob_lock(digest);
        loop {
            if let Some(lock) = locks::try_exclusive(&path)? {
                return Ok(lock);
            }
            blob.report(BlobState::Waiting)?;
            // A flock can be waited for, but then not be given up when the person at the terminal does.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn release(&self, lock: Held, digest: &Digest) -> Result<()> {
        disk::remove(&self.inner.location.blob_lock(digest))?;
        drop(lock);
        Ok(())
    }

    /// Gives a layer its name and its row; where somebody was faster, theirs is as good.
    fn commit_layer(&self, layer: IngestedLayer, lease: &Lease) -> Result<()> {
        let location = &self.inner.location;
        let row = LayerInsert::of(&layer);
        let lock_path = location.layer_lock(&row.diff_id);
        let lock = locks::exclusive(&lock_path)?;
        let adding = StoreLock::shared(&location.locks())?;
        let home = row.home(location);
        if !lease.protect(&[Protected::Layer(&row.diff_id)])? {
            // Without a row it is what somebody left who died before writing it; nobody uses it.
            disk::discard(&home, &location.trash())?;
            layer.commit(&home)?;
        }
        let disk_bytes = tree_bytes(&home)?;
        self.inner.database.write(Durability::Process, |transaction| {
            lease.hold(transaction, &[Protected::Layer(&row.diff_id)])?;
            Ok(row.insert(transaction, disk_bytes)?)
        })?;
        disk::remove(&lock_path)?;
        drop((adding, lock));
        Ok(())
    }
}

/// Whether the blob of a layer is the tar that lies here anyway, so that keeping it would be keeping it twice.
fn is_its_own_blob(descriptor: &Descriptor, form: Form) -> bool {
    form == Form::Erofs && media_type::layer_compression(&descriptor.media_type) == Some(Compression::None)
}

/// What the rows of a layer will say.
struct LayerInsert {
    diff_id: Digest,
    compressed: Descriptor,
    form: Form,
    tar_size: u64,
    index_size: u64,
    entries: u64,
}

impl LayerInsert {
    fn of(layer: &IngestedLayer) -> Self {
        Self {
            diff_id: layer.diff_id.clone(),
            compressed: layer.compressed.clone(),
            form: layer.form,
            tar_size: layer.tar_size,
            index_size: layer.index_size,
            entries: layer.entries,
        }
    }

    fn home(&self, location: &Location) -> PathBuf {
        match self.form {
            Form::Erofs => location.layer(&self.diff_id),
            Form::Directory => location.directory(&self.diff_id),
        }
    }

    fn insert(&self, transaction: &Transaction<'_>, disk: u64) -> rusqlite::Result<()> {
        transaction.execute(
            "INSERT INTO layer (diff_id, form, tar_size, index_size, entries, disk, added)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (diff_id) DO NOTHING",
            params![
                self.diff_id.as_str(),
                form_number(self.form),
                number(self.tar_size),
                number(self.index_size),
                number(self.entries),
                number(disk),
                moment(jiff::Timestamp::now()),
            ],
        )?;
        transaction.execute(
            "INSERT INTO origin (digest, media_type, size, diff_id) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (digest) DO UPDATE SET diff_id = ?4",
            params![
                self.compressed.digest.as_str(),
                self.compressed.media_type,
                number(self.compressed.size),
                self.diff_id.as_str()
            ],
        )?;
        Ok(())
    }
}

/// `layer.form`.
pub(crate) fn form_number(form: Form) -> i64 {
    match form {
        Form::Erofs => 0,
        Form::Directory => 1,
    }
}

/// The form behind the number.
pub(crate) fn form_of(number: i64) -> Form {
    match number {
        0 => Form::Erofs,
        _ => Form::Directory,
    }
}

/// Bytes that a directory and what is in it take on the disk; a file with several names is there once.
pub(crate) fn tree_bytes(path: &Path) -> Result<u64> {
    bytes_of(path, &mut HashSet::new())
}

fn bytes_of(path: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<u64> {
    let metadata = fs::symlink_metadata(path).at(path)?;
    if !metadata.is_dir() {
        let is_new = metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino()));
        return Ok(if is_new { disk::disk_bytes(&metadata) } else { 0 });
    }
    let mut bytes = disk::disk_bytes(&metadata);
    for entry in disk::entries(path)? {
        bytes += bytes_of(&entry.path(), seen)?;
    }
    Ok(bytes)
}
