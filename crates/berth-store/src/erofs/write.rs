//! Writes a [`Plan`], front to back, through one small buffer.

use super::directory;
use super::format::{BLOCK, DataLayout, Inode, SLOT, Superblock, device_number};
use super::plan::{Listing, Plan};
use super::xattr;
use crate::layer::{NodeId, NodeKind, ROOT, Tree};
use std::io::{self, Write};

const BUFFER: usize = 128 << 10;

/// Whose index it is.
pub(crate) struct Identity<'a> {
    /// overlayfs tells layers apart by it.
    pub(crate) uuid: [u8; 16],
    /// The digest of the tar, at most 64 bytes.
    pub(crate) tag: &'a [u8],
}

impl Plan {
    /// Writes everything but the [`tails`](Self::tails).
    pub(crate) fn write(&self, tree: &Tree, identity: &Identity<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Output { buffer: Vec::with_capacity(BUFFER + (64 << 10)), flushed: 0, inner: out };
        out.buffer.extend_from_slice(&self.superblock(identity).head());
        let mut content = Vec::new();
        for index in 0..self.order.len() {
            self.inode(tree, index, &mut content, &mut out)?;
        }
        for index in 0..self.order.len() {
            self.blocks(tree, index, &mut content, &mut out)?;
        }
        out.pad_to(self.xattr_block * BLOCK);
        out.buffer.extend_from_slice(self.shared.area());
        out.pad_to(self.metadata_length);
        out.flush()
    }

    fn superblock<'a>(&self, identity: &Identity<'a>) -> Superblock<'a> {
        Superblock {
            root: self.slots[ROOT as usize] as u16,
            inodes: self.order.len() as u64,
            epoch: self.epoch,
            blocks: (self.length / BLOCK) as u32,
            xattr_block: self.xattr_block as u32,
            uuid: identity.uuid,
            device_tag: identity.tag,
            device_blocks: self.tar_blocks,
            device_start: self.tar_start() as u32,
        }
    }

    /// An inode, its attributes, and what is packed behind it.
    fn inode(
        &self,
        tree: &Tree,
        index: usize,
        content: &mut Vec<u8>,
        out: &mut Output<'_>,
    ) -> io::Result<()> {
        let id = self.order[index];
        let node = tree.node(id);
        let shape = self.shape(tree, index);
        let (size, links) = self.size_and_links(node, index);
        let body = &self.bodies[node.xattrs as usize];
        let inode = Inode {
            is_compact: shape.is_compact,
            layout: shape.layout,
            xattr_count: xattr::count(body.len()).expect("the plan refuses longer ones"),
            size,
            links,
            value: self.value(node.kind, index, size),
            number: index as u32 + 1,
        };
        out.pad_to(u64::from(self.slots[id as usize]) * SLOT);
        inode.write(node, &mut out.buffer);
        out.buffer.extend_from_slice(body);
        match shape.layout {
            DataLayout::Plain => {}
            DataLayout::Inline => {
                self.content(tree, index, content);
                out.buffer.extend_from_slice(&content[(size - size % BLOCK) as usize..]);
            }
        }
        out.flush_if_full()
    }

    /// What an inode says about where its data is, or which device it stands for.
    fn value(&self, kind: NodeKind, index: usize, size: u64) -> u32 {
        match kind {
            NodeKind::File { .. } | NodeKind::Sparse { .. } if size > 0 => {
                self.file_start(kind, index) as u32
            }
            NodeKind::Directory { .. } => (self.data_block + self.listing(index).block) as u32,
            NodeKind::Symlink { .. } => self.data_block as u32 + self.extra[index],
            NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => device_number(device),
            _ => 0,
        }
    }

    /// The blocks of an inode that lie behind all inodes.
    fn blocks(
        &self,
        tree: &Tree,
        index: usize,
        content: &mut Vec<u8>,
        out: &mut Output<'_>,
    ) -> io::Result<()> {
        let shape = self.shape(tree, index);
        if shape.blocks == 0 {
            return Ok(());
        }
        let block = match tree.node(self.order[index]).kind {
            NodeKind::Directory { .. } => self.listing(index).block,
            _ => self.extra[index].into(),
        };
        let start = (self.data_block + block) * BLOCK;
        out.pad_to(start);
        self.content(tree, index, content);
        let whole = content.len().min((shape.blocks * BLOCK) as usize);
        out.buffer.extend_from_slice(&content[..whole]);
        out.pad_to(start + shape.blocks * BLOCK);
        out.flush_if_full()
    }

    /// The content of a directory or a symbolic link.
    fn content(&self, tree: &Tree, index: usize, content: &mut Vec<u8>) {
        content.clear();
        match tree.node(self.order[index]).kind {
            NodeKind::Symlink { offset, length } => content.extend_from_slice(tree.target(offset, length)),
            _ => {
                let listing = self.listing(index);
                let names = &self.names[listing.start as usize..][..listing.count as usize];
                let rows = directory::rows(tree, listing.directory, names);
                directory::write(&rows, tree, |id: NodeId| self.slots[id as usize].into(), content);
            }
        }
    }

    fn listing(&self, index: usize) -> &Listing {
        &self.listings[self.extra[index] as usize]
    }
}

/// Bytes on their way to a file.
struct Output<'w> {
    buffer: Vec<u8>,
    flushed: u64,
    inner: &'w mut dyn Write,
}

impl Output<'_> {
    fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn pad_to(&mut self, position: u64) {
        let missing = position - self.position();
        self.buffer.resize(self.buffer.len() + missing as usize, 0);
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.write_all(&self.buffer)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
