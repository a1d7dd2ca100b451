//! Layers as they leave the machine: compressed, by several threads at once, always to the same bytes.
//!
//! gzip is made of blocks that are compressed independently and joined into one stream, so that the result depends on
//! the content and the level alone. What a layer became is noted, so that a registry that has it need not be shown it
//! again. Invariant: what was compressed lives in a file without a name, so a crash leaves nothing; bytes that differ
//! from the note are never handed out.

use crate::store::Store;
use berth_oci::{Algorithm, AtPath, Descriptor, Digest, Error, Hasher, Result, media_type};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Packing {
    /// As it is.
    Plain,
    /// With gzip at a level, 0 to 9.
    Gzip(u32),
    /// With zstd at a level, 1 to 22.
    Zstd(i32),
}

impl Default for Packing {
    fn default() -> Self {
        Self::Gzip(Compression::default().level())
    }
}

/// A layer in the form in which it leaves.
#[derive(Debug)]
pub struct Packed {
    store: Store,
    diff_id: Digest,
    packing: Packing,
    descriptor: Descriptor,
    file: Mutex<Option<Arc<File>>>,
}

/// One block of a gzip stream, in bytes of the layer.
const BLOCK: usize = 1 << 20;
/// Part of the notes' names: another way of packing must not find the old ones.
const VERSION: u32 = 1;

impl Store {
    /// Whether the bytes of a blob are kept here as they are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.inner.open_blob(digest)?.is_some())
    }

    /// A layer, packed. The work is done now only if nobody has done it before.
    ///
    /// # Errors
    /// The layer does not lie here as a tar, or the disk is full.
    pub fn pack(&self, diff_id: &Digest, packing: Packing) -> Result<Packed> {
        let note = self.build_directory("packed")?.join(format!("{}-{packing:?}-{VERSION}", diff_id.hex()));
        let known = fs::read(&note).ok().and_then(|bytes| serde_json::from_slice::<Descriptor>(&bytes).ok());
        let (descriptor, file) = match known {
            Some(descriptor) if self.open_plain(diff_id)?.is_some() => (descriptor, None),
            _ => {
                let (descriptor, file) = self.pack_now(diff_id, packing)?;
                let fresh = note.with_extension(format!("{}.new", std::process::id()));
                fs::write(&fresh, serde_json::to_vec(&descriptor).expect("text has a JSON form"))
                    .at(&fresh)?;
                fs::rename(&fresh, &note).at(&note)?;
                (descriptor, file.map(Arc::new))
            }
        };
        let (store, diff_id, file) = (self.clone(), diff_id.clone(), Mutex::new(file));
        Ok(Packed { store, diff_id, packing, descriptor, file })
    }

    /// The layer's tar: beside its index, or the blob that a layer which was made here has when it lies extracted.
    fn open_plain(&self, diff_id: &Digest) -> Result<Option<File>> {
        Ok(match self.open_tar(diff_id)? {
            Some(tar) => Some(tar),
            None => self.inner.open_blob(diff_id)?,
        })
    }

    /// What the layer becomes; a plain one is its own file.
    fn pack_now(&self, diff_id: &Digest, packing: Packing) -> Result<(Descriptor, Option<File>)> {
        let mut tar = self.open_plain(diff_id)?.ok_or_else(|| {
            Error::unsupported(format!("layer {diff_id} lies here extracted and cannot become a tar again"))
                .hint("pull the image again with `keep-blobs = \"always\"` in the configuration")
        })?;
        if packing == Packing::Plain {
            let size = tar.metadata()?.len();
            return Ok((Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size), Some(tar)));
        }
        let directory = self.inner.location.temporary();
        fs::create_dir_all(&directory).at(&directory)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&directory, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from);
        let file = File::from(file.at(&directory)?);
        let mut out = Hashed { inner: BufWriter::new(file), hasher: Hasher::new(Algorithm::Sha256), size: 0 };
        let kind = match packing {
            Packing::Zstd(level) => {
                let mut encoder = zstd::stream::write::Encoder::new(&mut out, level)?;
                io::copy(&mut tar, &mut encoder).and_then(|_| encoder.finish()).at(&directory)?;
                media_type::OCI_LAYER_ZSTD
            }
            Packing::Gzip(level) => {
                gzip(&mut tar, &mut out, level).at(&directory)?;
                media_type::OCI_LAYER_GZIP
            }
            Packing::Plain => media_type::OCI_LAYER,
        };
        let descriptor = Descriptor::new(kind, out.hasher.finish(), out.size);
        let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error).at(&directory)?;
        Ok((descriptor, Some(file)))
    }
}

impl Packed {
    /// What it is.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Its bytes from `offset` on; several readers may read at once.
    ///
    /// # Errors
    /// The layer has gone, the disk is full, or it became something else than before.
    pub fn open(&self, offset: u64) -> Result<Box<dyn Read + Send>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &*file {
            Some(file) => Arc::clone(file),
            None => {
                let (descriptor, made) = self.store.pack_now(&self.diff_id, self.packing)?;
                if descriptor.digest != self.descriptor.digest {
                    return Err(Error::conflict(format!(
                        "layer {} was packed as {} before, and now as {}",
                        self.diff_id, self.descriptor.digest, descriptor.digest
                    ))
                    .hint("remove builds/packed below the root, and try again"));
                }
                let made = made.ok_or_else(|| Error::internal("a packed layer has no file"))?;
                Arc::clone(file.insert(Arc::new(made)))
            }
        };
        Ok(Box::new(At { file, offset }))
    }
}

/// One stream (RFC 1952) of blocks that several threads compress (RFC 1951).
fn gzip(tar: &mut File, out: &mut dyn Write, level: u32) -> io::Result<()> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    // A last block with nothing in it.
    const END: [u8; 2] = [3, 0];
    out.write_all(&HEADER)?;
    let mut crc = Crc::new();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.clear();
        for _ in 0..threads {
            let mut block = Vec::with_capacity(BLOCK);
            tar.take(BLOCK as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            crc.update(&block);
            blocks.push(block);
        }
        if blocks.is_empty() {
            break;
        }
        let packed = thread::scope(|scope| {
            let (first, others) = blocks.split_first().expect("there is one");
            let others: Vec<_> = others.iter().map(|block| scope.spawn(|| deflate(block, level))).collect();
            let mut packed = vec![deflate(first, level)];
            for other in others {
                packed.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            packed
        });
        for block in packed {
            out.write_all(&block?)?;
        }
    }
    out.write_all(&END)?;
    out.write_all(&crc.sum().to_le_bytes())?;
    out.write_all(&crc.amount().to_le_bytes())
}

/// A block that refers to nothing before it, and ends at a byte.
fn deflate(block: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::new(level.min(9)), false);
    let mut packed = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let read = usize::try_from(compress.total_in()).expect("a block fits into memory");
        let status = compress.compress_vec(&block[read..], &mut packed, FlushCompress::Full);
        match status.map_err(io::Error::other)? {
            // With room left, everything that was to come has come.
            Status::Ok | Status::BufError if packed.len() < packed.capacity() && read == block.len() => {
                return Ok(packed);
            }
            Status::Ok | Status::BufError => packed.reserve(64 << 10),
            Status::StreamEnd => return Err(io::Error::other("a block ended early")),
        }
    }
}

struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Counts and hashes what passes.
struct Hashed<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archives::decompress;
    use crate::tar::testing::{Archive, Head};
    use berth_oci::Verified;

    /// An archive with a file of that size, which is not too easy to compress.
    fn archive(size: usize) -> Vec<u8> {
        let mut state = 7u32;
        let bytes: Vec<u8> = (0..size)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8 & 0x1f
            })
            .collect();
        Archive(Vec::new()).with(Head::new(b'0', "file"), &bytes).end()
    }

    #[test]
    fn a_layer_packs_to_what_its_descriptor_says() {
        let (_directory, store) = crate::store::tests::temporary();
        let lease = store.lease().unwrap();
        for size in [0, 100, BLOCK, 3 * BLOCK + 5] {
            let tar = archive(size);
            let (_, diff_id) = store.add_layer(&tar[..], &lease).unwrap();
            for packing in
                [Packing::Plain, Packing::Gzip(0), Packing::default(), Packing::Gzip(9), Packing::Zstd(3)]
            {
                let layer = store.pack(&diff_id, packing).unwrap();
                // The second one knows what it will be before it is made.
                for layer in [&layer, &store.pack(&diff_id, packing).unwrap()] {
                    let mut packed = Vec::new();
                    let mut reader = Verified::new(layer.open(0).unwrap(), layer.descriptor());
                    reader.read_to_end(&mut packed).unwrap();
                    let mut plain = Vec::new();
                    decompress(&packed[..]).unwrap().read_to_end(&mut plain).unwrap();
                    assert_eq!(plain, tar, "{packing:?} {size}");
                }
                assert!(!store.has_blob(&layer.descriptor().digest).unwrap());
            }
        }
    }
}
