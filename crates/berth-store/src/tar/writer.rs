//! Tar archives as we write them: one header a name, PAX records only where ustar cannot say it, and the same
//! bytes for the same content on every machine.
//!
//! Invariant: an entry's header promises exactly the bytes that follow it, or the write fails.

use super::{BLOCK, Device, padding};
use berth_oci::{Error, Result};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// What seven octal digits hold: owners and groups.
const OWNER_LIMIT: u32 = 1 << 21;
/// What eleven octal digits hold: sizes and times.
const LONG_LIMIT: u64 = 1 << 33;

/// One entry to be written.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// Its name, without a leading or a trailing slash.
    pub path: &'a [u8],
    /// What it is.
    pub kind: NewKind<'a>,
    /// The permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content changed, in seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry to be written is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKind<'a> {
    /// A file of that many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(&'a [u8]),
    /// Another name for an earlier entry.
    HardLink(&'a [u8]),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Writes an archive.
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// An archive without entries.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry; a file's bytes come from `content`.
    ///
    /// # Errors
    /// `content` ends too early, or the sink is full.
    pub fn entry(&mut self, entry: &NewEntry<'_>, content: &mut dyn Read) -> Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            self.extension(entry, &records)?;
        }
        self.out.write_all(&header(entry))?;
        let NewKind::File(size) = entry.kind else { return Ok(()) };
        let written = std::io::copy(&mut content.take(size), &mut self.out)?;
        if written != size {
            let name = String::from_utf8_lossy(entry.path);
            return Err(Error::conflict(format!("`{name}` ended after {written} of its {size} bytes"))
                .hint("somebody changed it while it was read; try again"));
        }
        self.pad(size)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// The sink is full.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn extension(&mut self, entry: &NewEntry<'_>, records: &[u8]) -> Result<()> {
        let base = entry.path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let name = [b"PaxHeaders.0/", &base[..base.len().min(80)]].concat();
        let mut block = [0; BLOCK];
        put(&mut block, 0, &ascii(&name));
        put(&mut block, 100, b"0000644\x000000000\x000000000\0");
        put_number(&mut block, 124, 12, records.len() as u64);
        put_number(&mut block, 136, 12, 0);
        block[156] = b'x';
        self.out.write_all(&sealed(block))?;
        self.out.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        Ok(self.out.write_all(&[0; BLOCK][..padding(size) as usize])?)
    }
}

/// The name as written: a directory's ends in a slash.
fn written(entry: &NewEntry<'_>) -> Vec<u8> {
    let slash = matches!(entry.kind, NewKind::Directory) && !entry.path.ends_with(b"/");
    [entry.path, if slash { b"/" } else { b"" }].concat()
}

fn target<'a>(kind: &NewKind<'a>) -> &'a [u8] {
    match kind {
        NewKind::Symlink(target) | NewKind::HardLink(target) => target,
        _ => b"",
    }
}

/// The PAX records that the entry needs, in the order of their keys.
fn records(entry: &NewEntry<'_>) -> Vec<u8> {
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut add = |key: &[u8], value: Vec<u8>| drop(records.insert(key.to_vec(), value));
    let name = written(entry);
    if !fits(&name) {
        add(b"path", name);
    }
    if !fits(target(&entry.kind)) {
        add(b"linkpath", target(&entry.kind).to_vec());
    }
    if let NewKind::File(size) = entry.kind
        && size >= LONG_LIMIT
    {
        add(b"size", size.to_string().into_bytes());
    }
    for (key, owner) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if owner >= OWNER_LIMIT {
            add(key, owner.to_string().into_bytes());
        }
    }
    if !u64::try_from(entry.mtime).is_ok_and(|mtime| mtime < LONG_LIMIT) {
        add(b"mtime", entry.mtime.to_string().into_bytes());
    }
    for (name, value) in entry.xattrs {
        add(&[b"SCHILY.xattr.", &name[..]].concat(), value.clone());
    }
    records.iter().flat_map(|(key, value)| record(key, value)).collect()
}

/// Whether the name field holds it as it is.
fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// `length key=value\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn header(entry: &NewEntry<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let cut = |name: &[u8]| ascii(&name[..name.len().min(100)]);
    put(&mut block, 0, &cut(&written(entry)));
    put_number(&mut block, 100, 8, u64::from(entry.mode & 0o7777));
    put_number(&mut block, 108, 8, u64::from(entry.uid.min(OWNER_LIMIT - 1)));
    put_number(&mut block, 116, 8, u64::from(entry.gid.min(OWNER_LIMIT - 1)));
    let size = if let NewKind::File(size) = entry.kind { size.min(LONG_LIMIT - 1) } else { 0 };
    put_number(&mut block, 124, 12, size);
    put_number(&mut block, 136, 12, u64::try_from(entry.mtime).unwrap_or(0).min(LONG_LIMIT - 1));
    block[156] = match entry.kind {
        NewKind::File(_) => b'0',
        NewKind::HardLink(_) => b'1',
        NewKind::Symlink(_) => b'2',
        NewKind::CharDevice(_) => b'3',
        NewKind::BlockDevice(_) => b'4',
        NewKind::Directory => b'5',
        NewKind::Fifo => b'6',
    };
    put(&mut block, 157, &cut(target(&entry.kind)));
    if let NewKind::CharDevice(device) | NewKind::BlockDevice(device) = entry.kind {
        put_number(&mut block, 329, 8, u64::from(device.major));
        put_number(&mut block, 337, 8, u64::from(device.minor));
    }
    sealed(block)
}

/// With magic and checksum.
fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_number(block: &mut [u8; BLOCK], at: usize, length: usize, number: u64) {
    let text = format!("{number:0width$o}\0", width = length - 1);
    put(block, at, text.as_bytes());
}

/// Readers that know no PAX see something printable.
fn ascii(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if byte.is_ascii() { *byte } else { b'_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Entry, EntryKind, Limits, Scanner, Visitor};

    #[derive(Default)]
    struct Shown(Vec<String>);

    impl Visitor for Shown {
        fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let kind = match &entry.kind {
                EntryKind::File(data) => format!("file {}", data.size),
                EntryKind::Directory => "directory".to_owned(),
                EntryKind::Symlink(target) => format!("-> {}", text(target)),
                EntryKind::HardLink(target) => format!("= {}", text(target)),
                EntryKind::CharDevice(d) => format!("c {} {}", d.major, d.minor),
                EntryKind::BlockDevice(d) => format!("b {} {}", d.major, d.minor),
                EntryKind::Fifo => "fifo".to_owned(),
            };
            let (path, mode, uid, gid) = (text(entry.path), entry.mode, entry.uid, entry.gid);
            let xattrs: Vec<_> =
                entry.xattrs.iter().map(|(k, v)| format!(" {}={}", text(k), text(v))).collect();
            let time = entry.mtime.seconds;
            self.0.push(format!("{path} {kind} {mode:o} {uid}:{gid} {time}{}", xattrs.concat()));
            Ok(())
        }

        fn data(&mut self, _bytes: &[u8]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_is_written_is_read_back() {
        let none = BTreeMap::new();
        let capability = BTreeMap::from([(b"security.capability".to_vec(), b"\x01\n=x".to_vec())]);
        let long = "d/".repeat(80) + "é";
        let base = NewEntry {
            path: b"a",
            kind: NewKind::File(3),
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: 1_700_000_000,
            xattrs: &none,
        };
        for (entry, expected) in [
            (base.clone(), "a file 3 4755 1:2 1700000000".to_owned()),
            (
                NewEntry { kind: NewKind::Directory, ..base.clone() },
                "a/ directory 4755 1:2 1700000000".to_owned(),
            ),
            (
                NewEntry { path: long.as_bytes(), mtime: -5, ..base.clone() },
                format!("{long} file 3 4755 1:2 -5"),
            ),
            (
                NewEntry { kind: NewKind::Symlink(long.as_bytes()), uid: 4_000_000_000, ..base.clone() },
                format!("a -> {long} 4755 4000000000:2 1700000000"),
            ),
            (
                NewEntry { kind: NewKind::HardLink(b"b"), ..base.clone() },
                "a = b 4755 1:2 1700000000".to_owned(),
            ),
            (
                NewEntry { kind: NewKind::CharDevice(Device { major: 5, minor: 1 }), ..base.clone() },
                "a c 5 1 4755 1:2 1700000000".to_owned(),
            ),
            (
                NewEntry { xattrs: &capability, ..base.clone() },
                "a file 3 4755 1:2 1700000000 security.capability=\x01\n=x".to_owned(),
            ),
        ] {
            let mut writer = Writer::new(Vec::new());
            writer.entry(&entry, &mut &b"abc"[..]).unwrap();
            let bytes = writer.finish().unwrap();
            let mut shown = Shown::default();
            let mut scanner = Scanner::new(Limits::default());
            scanner.push(&bytes, &mut shown).unwrap();
            scanner.finish().unwrap();
            assert_eq!(shown.0, [expected]);
        }
        let error = Writer::new(Vec::new()).entry(&base, &mut &b"ab"[..]).unwrap_err();
        assert!(error.to_string().contains("ended after 2 of its 3 bytes"), "{error}");
    }
}
