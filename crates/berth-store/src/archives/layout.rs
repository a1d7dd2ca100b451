//! OCI layout directories (image-spec `image-layout.md`), read and written.
//!
//! Invariant: reading never follows a link out of the directory; writing renames whole files into place, the
//! index.json last, under a lock on the `oci-layout` file.

use super::index::{Files, blob_name};
use super::naming;
use crate::disk;
use berth_oci::{
    AtPath, Blob, Descriptor, Error, ImageIndex, MANIFEST_LIMIT, Manifest, Reference, Result, Sink, Verified,
    media_type,
};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub(super) const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout directory's files.
pub(super) struct Directory {
    root: File,
    path: PathBuf,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { root: File::open(path).at(path)?, path: path.to_owned() })
    }

    fn file(&self, name: &str) -> Result<Option<File>> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let path = self.path.join(name);
        let file = match rustix::fs::openat2(&self.root, name, flags, Mode::empty(), inside) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::XDEV | Errno::LOOP) => {
                return Err(Error::denied(format!("`{}` leads out of the layout", path.display())));
            }
            Err(e) => return Err(io::Error::from(e)).at(path),
        };
        match file.metadata().at(&path)?.is_file() {
            true => Ok(Some(file)),
            false => Err(Error::invalid(format!("`{}` is not a file", path.display()))),
        }
    }
}

impl Files for Directory {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).at(self.path.join(name))?;
        match bytes.len() as u64 > limit {
            true => Err(Error::invalid(format!("`{name}` has more than {limit} bytes"))),
            false => Ok(Some(bytes)),
        }
    }

    fn open(&self, name: &str, skip: u64) -> Result<Option<Box<dyn Read + Send>>> {
        let Some(mut file) = self.file(name)? else { return Ok(None) };
        file.seek(SeekFrom::Start(skip)).at(self.path.join(name))?;
        Ok(Some(Box::new(file)))
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        file.metadata().at(self.path.join(name)).map(|metadata| Some(metadata.len()))
    }
}

/// A layout directory that images are written to.
#[derive(Clone, Debug)]
pub struct Layout {
    path: PathBuf,
}

impl Layout {
    /// Opens a layout directory, or makes an empty one.
    ///
    /// # Errors
    /// The directory holds something else, or cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let marker = path.join("oci-layout");
        let is_new = !marker.exists();
        if is_new && path.is_dir() && fs::read_dir(path).at(path)?.next().is_some() {
            return Err(Error::conflict(format!("`{}` is not empty and not an OCI layout", path.display())));
        }
        fs::create_dir_all(path.join("blobs/sha256")).at(path)?;
        if is_new {
            fs::write(&marker, VERSION).at(&marker)?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Where one image goes. `name` and `tag` become the annotations of its entry; an entry with the same tag goes.
    #[must_use]
    pub fn sink(&self, name: Option<&Reference>, tag: Option<&str>) -> LayoutSink<'_> {
        LayoutSink { layout: self, name: name.cloned(), tag: tag.map(str::to_owned) }
    }

    fn put(&self, name: &str, bytes: &mut dyn Read) -> Result<()> {
        let target = self.path.join(name);
        let parent = target.parent().expect("a file of the layout lies in it");
        fs::create_dir_all(parent).at(parent)?;
        let temporary = self.path.join(format!(".{}", disk::random_name()?));
        let written = File::create_new(&temporary)
            .and_then(|mut file| io::copy(bytes, &mut file).and_then(|_| file.sync_data()));
        let placed = written.and_then(|()| fs::rename(&temporary, &target));
        if placed.is_err() {
            disk::remove(&temporary)?;
        }
        placed.at(&target)
    }

    fn list(&self, entry: Descriptor) -> Result<()> {
        let marker = self.path.join("oci-layout");
        let lock = File::open(&marker).at(&marker)?;
        lock.lock().at(&marker)?;
        let path = self.path.join("index.json");
        let mut index = match fs::read(&path) {
            Ok(raw) if raw.len() <= MANIFEST_LIMIT => {
                serde_json::from_slice::<ImageIndex>(&raw).map_err(|e| {
                    Error::invalid(format!("`{}` is not an image index", path.display())).caused_by(e)
                })?
            }
            Ok(_) => return Err(Error::invalid(format!("`{}` is too large", path.display()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => empty_index(Vec::new()),
            Err(e) => return Err(e).at(path),
        };
        let tag = entry.annotation(naming::REF_NAME).map(str::to_owned);
        index.manifests.retain(|other| match &tag {
            Some(tag) => other.annotation(naming::REF_NAME) != Some(tag),
            None => other.digest != entry.digest,
        });
        index.manifests.push(entry);
        let raw = serde_json::to_vec(&index).expect("an index has string keys only");
        self.put("index.json", &mut &raw[..])
    }
}

pub(super) fn empty_index(manifests: Vec<Descriptor>) -> ImageIndex {
    ImageIndex {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: Default::default(),
    }
}

/// See [`Layout::sink`].
#[derive(Debug)]
pub struct LayoutSink<'a> {
    layout: &'a Layout,
    name: Option<Reference>,
    tag: Option<String>,
}

impl Sink for LayoutSink<'_> {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let path = self.layout.path.join(blob_name(&descriptor.digest));
        Ok(fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == descriptor.size))
    }

    fn put_blob(&self, blob: &Blob<'_>) -> Result<()> {
        let descriptor = blob.descriptor();
        self.layout.put(&blob_name(&descriptor.digest), &mut Verified::new(blob.open(0)?, descriptor))
    }

    fn put_manifest(&self, manifest: &Manifest, is_root: bool) -> Result<()> {
        self.layout.put(&blob_name(manifest.digest()), &mut manifest.raw())?;
        if !is_root {
            return Ok(());
        }
        let mut entry = naming::named(manifest.descriptor(), self.name.as_ref());
        if let Some(tag) = &self.tag {
            entry.annotations.insert(naming::REF_NAME.to_owned(), tag.clone());
        }
        self.layout.list(entry)
    }
}
