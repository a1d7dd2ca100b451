//! The structures on disk (Linux `fs/erofs/erofs_fs.h`), little endian, and nothing that decides.

use super::checksum::crc32c;
use crate::layer::{Node, NodeKind};
use crate::tar::{Device, ModificationTime};

pub(super) const BLOCK_BITS: u32 = 9;
pub(super) const BLOCK: u64 = 1 << BLOCK_BITS;
/// Inodes begin at multiples of this; an inode's number is its place.
pub(super) const SLOT: u64 = 32;
/// The first 1024 bytes belong to boot loaders.
pub(super) const SUPERBLOCK_AT: u64 = 1024;
/// Superblock, device slot, and what the checksum covers.
pub(super) const HEAD: u64 = SUPERBLOCK_AT + BLOCK;
pub(super) const COMPACT: u64 = 32;
pub(super) const EXTENDED: u64 = 64;

const MAGIC: u32 = 0xe0f5_e1e2;
const DEVICE_SLOT: u64 = 128;
const COMPAT_CHECKSUM_AND_MTIME: u32 = 0x1 | 0x2;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;

/// How an inode finds its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum DataLayout {
    Plain = 0,
    Inline = 2,
}

/// What the superblock tells.
pub(super) struct Superblock<'a> {
    pub(super) root: u16,
    pub(super) inodes: u64,
    pub(super) epoch: ModificationTime,
    pub(super) blocks: u32,
    pub(super) xattr_block: u32,
    pub(super) uuid: [u8; 16],
    pub(super) device_tag: &'a [u8],
    pub(super) device_blocks: u32,
    /// Where the device lies in the addresses of blocks.
    pub(super) device_start: u32,
}

impl Superblock<'_> {
    /// Everything before the first inode.
    pub(super) fn head(&self) -> [u8; HEAD as usize] {
        let mut head = [0; HEAD as usize];
        let block = &mut head[SUPERBLOCK_AT as usize..];
        put(block, 0, &MAGIC.to_le_bytes());
        put(block, 8, &COMPAT_CHECKSUM_AND_MTIME.to_le_bytes());
        block[12] = BLOCK_BITS as u8;
        put(block, 14, &self.root.to_le_bytes());
        put(block, 16, &self.inodes.to_le_bytes());
        put(block, 24, &self.epoch.seconds.to_le_bytes());
        put(block, 32, &self.epoch.nanoseconds.to_le_bytes());
        put(block, 36, &self.blocks.to_le_bytes());
        put(block, 44, &self.xattr_block.to_le_bytes());
        put(block, 48, &self.uuid);
        put(block, 80, &INCOMPAT_DEVICE_TABLE.to_le_bytes());
        put(block, 86, &1u16.to_le_bytes());
        put(block, 88, &((SUPERBLOCK_AT / DEVICE_SLOT + 1) as u16).to_le_bytes());
        let slot = &mut block[DEVICE_SLOT as usize..];
        put(slot, 0, &self.device_tag[..self.device_tag.len().min(64)]);
        put(slot, 64, &self.device_blocks.to_le_bytes());
        put(slot, 68, &self.device_start.to_le_bytes());
        let checksum = crc32c(block);
        put(block, 4, &checksum.to_le_bytes());
        head
    }
}

/// What an inode tells beyond its [`Node`].
pub(super) struct Inode {
    pub(super) is_compact: bool,
    pub(super) layout: DataLayout,
    pub(super) xattr_count: u16,
    pub(super) size: u64,
    pub(super) links: u32,
    /// Block address or device number.
    pub(super) value: u32,
    pub(super) number: u32,
}

impl Inode {
    pub(super) fn write(&self, node: &Node, out: &mut Vec<u8>) {
        let format = u16::from(!self.is_compact) | (self.layout as u16) << 1;
        let mode = type_bits(&node.kind) | node.mode;
        out.extend_from_slice(&format.to_le_bytes());
        out.extend_from_slice(&self.xattr_count.to_le_bytes());
        out.extend_from_slice(&mode.to_le_bytes());
        if self.is_compact {
            out.extend_from_slice(&(self.links as u16).to_le_bytes());
            out.extend_from_slice(&(self.size as u32).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&self.value.to_le_bytes());
            out.extend_from_slice(&self.number.to_le_bytes());
            out.extend_from_slice(&(node.uid as u16).to_le_bytes());
            out.extend_from_slice(&(node.gid as u16).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        } else {
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&self.size.to_le_bytes());
            out.extend_from_slice(&self.value.to_le_bytes());
            out.extend_from_slice(&self.number.to_le_bytes());
            out.extend_from_slice(&node.uid.to_le_bytes());
            out.extend_from_slice(&node.gid.to_le_bytes());
            out.extend_from_slice(&node.mtime.seconds.to_le_bytes());
            out.extend_from_slice(&node.mtime.nanoseconds.to_le_bytes());
            out.extend_from_slice(&self.links.to_le_bytes());
            out.extend_from_slice(&[0; 16]);
        }
    }
}

/// The blocks that so many bytes take.
pub(super) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK)
}

/// The kernel's `new_encode_dev`.
pub(super) fn device_number(device: Device) -> u32 {
    (device.minor & 0xff) | (device.major << 8) | ((device.minor & !0xff) << 12)
}

/// The file type in a mode (`S_IFMT`).
fn type_bits(kind: &NodeKind) -> u16 {
    match kind {
        NodeKind::Fifo => 0o010_000,
        NodeKind::CharDevice(_) | NodeKind::Whiteout => 0o020_000,
        NodeKind::Directory { .. } => 0o040_000,
        NodeKind::BlockDevice(_) => 0o060_000,
        NodeKind::File { .. } | NodeKind::Sparse { .. } => 0o100_000,
        NodeKind::Symlink { .. } => 0o120_000,
    }
}

/// The file type in a directory entry (`FT_*`).
pub(super) fn entry_type(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::File { .. } | NodeKind::Sparse { .. } => 1,
        NodeKind::Directory { .. } => 2,
        NodeKind::CharDevice(_) | NodeKind::Whiteout => 3,
        NodeKind::BlockDevice(_) => 4,
        NodeKind::Fifo => 5,
        NodeKind::Symlink { .. } => 7,
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
