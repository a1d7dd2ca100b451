//! Room for inodes, one behind the other. What is packed behind an inode may not reach into the next block; the gaps
//! that this leaves are for inodes that fit there, and a layer of many small directories is a third smaller for it.

use super::format::{BLOCK, DataLayout, SLOT};
use super::inode::Shape;

const SLOTS: usize = (BLOCK / SLOT) as usize;

/// The room that is taken, and the gaps in it.
pub(super) struct Room {
    end: u64,
    /// Where gaps of so many slots begin.
    gaps: [Vec<u64>; SLOTS],
}

impl Room {
    /// Room from `start` on.
    pub(super) fn new(start: u64) -> Self {
        Self { end: start, gaps: std::array::from_fn(|_| Vec::new()) }
    }

    /// Where the last inode ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The place of an inode. One that has blocks elsewhere comes behind all that were placed before it.
    pub(super) fn take(&mut self, shape: &Shape) -> u64 {
        let slots = shape.length.div_ceil(SLOT) as usize;
        if shape.blocks == 0
            && let Some(place) = self.gap(slots)
        {
            return place;
        }
        let left = BLOCK - self.end % BLOCK;
        if shape.layout == DataLayout::Inline && shape.length > left {
            self.gaps[(left / SLOT) as usize].push(self.end);
            self.end += left;
        }
        let place = self.end;
        self.end += slots as u64 * SLOT;
        place
    }

    /// The beginning of the smallest gap that is large enough; what is left of it is a gap, too.
    fn gap(&mut self, slots: usize) -> Option<u64> {
        let size = (slots..SLOTS).find(|&size| !self.gaps[size].is_empty())?;
        let place = self.gaps[size].pop()?;
        self.gaps[size - slots].push(place + slots as u64 * SLOT);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(layout: DataLayout, length: u64, blocks: u64) -> Shape {
        Shape { is_compact: true, layout, length, blocks }
    }

    #[test]
    fn gaps_are_for_inodes_that_fit() {
        let mut room = Room::new(0);
        let directory = inode(DataLayout::Inline, 300, 0);
        assert_eq!([room.take(&directory), room.take(&directory)], [0, 512]);
        let (file, long) = (inode(DataLayout::Plain, 32, 0), inode(DataLayout::Plain, 64, 1));
        // 320 to 512 is free; who has blocks elsewhere stays in the order.
        assert_eq!([room.take(&file), room.take(&long)], [320, 832]);
        let link = inode(DataLayout::Inline, 150, 0);
        assert_eq!([room.take(&link), room.take(&link)], [352, 1024]);
        assert_eq!(room.take(&file), 896);
        assert_eq!(room.end(), 1184);
    }
}
