//! PAX records (POSIX.1 `pax`, "pax Header Block"): `length key=value\n`, and what they say about an entry.

use super::number::{decimal, time};
use super::sparse::{self, Layout};
use super::{ModificationTime, Segment};
use berth_oci::{Error, Result};
use std::collections::BTreeMap;

/// What records say about an entry; `None` leaves the header's word.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<ModificationTime>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: SparseRecords,
}

/// The `GNU.sparse.*` records, not yet put together.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseRecords {
    /// The real name: `path` is then one for programs that do not know the format.
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    map: Vec<u64>,
}

impl Attributes {
    /// Takes the records of one header in; later ones win, and an empty value takes an earlier one back.
    pub(super) fn apply(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or_else(|| Error::corrupt("a PAX record is malformed"))?;
            self.set(key, value).ok_or_else(|| {
                Error::corrupt(format!("the PAX record `{}` has a wrong value", String::from_utf8_lossy(key)))
            })?;
            bytes = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link_target = name(value)?,
            b"size" => self.size = unless_empty(value, decimal)?,
            b"uid" => self.uid = unless_empty(value, decimal)?,
            b"gid" => self.gid = unless_empty(value, decimal)?,
            b"mtime" => self.mtime = unless_empty(value, time)?,
            _ => match key.strip_prefix(b"SCHILY.xattr.") {
                Some(xattr) if xattr.is_empty() || xattr.contains(&0) => return None,
                Some(xattr) => {
                    self.xattrs.insert(xattr.to_vec(), value.to_vec());
                }
                // Names are bytes to us in every `hdrcharset`; the other keys are words about words.
                None => self.sparse.set(key.strip_prefix(b"GNU.sparse.").unwrap_or_default(), value)?,
            },
        }
        Some(())
    }
}

impl SparseRecords {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = name(value)?,
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" => {
                let is_pair = self.map.len().is_multiple_of(2);
                is_pair.then(|| self.map.push(0))?;
                *self.map.last_mut()? = decimal(value)?;
            }
            b"numbytes" => {
                let is_offset = !self.map.len().is_multiple_of(2);
                is_offset.then_some(())?;
                self.map.push(decimal(value)?);
            }
            b"map" if value.is_empty() => self.map.clear(),
            b"map" => self.map = value.split(|&b| b == b',').map(decimal).collect::<Option<_>>()?,
            _ => {}
        }
        Some(())
    }

    /// How the records say that the file is laid out.
    pub(super) fn layout(&self) -> Result<Layout> {
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0), self.size) {
            (0, _, None) if self.map.is_empty() && self.major.is_none() => Ok(Layout::Plain),
            (0, 0 | 1, Some(size)) => Ok(Layout::Mapped { size, segments: self.segments(size)? }),
            (1, 0, Some(size)) => Ok(Layout::MapInData { size }),
            (0 | 1, 0 | 1, None) => Err(Error::corrupt("a sparse file does not tell its length")),
            (major, minor, _) => {
                Err(Error::unsupported(format!("sparse files in format {major}.{minor} are not known")))
            }
        }
    }

    fn segments(&self, size: u64) -> Result<Vec<Segment>> {
        let (pairs, rest) = self.map.as_chunks::<2>();
        match rest {
            [] => sparse::checked(pairs.iter().copied(), size),
            _ => Err(Error::corrupt("the map of a sparse file ends in the middle")),
        }
    }
}

/// The first record and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let (this, rest) = bytes.split_at_checked(length)?;
    let this = this.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = this.iter().position(|&b| b == b'=')?;
    (equals > 0).then(|| (&this[..equals], &this[equals + 1..], rest))
}

fn name(value: &[u8]) -> Option<Option<Vec<u8>>> {
    match value {
        [] => Some(None),
        value if value.contains(&0) => None,
        value => Some(Some(value.to_vec())),
    }
}

fn unless_empty<T>(value: &[u8], parse: fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    match value {
        [] => Some(None),
        value => parse(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::testing::record;

    fn parse(records: &[(&str, &str)]) -> Result<Attributes> {
        let bytes: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v.as_bytes())).collect();
        let mut attributes = Attributes::default();
        attributes.apply(&bytes).map(|()| attributes)
    }

    #[test]
    fn records() {
        let words = [("path", "a=b\nc"), ("uid", "1000"), ("SCHILY.xattr.user.a", "1"), ("other", "x")];
        let found = parse(&words).unwrap();
        assert_eq!(found.path.as_deref(), Some(&b"a=b\nc"[..]));
        assert_eq!((found.uid, found.gid), (Some(1000), None));
        assert_eq!(found.xattrs[&b"user.a"[..]], b"1");
        assert_eq!(parse(&[("path", "x"), ("path", "")]).unwrap().path, None);
    }

    #[test]
    fn malformed_records() {
        for text in [
            "path=x\n",
            "0 path=x\n",
            "8 path=x\n",
            "11 path=x\n",
            "4 a\n",
            "99999999999999999999 a=b\n",
            "5 =x\n",
        ] {
            assert!(Attributes::default().apply(text.as_bytes()).is_err(), "{text:?}");
        }
        for (key, value) in [
            ("uid", "12x"),
            ("uid", "-1"),
            ("size", "99999999999999999999"),
            ("mtime", "x"),
            ("path", "a\0b"),
            ("SCHILY.xattr.", "v"),
            ("GNU.sparse.map", "1,,2"),
            ("GNU.sparse.numbytes", "1"),
        ] {
            assert!(parse(&[(key, value)]).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn sparse_records() {
        let layout = |records: &[(&str, &str)]| parse(records).and_then(|a| a.sparse.layout());
        assert!(matches!(layout(&[("path", "x")]), Ok(Layout::Plain)));
        let mapped = layout(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,1,9,2")]);
        let expected = [Segment { offset: 0, length: 1 }, Segment { offset: 9, length: 2 }];
        assert!(matches!(mapped, Ok(Layout::Mapped { size: 100, segments }) if segments == expected));
        let pairs = [("GNU.sparse.size", "100"), ("GNU.sparse.offset", "5"), ("GNU.sparse.numbytes", "6")];
        assert!(matches!(layout(&pairs), Ok(Layout::Mapped { segments, .. }) if segments.len() == 1));
        assert!(layout(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,1,9")]).is_err());
        assert!(layout(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]).is_err());
        assert!(layout(&[("GNU.sparse.major", "2"), ("GNU.sparse.realsize", "0")]).is_err());
        let one = layout(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "7")]);
        assert!(matches!(one, Ok(Layout::MapInData { size: 7 })));
    }
}
