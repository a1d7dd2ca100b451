//! Extended attributes on disk: those that several inodes have lie in one shared area, the others behind their
//! inode (`struct erofs_xattr_ibody_header`, `struct erofs_xattr_entry`).

use crate::layer::{Attribute, Attributes};

/// A count of one byte.
const SHARED_LIMIT: usize = 255;
const HEADER: usize = 12;

/// Which attributes are shared, and where.
pub(super) struct Shared {
    /// For each attribute its offset in the area, in words of four bytes.
    offsets: Vec<Option<u32>>,
    area: Vec<u8>,
}

impl Shared {
    /// `uses`: for each attribute how many inodes have it.
    pub(super) fn new(attributes: &Attributes, uses: &[u32]) -> Self {
        let mut shared = Self { offsets: Vec::new(), area: Vec::new() };
        for (attribute, &uses) in attributes.all().iter().zip(uses) {
            let offset = (uses > 1).then_some((shared.area.len() / 4) as u32);
            shared.offsets.push(offset);
            if offset.is_some() {
                entry(attribute, &mut shared.area);
            }
        }
        shared
    }

    pub(super) fn area(&self) -> &[u8] {
        &self.area
    }

    /// What follows an inode that has these attributes; empty if there are none.
    pub(super) fn body(&self, attributes: &Attributes, set: u32) -> Vec<u8> {
        let numbers = attributes.numbers(set);
        if numbers.is_empty() {
            return Vec::new();
        }
        let offset = |number: &u32| self.offsets[*number as usize];
        let shared: Vec<u32> = numbers.iter().filter_map(offset).take(SHARED_LIMIT).collect();
        let mut body = vec![0; HEADER];
        body[4] = shared.len() as u8;
        for offset in &shared {
            body.extend_from_slice(&offset.to_le_bytes());
        }
        let inline = |number: &&u32| !offset(number).is_some_and(|offset| shared.contains(&offset));
        for number in numbers.iter().filter(inline) {
            entry(&attributes.all()[*number as usize], &mut body);
        }
        body
    }
}

/// How an inode counts its attributes: words of four bytes after the header, and one for the header.
pub(super) fn count(body_length: usize) -> Option<u16> {
    match body_length {
        0 => Some(0),
        length => u16::try_from((length - HEADER) / 4 + 1).ok(),
    }
}

fn entry(attribute: &Attribute, out: &mut Vec<u8>) {
    let suffix = attribute.suffix();
    out.push(suffix.len() as u8);
    out.push(attribute.namespace);
    out.extend_from_slice(&(attribute.value.len() as u16).to_le_bytes());
    out.extend_from_slice(suffix);
    out.extend_from_slice(&attribute.value);
    out.resize(out.len().next_multiple_of(4), 0);
}
