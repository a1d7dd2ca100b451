//! What an inode takes on disk: its form, what follows it, what lies elsewhere.

use super::format::{BLOCK, COMPACT, DataLayout, EXTENDED};
use crate::layer::{Node, NodeKind};
use crate::tar::ModificationTime;

/// An inode before it has a place.
pub(super) struct Shape {
    pub(super) is_compact: bool,
    pub(super) layout: DataLayout,
    /// Bytes from the inode's beginning to the end of what follows it.
    pub(super) length: u64,
    /// Blocks that lie elsewhere in the metadata.
    pub(super) blocks: u64,
}

/// The shape of a node whose content is `size` bytes and whose attributes take `attributes` bytes.
pub(super) fn shape(node: &Node, epoch: ModificationTime, size: u64, links: u32, attributes: u64) -> Shape {
    let is_compact = node.mtime == epoch
        && [node.uid, node.gid, links].iter().all(|&number| number <= u16::MAX.into())
        && u32::try_from(size).is_ok();
    let length = if is_compact { COMPACT } else { EXTENDED } + attributes;
    let shape = |layout, length, blocks| Shape { is_compact, layout, length, blocks };
    match node.kind {
        NodeKind::Directory { .. } | NodeKind::Symlink { .. } => {
            let tail = size % BLOCK;
            // The kernel reads an inode together with what is packed behind it from one block.
            match tail > 0 && length + tail <= BLOCK && is_packable(&node.kind, size) {
                true => shape(DataLayout::Inline, length + tail, size / BLOCK),
                false => shape(DataLayout::Plain, length, size.div_ceil(BLOCK)),
            }
        }
        _ => shape(DataLayout::Plain, length, 0),
    }
}

/// Long link targets are read like files; in pieces they would be read wrongly by old kernels.
fn is_packable(kind: &NodeKind, size: u64) -> bool {
    matches!(kind, NodeKind::Directory { .. }) || size < BLOCK
}
