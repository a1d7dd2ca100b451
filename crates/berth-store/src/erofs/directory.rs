//! Directory content: blocks that each hold sorted entries and then their names, so that the kernel can search
//! them by halves (`struct erofs_dirent`).

use super::format::{BLOCK, entry_type};
use crate::layer::{NameId, NodeId, Tree};

/// Bytes of an entry without its name.
const ENTRY: usize = 12;

/// A name in a directory and what it leads to.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    name: &'a [u8],
    node: NodeId,
}

/// The rows of a directory in the order of their bytes, `.` and `..` among them; `names` are sorted already.
pub(super) fn rows<'a>(tree: &'a Tree, directory: NodeId, names: &[NameId]) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(names.len() + 2);
    rows.extend(names.iter().map(|&id| Row { name: tree.name_text(id), node: tree.name(id).node }));
    for (name, node) in [(&b"."[..], directory), (b"..", tree.parent(directory))] {
        let at = rows.partition_point(|row| row.name < name);
        rows.insert(at, Row { name, node });
    }
    rows
}

/// The length of the content: all blocks are whole but the last.
pub(super) fn size(rows: &[Row<'_>]) -> u64 {
    let blocks = blocks(rows);
    let (last, whole) = blocks.split_last().expect("a directory has `.` and `..`");
    whole.len() as u64 * BLOCK + last.iter().map(|row| ENTRY + row.name.len()).sum::<usize>() as u64
}

/// Writes the content.
pub(super) fn write(rows: &[Row<'_>], tree: &Tree, number: impl Fn(NodeId) -> u64, out: &mut Vec<u8>) {
    for block in blocks(rows) {
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let mut name_at = block.len() * ENTRY;
        for row in block {
            out.extend_from_slice(&number(row.node).to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.extend_from_slice(&[entry_type(&tree.node(row.node).kind), 0]);
            name_at += row.name.len();
        }
        for row in block {
            out.extend_from_slice(row.name);
        }
    }
}

/// As many rows in each block as fit.
fn blocks<'r, 'a>(rows: &'r [Row<'a>]) -> Vec<&'r [Row<'a>]> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        let needed = ENTRY + row.name.len();
        if used + needed > BLOCK as usize {
            blocks.push(&rows[start..index]);
            (start, used) = (index, 0);
        }
        used += needed;
    }
    blocks.push(&rows[start..]);
    blocks
}
