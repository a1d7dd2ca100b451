//! The files that a log lies in: the newest, older ones, and older ones that have been compressed.
//!
//! Here: their names, which of them are there, which is which. Not here: lines. Invariant: whatever happens to files
//! while they are looked for, each is found once.

use berth_oci::{AtPath, Result};
use flate2::bufread::GzDecoder;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The n-th oldest file; 0 is the one being written.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.into(),
        number => with_ending(path, &format!(".{number}")),
    }
}

/// The same, compressed.
pub(super) fn packed(path: &Path, number: u32) -> PathBuf {
    with_ending(path, &format!(".{number}.gz"))
}

/// Where a file is compressed to. It is no part of the log.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    with_ending(path, ".gz.partial")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Which file it was when the last line was written to it: its number changes, and so does its inode when it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    inode: u64,
    modified: (i64, u32),
    length: u64,
}

/// What marks our field in the header of a compressed file (RFC 1952 §2.3.1.1).
const FIELD: &[u8] = b"be\x1c\x00";

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or_default());
        Self { inode: metadata.ino(), modified, length: metadata.len() }
    }

    pub(super) fn to_field(self) -> Vec<u8> {
        let Self { inode, modified: (seconds, nanoseconds), length } = self;
        [
            FIELD,
            &inode.to_le_bytes(),
            &seconds.to_le_bytes(),
            &nanoseconds.to_le_bytes(),
            &length.to_le_bytes(),
        ]
        .concat()
    }

    fn from_field(field: &[u8]) -> Option<Self> {
        let (inode, rest) = field.strip_prefix(FIELD)?.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanoseconds, length) = rest.split_first_chunk()?;
        Some(Self {
            inode: u64::from_le_bytes(*inode),
            modified: (i64::from_le_bytes(*seconds), u32::from_le_bytes(*nanoseconds)),
            length: u64::from_le_bytes(length.try_into().ok()?),
        })
    }
}

/// One of them, open.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    pub(super) form: Form,
    /// Lines that are not wanted, where a compressed file is not to be read from its beginning.
    pub(super) skipped: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// Compressed, of that file; it does not say so if it was not ours.
    Packed(Option<Identity>),
}

impl Part {
    pub(super) fn plain(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, form: Form::Plain, skipped: 0 })
    }

    fn packed(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let decoder = GzDecoder::new(BufReader::with_capacity(512, &file));
        let field = decoder.header().and_then(|header| header.extra());
        let identity = field.and_then(Identity::from_field);
        file.rewind()?;
        Ok(Self { file, form: Form::Packed(identity), skipped: 0 })
    }

    /// The n-th oldest, in whichever form it is there.
    fn numbered(path: &Path, number: u32) -> io::Result<Option<Self>> {
        // Its compressed form appears before the other one goes.
        match present(Self::plain(&rotated(path, number)))? {
            None if number > 0 => present(Self::packed(&packed(path, number))),
            part => Ok(part),
        }
    }

    /// Whether both have the same lines.
    pub(super) fn is(&self, other: &Self) -> bool {
        let metadata = (self.file.metadata(), other.file.metadata());
        let (Ok(ours), Ok(theirs)) = metadata else { return false };
        match (self.form, other.form) {
            (Form::Plain, Form::Plain) => ours.ino() == theirs.ino(),
            (Form::Plain, Form::Packed(theirs)) => theirs == Some(Identity::of(&ours)),
            (Form::Packed(ours), Form::Plain) => ours == Some(Identity::of(&theirs)),
            (Form::Packed(ours), Form::Packed(theirs)) => ours.is_some() && ours == theirs,
        }
    }

    /// When the last line was written to it, in seconds.
    pub(super) fn last_written(&self) -> Option<i64> {
        match self.form {
            Form::Plain => self.file.metadata().ok().map(|metadata| metadata.mtime()),
            Form::Packed(identity) => identity.map(|identity| identity.modified.0),
        }
    }

    /// Its lines. A compressed file is read as it is inflated, and never held whole.
    pub(super) fn text(&self) -> io::Result<Text> {
        let file = self.file.try_clone()?;
        if self.form == Form::Plain {
            return Ok(Text::Plain(BufReader::new(file)));
        }
        let mut text = Box::new(BufReader::new(GzDecoder::new(BufReader::new(file))));
        for _ in 0..self.skipped {
            skip_line(&mut *text)?;
        }
        Ok(Text::Packed(text))
    }

    /// Makes a compressed file begin with the last `count` of its lines; how many of those there are.
    pub(super) fn skip_to_tail(&mut self, count: usize) -> io::Result<usize> {
        let mut text = self.text()?;
        let mut lines = 0_usize;
        while skip_line(&mut text)? {
            lines += 1;
        }
        self.file.rewind()?;
        self.skipped = lines.saturating_sub(count);
        Ok(lines - self.skipped)
    }
}

/// Passes over a line of any length; false at the end.
fn skip_line(text: &mut impl BufRead) -> io::Result<bool> {
    Ok(text.skip_until(b'\n')? > 0)
}

fn present(found: io::Result<Part>) -> io::Result<Option<Part>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// What is read of one file.
#[derive(Debug)]
pub(super) enum Text {
    Plain(BufReader<File>),
    Packed(Box<BufReader<GzDecoder<BufReader<File>>>>),
}

impl Read for Text {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(text) => text.read(bytes),
            Self::Packed(text) => text.read(bytes),
        }
    }
}

impl BufRead for Text {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(text) => text.fill_buf(),
            Self::Packed(text) => text.fill_buf(),
        }
    }

    fn consume(&mut self, length: usize) {
        match self {
            Self::Plain(text) => text.consume(length),
            Self::Packed(text) => text.consume(length),
        }
    }
}

/// All files that are there, oldest first. Their numbers may grow meanwhile: who looks from the newest on sees a file
/// twice then, but misses none.
pub(super) fn open_all(path: &Path) -> Result<VecDeque<Part>> {
    let mut parts: VecDeque<Part> = VecDeque::new();
    let mut gap = 0;
    for number in 0.. {
        match Part::numbered(path, number).at(rotated(path, number))? {
            Some(part) if parts.front().is_some_and(|newer| newer.is(&part)) => gap = 0,
            Some(part) => {
                parts.push_front(part);
                gap = 0;
            }
            // In the middle of a rotation one is missing, or has been for good if that was the writer's end.
            None if gap < 1 => gap += 1,
            None => break,
        }
    }
    Ok(parts)
}
