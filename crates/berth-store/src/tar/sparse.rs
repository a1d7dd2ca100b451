//! Sparse files: where the parts that are stored belong. Three formats, one result: ascending [`Segment`]s inside
//! the file.

use super::number::{decimal, unsigned_field};
use super::{BLOCK, Segment};
use berth_oci::{Error, Result};

/// A file in more pieces than this is not made by anything but malice.
pub(super) const SEGMENT_LIMIT: usize = 1 << 18;

/// How the bytes of a file lie in the archive.
#[derive(Debug)]
pub(super) enum Layout {
    /// One after the other.
    Plain,
    /// Only these parts, one after the other.
    Mapped { size: u64, segments: Vec<Segment> },
    /// The map is text in front of the parts (PAX sparse format 1.0).
    MapInData { size: u64 },
}

/// Pairs of offset and length, empty ones left out.
pub(super) fn checked(pairs: impl Iterator<Item = [u64; 2]>, size: u64) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut free_from = 0u64;
    for [offset, length] in pairs {
        let end = offset.checked_add(length).filter(|&end| end <= size && offset >= free_from);
        free_from = end.ok_or_else(|| {
            Error::corrupt(format!("the map of a sparse file of {size} bytes has a part {offset}+{length}"))
        })?;
        if length > 0 {
            segments.push(Segment { offset, length });
        }
        if segments.len() > SEGMENT_LIMIT {
            return Err(Error::unsupported(format!("a sparse file has more than {SEGMENT_LIMIT} parts")));
        }
    }
    Ok(segments)
}

/// Old GNU headers: pairs of twelve-byte fields; the first empty one ends the list.
pub(super) fn gnu_pairs(fields: &[u8], pairs: &mut Vec<[u64; 2]>) -> Result<()> {
    for pair in fields.as_chunks::<24>().0 {
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        let number = |field| {
            unsigned_field(field).ok_or_else(|| Error::corrupt("the map of a sparse file is malformed"))
        };
        pairs.push([number(&pair[..12])?, number(&pair[12..])?]);
    }
    match pairs.len() > SEGMENT_LIMIT {
        true => Err(Error::unsupported(format!("a sparse file has more than {SEGMENT_LIMIT} parts"))),
        false => Ok(()),
    }
}

/// The map of format 1.0, which arrives block by block: a count, then that many pairs, a decimal line each.
#[derive(Debug, Default)]
pub(super) struct TextMap {
    line: Vec<u8>,
    expected: Option<usize>,
    numbers: Vec<u64>,
}

impl TextMap {
    /// Takes a block in; whether the map is complete.
    pub(super) fn push(&mut self, block: &[u8; BLOCK]) -> Result<bool> {
        let malformed = || Error::corrupt("the map of a sparse file is malformed");
        for &byte in block {
            if byte != b'\n' {
                self.line.push(byte);
                (self.line.len() <= 20).then_some(()).ok_or_else(malformed)?;
                continue;
            }
            let number = decimal(&self.line).ok_or_else(malformed)?;
            self.line.clear();
            match self.expected {
                None => self.expected = Some(count(number)?),
                Some(_) => self.numbers.push(number),
            }
            if self.expected == Some(self.numbers.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn segments(&self, size: u64) -> Result<Vec<Segment>> {
        checked(self.numbers.as_chunks::<2>().0.iter().copied(), size)
    }
}

fn count(pairs: u64) -> Result<usize> {
    match usize::try_from(pairs) {
        Ok(pairs) if pairs <= SEGMENT_LIMIT => Ok(pairs * 2),
        _ => Err(Error::unsupported(format!("a sparse file has more than {SEGMENT_LIMIT} parts"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let check = |pairs: &[[u64; 2]], size| checked(pairs.iter().copied(), size).map(|s| s.len()).ok();
        for (pairs, size, expected) in [
            (&[][..], 5, Some(0)),
            (&[[0, 5]], 5, Some(1)),
            (&[[0, 2], [2, 2], [5, 0]], 5, Some(2)),
            (&[[0, 6]], 5, None),
            (&[[2, 2], [0, 2]], 5, None),
            (&[[0, 3], [2, 2]], 5, None),
            (&[[u64::MAX, 2]], u64::MAX, None),
        ] {
            assert_eq!(check(pairs, size), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_text_map_may_span_blocks() {
        let mut text = b"100\n".to_vec();
        for index in 0..100 {
            text.extend_from_slice(format!("{}\n{}\n", index * 10, 5).as_bytes());
        }
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let mut map = TextMap::default();
        let done: Vec<bool> = text.as_chunks().0.iter().map(|block| map.push(block).unwrap()).collect();
        assert_eq!(done, [false, true]);
        assert_eq!(map.segments(1000).unwrap().len(), 100);
    }

    #[test]
    fn a_text_map_is_bounded() {
        let block = |text: &str| {
            let mut block = [0; BLOCK];
            block[..text.len()].copy_from_slice(text.as_bytes());
            TextMap::default().push(&block)
        };
        assert!(block("9999999\n").is_err());
        assert!(block("2\n1\nx\n").is_err());
        assert!(block("123456789012345678901").is_err());
        assert!(block("0\n").unwrap());
    }
}
