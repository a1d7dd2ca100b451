//! Opening an archive, whatever it is: a file or a stream, compressed or not, docker's or OCI's, or a directory.
//!
//! Invariant: a stream that cannot be gone back in is spooled to a file without a name, which the kernel frees
//! however we end.

use super::decompress::decompress;
use super::docker::{self, Made};
use super::index::{self, Files};
use super::layout::Directory;
use super::source::ArchiveSource;
use super::tar_index::{Section, TarIndex};
use berth_oci::{AtPath, Context, Descriptor, Error, Reference, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// An image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedImage {
    /// Its names.
    pub names: Vec<Reference>,
    /// What `org.opencontainers.image.ref.name` says, as it is written: what `oci:DIRECTORY:TAG` is compared with.
    pub tags: Vec<String>,
    /// Its root.
    pub target: Descriptor,
}

/// An archive or a layout directory, open for reading.
pub struct Archive {
    pub(super) files: Box<dyn Files>,
    pub(super) made: Made,
    images: Vec<ArchivedImage>,
}

impl Archive {
    /// Opens an archive file or an OCI layout directory. `spool`: a directory for what has to be decompressed.
    ///
    /// # Errors
    /// It cannot be read; it is damaged, hostile, or no archive of images.
    pub fn open(path: &Path, spool: &Path) -> Result<Self> {
        let doing = || format!("cannot read the image archive `{}`", path.display());
        let metadata = std::fs::metadata(path).at(path)?;
        if metadata.is_dir() {
            return Self::of(Box::new(Directory::open(path)?)).context(doing);
        }
        let mut file = File::open(path).at(path)?;
        let is_plain = metadata.is_file() && !is_compressed(&mut file).at(path)?;
        match is_plain {
            true => TarIndex::of_file(file, path).and_then(|index| Self::of(Box::new(index))),
            false => Self::spooled(file, path, spool),
        }
        .context(doing)
    }

    /// Reads an archive from a stream. `spool`: a directory with room for all of it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(reader: impl Read + Send, spool: &Path) -> Result<Self> {
        Self::spooled(reader, Path::new("stdin"), spool).context(|| "cannot read the image archive")
    }

    fn spooled(reader: impl Read + Send, name: &Path, spool: &Path) -> Result<Self> {
        let mut plain = decompress(reader)?;
        Self::of(Box::new(TarIndex::of_stream(&mut plain, spool, name)?))
    }

    fn of(files: Box<dyn Files>) -> Result<Self> {
        if let Some(images) = index::images(&*files)?.filter(|images| !images.is_empty()) {
            return Ok(Self { files, made: Made::default(), images });
        }
        match docker::images(&*files)? {
            Some((images, made)) => Ok(Self { files, made, images }),
            None if files.size("repositories")?.is_some() => {
                Err(Error::unsupported("it is in the format of docker before 1.10, which names no digests")
                    .hint("load it with an old docker and save it with a current one"))
            }
            None => Err(Error::invalid("it has neither an `index.json` nor a `manifest.json`").hint(
                "`load` reads images that `docker save` wrote; a root file system is for `berth import`",
            )),
        }
    }

    /// The images that are in it.
    #[must_use]
    pub fn images(&self) -> &[ArchivedImage] {
        &self.images
    }

    /// One of them as a source.
    #[must_use]
    pub fn source<'a>(&'a self, image: &ArchivedImage) -> ArchiveSource<'a> {
        ArchiveSource { archive: self, target: image.target.clone() }
    }
}

fn is_compressed(file: &mut File) -> std::io::Result<bool> {
    let mut start = [0; 6];
    let length = file.read(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let magics: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0", b"BZh"];
    Ok(magics.iter().any(|magic| start[..length].starts_with(magic)))
}

impl Files for TarIndex {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Self::read(self, name, limit)
    }

    fn open(&self, name: &str, skip: u64) -> Result<Option<Box<dyn Read + Send>>> {
        Ok(Self::open(self, name, skip).map(|section: Section| Box::new(section) as _))
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(Self::size(self, name))
    }
}
