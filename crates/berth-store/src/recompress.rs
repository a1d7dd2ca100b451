//! Layers compressed anew, for a push whose origin is gone.
//!
//! Invariant: what was compressed lives in a file without a name, so a crash leaves nothing.

use crate::store::Store;
use berth_oci::{AtPath, Descriptor, Digest, Error, Hasher, Result, media_type};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

/// A compressed layer that no registry has seen yet.
#[derive(Debug)]
pub struct Recompressed {
    descriptor: Descriptor,
    file: File,
}

impl Store {
    /// Whether the bytes of a blob are kept here as they are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.inner.open_blob(digest)?.is_some())
    }

    /// Compresses a layer with gzip.
    ///
    /// # Errors
    /// The layer does not lie here as a tar, or the disk is full.
    pub fn recompress(&self, diff_id: &Digest) -> Result<Recompressed> {
        let mut tar = self.open_tar(diff_id)?.ok_or_else(|| {
            Error::unsupported(format!("layer {diff_id} lies here extracted and cannot become a tar again"))
                .hint("pull the image again with `keep-blobs = \"always\"` in the configuration")
        })?;
        let directory = self.inner.location.temporary();
        fs::create_dir_all(&directory).at(&directory)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&directory, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from);
        let file = File::from(file.at(&directory)?);
        let hashed =
            Hashed { inner: BufWriter::new(file), hasher: Hasher::new(diff_id.algorithm()), size: 0 };
        let mut encoder = GzEncoder::new(hashed, Compression::default());
        io::copy(&mut tar, &mut encoder).and_then(|_| encoder.try_finish()).at(&directory)?;
        let hashed = encoder.finish().at(&directory)?;
        let descriptor = Descriptor::new(media_type::OCI_LAYER_GZIP, hashed.hasher.finish(), hashed.size);
        let file = hashed.inner.into_inner().map_err(io::IntoInnerError::into_error).at(&directory)?;
        Ok(Recompressed { descriptor, file })
    }
}

impl Recompressed {
    /// What it is.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Its bytes from `offset` on; several readers may read at once.
    ///
    /// # Errors
    /// None so far.
    pub fn open(&self, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(At { file: &self.file, offset }))
    }
}

struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
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
    use berth_oci::Verified;

    #[test]
    fn a_layer_compresses_to_what_its_descriptor_says() {
        let (_directory, store) = crate::store::tests::temporary();
        let lease = store.lease().unwrap();
        let tar = vec![0; 10240];
        let (_, diff_id) = store.add_layer(&tar[..], &lease).unwrap();
        let layer = store.recompress(&diff_id).unwrap();
        let mut compressed = Vec::new();
        let mut reader = Verified::new(layer.open(0).unwrap(), layer.descriptor());
        reader.read_to_end(&mut compressed).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, tar);
        assert!(!store.has_blob(&diff_id).unwrap() && !store.has_blob(&layer.descriptor().digest).unwrap());
    }
}
