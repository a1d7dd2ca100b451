//! Chunks: a file whose content lies in one piece is one chunk, as large a power of two as it takes.

use super::format::{BLOCK, BLOCK_BITS};

/// The format has five bits for it.
const BITS_LIMIT: u32 = 31;
/// The chunks are described by eight bytes each, which name a device.
const WITH_INDEXES: u32 = 0x20;

/// How the content of a file is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    bits: u32,
    pub(super) count: u64,
}

impl Chunks {
    pub(super) fn of(size: u64) -> Self {
        let blocks = size.div_ceil(BLOCK).max(1);
        let bits = blocks.next_power_of_two().trailing_zeros().min(BITS_LIMIT);
        Self { bits, count: blocks.div_ceil(1 << bits) }
    }

    /// The inode's word about it.
    pub(super) fn format(self) -> u32 {
        WITH_INDEXES | self.bits
    }

    /// How many blocks a chunk has.
    pub(super) fn blocks(self) -> u64 {
        1 << self.bits
    }
}

/// The blocks that so many bytes take.
pub(super) fn blocks(size: u64) -> u64 {
    size.div_ceil(1 << BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_chunk_up_to_a_tebibyte() {
        for (size, bits, count) in
            [(1, 0, 1), (512, 0, 1), (513, 1, 1), (4 << 30, 23, 1), (1 << 40, 31, 1), ((1 << 40) + 1, 31, 2)]
        {
            assert_eq!(Chunks::of(size), Chunks { bits, count }, "{size}");
        }
    }
}
