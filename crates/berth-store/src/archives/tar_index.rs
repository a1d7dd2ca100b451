//! A tar archive as a set of named ranges of a file: read once from front to back, then answered from anywhere.
//!
//! Invariant: names are compared, never opened; links are followed inside the archive only, and not for ever.

use crate::disk;
use crate::tar::{Entry, EntryKind, Limits, Scanner, Visitor};
use berth_oci::{AtPath, Error, Result};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// An image archive holds a few files a layer; this is for thousands of images.
const LIMITS: Limits = Limits { entries: 200_000, extension: 1 << 16, global: 1 << 16, trailing: 64 << 20 };
/// Links that lead to links.
const LINK_LIMIT: usize = 8;
const BUFFER: usize = 256 << 10;

/// Where everything in a tar archive is.
#[derive(Debug)]
pub(super) struct TarIndex {
    file: Arc<File>,
    entries: HashMap<String, Place>,
}

/// A file of the archive, or a way to it.
#[derive(Clone, Debug)]
enum Place {
    File { offset: u64, size: u64 },
    Link(String),
}

impl TarIndex {
    /// Reads the plain tar archive in `file`.
    pub(super) fn of_file(file: File, name: &Path) -> Result<Self> {
        let entries = scan(&mut &file, &mut io::sink(), name)?;
        Ok(Self { file: Arc::new(file), entries })
    }

    /// Reads a tar archive that cannot be gone back in, by way of a file in `directory` that has no name.
    pub(super) fn of_stream(reader: &mut dyn Read, directory: &Path, name: &Path) -> Result<Self> {
        let path = directory.join(disk::random_name()?);
        let mut file = disk::create(&path)?;
        std::fs::remove_file(&path).at(&path)?;
        let entries = scan(reader, &mut file, name)?;
        Ok(Self { file: Arc::new(file), entries })
    }

    /// The size of a file.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.find(name).map(|(_, size)| size)
    }

    /// A whole small file.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((offset, size)) = self.find(name) else { return Ok(None) };
        if size > limit {
            return Err(Error::invalid(format!(
                "`{name}` in the archive has {size} bytes; {limit} is the limit"
            )));
        }
        let mut bytes = vec![0; usize::try_from(size).expect("the limit is smaller than the memory")];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(bytes))
    }

    /// A file's bytes from `skip` on.
    pub(super) fn open(&self, name: &str, skip: u64) -> Option<Section> {
        let (offset, size) = self.find(name)?;
        let skip = skip.min(size);
        Some(Section { file: Arc::clone(&self.file), position: offset + skip, left: size - skip })
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = clean(name)?;
        for _ in 0..LINK_LIMIT {
            match self.entries.get(&name)? {
                Place::File { offset, size } => return Some((*offset, *size)),
                Place::Link(target) => name = target.clone(),
            }
        }
        None
    }
}

/// A part of a file as a reader of its own.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<File>,
    position: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Reads all of `reader`, copying it to `copy`.
fn scan(reader: &mut dyn Read, copy: &mut dyn Write, name: &Path) -> Result<HashMap<String, Place>> {
    let mut scanner = Scanner::new(LIMITS);
    let mut collected = Collected::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).at(name),
        };
        scanner.push(&buffer[..count], &mut collected)?;
        copy.write_all(&buffer[..count]).at(name)?;
    }
    scanner.finish()?;
    Ok(collected.entries)
}

#[derive(Default)]
struct Collected {
    entries: HashMap<String, Place>,
}

impl Visitor for Collected {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = text(entry.path);
        let place = match entry.kind {
            EntryKind::File(data) if data.segments.is_none() => {
                Place::File { offset: data.offset, size: data.size }
            }
            EntryKind::HardLink(target) => Place::Link(clean(&text(target)).ok_or_else(|| outside(&path))?),
            // Old dockers saved a layer that occurs twice as `../<id>/layer.tar`.
            EntryKind::Symlink(target) => {
                Place::Link(clean(&beside(&path, &text(target))).ok_or_else(|| outside(&path))?)
            }
            EntryKind::Directory => return Ok(()),
            _ => return Err(Error::corrupt(format!("`{path}` has no business in an image archive"))),
        };
        let name = clean(&path).ok_or_else(|| outside(&path))?;
        // The same bytes twice under one name is what some tools write; two different things is an attack.
        match self.entries.insert(name, place.clone()) {
            Some(Place::File { size: before, .. }) => match place {
                Place::File { size, .. } if size == before => Ok(()),
                _ => Err(Error::corrupt(format!("`{path}` is in the archive twice, with different content"))),
            },
            _ => Ok(()),
        }
    }

    fn data(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

fn outside(path: &str) -> Error {
    Error::corrupt(format!("`{path}` leads out of the archive"))
}

fn beside(path: &str, target: &str) -> String {
    match path.rsplit_once('/') {
        Some((parent, _)) => format!("{parent}/{target}"),
        None => target.to_owned(),
    }
}

/// The name without `.`, `..` and doubled slashes; `None` where it leads out of the archive.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if name.starts_with('/') {
        return None;
    }
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (name, expected) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("a/../b", Some("b")),
            ("../a", None),
            ("a/../../b", None),
            ("/a", None),
        ] {
            assert_eq!(clean(name).as_deref(), expected, "{name}");
        }
        assert_eq!(beside("x/layer.tar", "../y/layer.tar"), "x/../y/layer.tar");
    }
}
