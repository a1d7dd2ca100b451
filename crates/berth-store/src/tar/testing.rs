//! Archives for tests, written by hand where programs would not write them.

use super::{BLOCK, padding};

/// A header being written.
#[derive(Clone)]
pub(crate) struct Head(pub(crate) [u8; BLOCK]);

impl Head {
    /// A ustar header of a type.
    pub(crate) fn new(type_flag: u8, path: &str) -> Self {
        let mut head = Self([0; BLOCK]).bytes(0, path.as_bytes()).octal(100, 8, 0o644).octal(108, 8, 0);
        head = head.octal(116, 8, 0).octal(124, 12, 0).octal(136, 12, 1_700_000_000);
        head.0[156] = type_flag;
        head.bytes(257, b"ustar\x0000")
    }

    pub(crate) fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn octal(self, at: usize, length: usize, number: u64) -> Self {
        let digits = length - 1;
        self.bytes(at, format!("{number:0digits$o}").as_bytes())
    }

    pub(crate) fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        self.octal(108, 8, uid).octal(116, 8, gid)
    }

    pub(crate) fn size(self, size: u64) -> Self {
        self.octal(124, 12, size)
    }

    pub(crate) fn target(self, target: &str) -> Self {
        self.bytes(157, target.as_bytes())
    }

    pub(crate) fn device(self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major).octal(337, 8, minor)
    }

    /// With the right checksum.
    pub(crate) fn done(self) -> [u8; BLOCK] {
        let blank = self.bytes(148, b"        ");
        let sum: u64 = blank.0.iter().map(|&b| u64::from(b)).sum();
        blank.octal(148, 7, sum).bytes(155, b" ").0
    }
}

/// An archive being written.
#[derive(Clone, Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn head(mut self, head: Head) -> Self {
        self.0.extend_from_slice(&head.done());
        self
    }

    /// A header and its content, whose size it gets.
    pub(crate) fn with(self, head: Head, content: &[u8]) -> Self {
        self.head(head.size(content.len() as u64)).content(content)
    }

    pub(crate) fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len() + padding(content.len() as u64) as usize, 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.with(Head::new(b'0', path), content)
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.head(Head::new(b'5', path).mode(0o755))
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.head(Head::new(b'2', path).mode(0o777).target(target))
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.head(Head::new(b'1', path).target(target))
    }

    /// PAX records for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.with(Head::new(b'x', "PaxHeaders/x"), &content)
    }

    /// The two zero blocks.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

/// A PAX record, which begins with its own length.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
