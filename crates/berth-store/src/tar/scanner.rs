//! The state machine: takes bytes, tells entries to a [`Visitor`]. It never looks ahead and never seeks.

use super::entry::{Entry, EntryKind, FileData, ModificationTime, Segment};
use super::header::{Header, text};
use super::pax::Attributes;
use super::sparse::{self, Layout, TextMap};
use super::{BLOCK, padding};
use berth_oci::{Context, Error, Kind, Result};

/// What an archive may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries in one archive.
    pub entries: u64,
    /// Bytes of one PAX header or GNU long name.
    pub extension: u64,
    /// Bytes of all global PAX headers together; they are looked at for every entry.
    pub global: u64,
    /// Bytes after the end of the archive.
    pub trailing: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 2_000_000, extension: 1 << 20, global: 1 << 16, trailing: 64 << 20 }
    }
}

/// Who hears what is in an archive.
pub trait Visitor {
    /// An entry; if it is a file, its bytes follow.
    ///
    /// # Errors
    /// Whatever the visitor cannot accept; it ends the scan.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()>;

    /// The next bytes of the file told last.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    fn data(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Reads an archive that is pushed in piece by piece.
pub struct Scanner {
    limits: Limits,
    position: u64,
    entries: u64,
    state: State,
    header: [u8; BLOCK],
    block: [u8; BLOCK],
    filled: usize,
    extension: Vec<u8>,
    long_path: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    global: Attributes,
    global_bytes: u64,
    local: Option<Attributes>,
}

/// What the next byte belongs to.
enum State {
    Header,
    LoneZeroBlock,
    Extension { type_flag: u8, left: u64 },
    GnuSparse { pairs: Vec<[u64; 2]> },
    SparseMap { map: TextMap, size: u64, left: u64 },
    Data { left: u64, after: u64, wanted: bool },
    Skip { left: u64 },
    End { seen: u64 },
}

impl Scanner {
    /// A scanner at the beginning of an archive.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            position: 0,
            entries: 0,
            state: State::Header,
            header: [0; BLOCK],
            block: [0; BLOCK],
            filled: 0,
            extension: Vec::new(),
            long_path: None,
            long_target: None,
            global: Attributes::default(),
            global_bytes: 0,
            local: None,
        }
    }

    /// How many entries were told.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes the next bytes in.
    ///
    /// # Errors
    /// The archive is malformed or passes a limit, or the visitor refuses an entry.
    pub fn push(&mut self, mut bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        while !bytes.is_empty() {
            let taken = self.step(bytes, visitor)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// The archive ends here.
    ///
    /// # Errors
    /// It ends in the middle of an entry.
    pub fn finish(&self) -> Result<()> {
        let whole = match &self.state {
            State::Header => self.filled == 0,
            // What is skipped at the very end is padding, which some programs leave out.
            State::Skip { left } => *left < BLOCK as u64,
            State::LoneZeroBlock | State::End { .. } => true,
            _ => false,
        };
        match whole {
            true => Ok(()),
            false => Err(Error::corrupt(format!(
                "the archive ends in the middle of entry {}, after {} bytes",
                self.entries.max(1),
                self.position
            ))),
        }
    }

    /// Takes at least one byte in.
    fn step(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<usize> {
        let available = bytes.len() as u64;
        match &mut self.state {
            State::Header | State::LoneZeroBlock => {
                let (taken, full) = fill(&mut self.header, &mut self.filled, bytes);
                self.position += taken as u64;
                if full {
                    self.header_block(visitor)?;
                }
                Ok(taken)
            }
            State::GnuSparse { .. } | State::SparseMap { .. } => {
                let (taken, full) = fill(&mut self.block, &mut self.filled, bytes);
                self.position += taken as u64;
                if full {
                    self.map_block(visitor)?;
                }
                Ok(taken)
            }
            State::Extension { type_flag, left } => {
                let taken = available.min(*left) as usize;
                self.extension.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                self.position += taken as u64;
                if *left == 0 {
                    let type_flag = *type_flag;
                    self.end_of_extension(type_flag)?;
                }
                Ok(taken)
            }
            State::Data { left, after, wanted } => {
                let taken = available.min(*left) as usize;
                if *wanted {
                    visitor.data(&bytes[..taken])?;
                }
                *left -= taken as u64;
                self.position += taken as u64;
                if *left == 0 {
                    self.state = skip(*after);
                }
                Ok(taken)
            }
            State::Skip { left } => {
                let taken = available.min(*left) as usize;
                *left -= taken as u64;
                self.position += taken as u64;
                if *left == 0 {
                    self.state = State::Header;
                }
                Ok(taken)
            }
            State::End { seen } => {
                *seen += available;
                self.position += available;
                match *seen > self.limits.trailing {
                    true => Err(Error::corrupt(format!(
                        "the archive goes on for more than {} MiB after its end",
                        self.limits.trailing >> 20
                    ))),
                    false => Ok(bytes.len()),
                }
            }
        }
    }

    fn header_block(&mut self, visitor: &mut dyn Visitor) -> Result<()> {
        let is_zero = self.header == [0; BLOCK];
        self.state = match (is_zero, &self.state) {
            (true, State::LoneZeroBlock) => State::End { seen: 0 },
            (true, _) => State::LoneZeroBlock,
            (false, State::LoneZeroBlock) => {
                return Err(Error::corrupt(format!("a lone zero block at byte {}", self.position - 1024)));
            }
            (false, _) => return self.begin(visitor).context(|| self.place()),
        };
        Ok(())
    }

    /// For people: which entry is wrong.
    fn place(&self) -> String {
        let path = String::from_utf8_lossy(text(&self.header[..100])).into_owned();
        match path.chars().any(char::is_control) || path.is_empty() {
            true => format!("entry {}", self.entries + 1),
            false => format!("entry {} (`{path}`)", self.entries + 1),
        }
    }

    /// A header has come.
    fn begin(&mut self, visitor: &mut dyn Visitor) -> Result<()> {
        let block = self.header;
        let header = Header::checked(&block).ok_or_else(|| match self.entries {
            0 => Error::corrupt("this is not a tar archive"),
            _ => Error::corrupt("the header's checksum is wrong"),
        })?;
        match header.type_flag() {
            type_flag @ (b'L' | b'K' | b'x' | b'g') => {
                let size = header.size()?;
                if size > self.limits.extension {
                    return Err(Error::unsupported(format!(
                        "an extended header of {size} bytes; the limit is {}",
                        self.limits.extension
                    )));
                }
                self.extension.clear();
                match size {
                    0 => self.end_of_extension(type_flag),
                    left => {
                        self.state = State::Extension { type_flag, left };
                        Ok(())
                    }
                }
            }
            // A volume label is a note, not an entry.
            b'V' => {
                let size = header.size()?;
                self.skip_all(size)
            }
            b'S' => self.begin_gnu_sparse(&header, visitor),
            _ => self.begin_entry(&header, visitor),
        }
    }

    fn skip_all(&mut self, size: u64) -> Result<()> {
        self.check_size(size)?;
        self.state = skip(size + padding(size));
        Ok(())
    }

    /// So that sums of positions and sizes cannot overflow.
    fn check_size(&self, size: u64) -> Result<()> {
        match size.checked_add(self.position).is_some_and(|end| end < 1 << 62) {
            true => Ok(()),
            false => Err(Error::corrupt(format!("a size of {size} bytes"))),
        }
    }

    fn end_of_extension(&mut self, type_flag: u8) -> Result<()> {
        let size = self.extension.len() as u64;
        self.state = skip(padding(size));
        match type_flag {
            b'L' => self.long_path = Some(text(&self.extension).to_vec()),
            b'K' => self.long_target = Some(text(&self.extension).to_vec()),
            b'x' => {
                let mut local = self.global.clone();
                local.apply(&self.extension)?;
                self.local = Some(local);
            }
            _ => {
                self.global_bytes += size;
                if self.global_bytes > self.limits.global {
                    let limit = self.limits.global;
                    return Err(Error::unsupported(format!("global PAX headers of more than {limit} bytes")));
                }
                self.global.apply(&self.extension)?;
            }
        }
        Ok(())
    }

    fn begin_gnu_sparse(&mut self, header: &Header<'_>, visitor: &mut dyn Visitor) -> Result<()> {
        let (fields, more, size) = header.sparse()?;
        let mut pairs = Vec::new();
        sparse::gnu_pairs(fields, &mut pairs)?;
        if more {
            self.state = State::GnuSparse { pairs };
            return Ok(());
        }
        let segments = sparse::checked(pairs.into_iter(), size)?;
        let stored = self.stored(header)?;
        self.file(header, visitor, Mapped { size, stored, segments: Some(segments) })
    }

    /// A block of a sparse file's map has come.
    fn map_block(&mut self, visitor: &mut dyn Visitor) -> Result<()> {
        let block = self.header;
        let header = Header::checked(&block).expect("it was checked when the entry began");
        match &mut self.state {
            State::GnuSparse { pairs } => {
                sparse::gnu_pairs(&self.block[..504], pairs)?;
                if self.block[504] != 0 {
                    return Ok(());
                }
                let pairs = std::mem::take(pairs);
                let (_, _, size) = header.sparse()?;
                let segments = sparse::checked(pairs.into_iter(), size).context(|| self.place())?;
                let stored = self.stored(&header)?;
                self.file(&header, visitor, Mapped { size, stored, segments: Some(segments) })
            }
            State::SparseMap { map, size, left } => {
                let complete = map.push(&self.block)?;
                *left = left
                    .checked_sub(BLOCK as u64)
                    .ok_or_else(|| Error::corrupt("the map of a sparse file is longer than its data"))?;
                if !complete {
                    return Ok(());
                }
                let (segments, size, stored) = (map.segments(*size), *size, *left);
                let segments = Some(segments.context(|| self.place())?);
                self.file(&header, visitor, Mapped { size, stored, segments })
            }
            _ => unreachable!("only these two states collect map blocks"),
        }
    }

    /// How many bytes of content follow.
    fn stored(&self, header: &Header<'_>) -> Result<u64> {
        let attributes = self.local.as_ref().unwrap_or(&self.global);
        let size = match attributes.size {
            Some(size) => size,
            None => header.size()?,
        };
        self.check_size(size)?;
        Ok(size)
    }

    fn begin_entry(&mut self, header: &Header<'_>, visitor: &mut dyn Visitor) -> Result<()> {
        let what = match header.type_flag() {
            b'0' | 0 | b'7' => return self.begin_file(header, visitor),
            b'1' => What::HardLink,
            b'2' => What::Symlink,
            b'3' => What::CharDevice,
            b'4' => What::BlockDevice,
            b'5' => What::Directory,
            b'6' => What::Fifo,
            // GNU's incremental dumps list a directory's names as its content.
            b'D' => {
                let size = self.stored(header)?;
                self.tell(header, visitor, What::Directory)?;
                return self.skip_all(size);
            }
            b'M' => return Err(Error::unsupported("it continues a file from another volume")),
            other => {
                return Err(Error::unsupported(format!("its type `{}` is not known", other.escape_ascii())));
            }
        };
        self.tell(header, visitor, what).map(drop)
    }

    fn begin_file(&mut self, header: &Header<'_>, visitor: &mut dyn Visitor) -> Result<()> {
        let stored = self.stored(header)?;
        let attributes = self.local.as_ref().unwrap_or(&self.global);
        match attributes.sparse.layout()? {
            Layout::Plain => self.file(header, visitor, Mapped { size: stored, stored, segments: None }),
            Layout::Mapped { size, segments } => {
                self.file(header, visitor, Mapped { size, stored, segments: Some(segments) })
            }
            Layout::MapInData { size } => {
                self.state = State::SparseMap { map: TextMap::default(), size, left: stored };
                Ok(())
            }
        }
    }

    /// Tells a file, whose content begins with the next byte.
    fn file(&mut self, header: &Header<'_>, visitor: &mut dyn Visitor, mapped: Mapped) -> Result<()> {
        let needed: u64 = mapped.segments.iter().flatten().map(|s| s.length).sum();
        if needed > mapped.stored {
            return Err(Error::corrupt(format!("a sparse file stores {} of {needed} bytes", mapped.stored)));
        }
        let wanted = if mapped.segments.is_some() { needed } else { mapped.stored };
        let after = mapped.stored - wanted + padding(mapped.stored);
        self.check_size(mapped.size)?;
        let is_directory = self.tell(header, visitor, What::File(mapped))?;
        self.state = match wanted {
            0 => skip(after),
            left => State::Data { left, after, wanted: !is_directory },
        };
        Ok(())
    }

    /// Tells an entry; whether it is a directory.
    fn tell(&mut self, header: &Header<'_>, visitor: &mut dyn Visitor, what: What) -> Result<bool> {
        let mut attributes = self.local.take().unwrap_or_else(|| self.global.clone());
        let long_path = self.long_path.take();
        let long_target = self.long_target.take();
        let path = attributes.sparse.name.take().or(attributes.path.take()).or(long_path);
        let path = path.unwrap_or_else(|| header.path());
        let target = attributes.link_target.take().or(long_target);
        let target = target.as_deref().unwrap_or(header.link_target());
        self.state = State::Header;
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::new(
                Kind::Unsupported,
                format!("the archive has more than {} entries", self.limits.entries),
            ));
        }
        let kind = match &what {
            // Archives of before POSIX have no other way to say it.
            What::File(_) if path.ends_with(b"/") => EntryKind::Directory,
            What::File(mapped) => EntryKind::File(FileData {
                size: mapped.size,
                offset: self.position,
                stored: mapped.stored,
                segments: mapped.segments.as_deref(),
            }),
            What::Directory => EntryKind::Directory,
            What::Symlink => EntryKind::Symlink(target),
            What::HardLink => EntryKind::HardLink(target),
            What::CharDevice => EntryKind::CharDevice(header.device()?),
            What::BlockDevice => EntryKind::BlockDevice(header.device()?),
            What::Fifo => EntryKind::Fifo,
        };
        let mtime = match attributes.mtime {
            Some(mtime) => mtime,
            None => ModificationTime { seconds: header.mtime()?, nanoseconds: 0 },
        };
        let entry = Entry {
            path: &path,
            mode: header.mode()?,
            uid: owner(attributes.uid.map_or_else(|| header.uid(), Ok)?)?,
            gid: owner(attributes.gid.map_or_else(|| header.gid(), Ok)?)?,
            mtime,
            xattrs: &attributes.xattrs,
            kind,
        };
        let is_directory = matches!(entry.kind, EntryKind::Directory);
        visitor.entry(&entry).map(|()| is_directory)
    }
}

/// What the type flag says.
enum What {
    File(Mapped),
    Directory,
    Symlink,
    HardLink,
    CharDevice,
    BlockDevice,
    Fifo,
}

/// A file's length and what of it is stored.
struct Mapped {
    size: u64,
    stored: u64,
    segments: Option<Vec<Segment>>,
}

/// Linux keeps the highest number for "nobody was named".
fn owner(id: u64) -> Result<u32> {
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Error::corrupt(format!("no user or group can have the number {id}"))),
    }
}

fn skip(left: u64) -> State {
    match left {
        0 => State::Header,
        left => State::Skip { left },
    }
}

/// Fills a block; how many bytes it took and whether it is full (then the next one begins).
fn fill(block: &mut [u8; BLOCK], filled: &mut usize, bytes: &[u8]) -> (usize, bool) {
    let taken = bytes.len().min(BLOCK - *filled);
    block[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
    *filled = (*filled + taken) % BLOCK;
    (taken, *filled == 0)
}
