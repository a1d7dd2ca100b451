//! Where everything lies: the order of inodes and their places, before a byte is written.

use super::directory;
use super::format::{BLOCK, HEAD, SLOT, blocks};
use super::inode::{Shape, shape};
use super::room::Room;
use super::xattr::{self, Shared};
use crate::layer::{NONE, NameId, Node, NodeId, NodeKind, ROOT, Tree};
use crate::tar::ModificationTime;
use berth_oci::{Error, Result};
use std::collections::HashMap;

/// Sparse files begin where a page of the file system below begins, so that their holes are holes there, too.
const PAGE: u64 = 4096;
/// Different times that are counted to find the most frequent.
const TIMES_LIMIT: usize = 4096;
const NOWHERE: u32 = 0;
const EXPECTED: u32 = u32::MAX;

/// A whole image, ready to be written.
pub(crate) struct Plan {
    /// Inodes as they follow each other.
    pub(super) order: Vec<NodeId>,
    /// For each of them: the number of its listing or tail, or its block, whichever it has.
    pub(super) extra: Vec<u32>,
    /// For each node its place, in slots.
    pub(super) slots: Vec<u32>,
    pub(super) listings: Vec<Listing>,
    pub(super) names: Vec<NameId>,
    pub(super) bodies: Vec<Vec<u8>>,
    pub(super) shared: Shared,
    pub(super) epoch: ModificationTime,
    pub(super) data_block: u64,
    pub(super) xattr_block: u64,
    pub(super) metadata_length: u64,
    pub(super) tar_blocks: u32,
    pub(super) tails: Vec<Tail>,
    pub(super) length: u64,
}

/// The sorted names of a directory.
pub(super) struct Listing {
    pub(super) directory: NodeId,
    pub(super) start: u32,
    pub(super) count: u32,
    pub(super) subdirectories: u32,
    pub(super) size: u64,
    pub(super) block: u64,
}

/// A sparse file behind the metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// Its number in the tree.
    pub(crate) sparse: u32,
    /// Where it begins.
    pub(crate) position: u64,
    pub(crate) size: u64,
}

impl Plan {
    /// Lays out the image of a finished tree over a tar of `tar_size` bytes.
    pub(crate) fn new(tree: &Tree, tar_size: u64) -> Result<Self> {
        let mut plan = Self {
            order: Vec::new(),
            extra: Vec::new(),
            slots: vec![NOWHERE; tree.len()],
            listings: Vec::new(),
            names: Vec::new(),
            bodies: Vec::new(),
            shared: Shared::new(&tree.attributes, &[]),
            epoch: ModificationTime::default(),
            data_block: 0,
            xattr_block: 0,
            metadata_length: 0,
            tar_blocks: u32::try_from(blocks(tar_size)).ok().ok_or_else(too_large)?,
            tails: Vec::new(),
            length: 0,
        };
        plan.collect(tree);
        plan.epoch = plan.most_frequent_time(tree);
        plan.lay_out_attributes(tree)?;
        plan.place(tree)?;
        Ok(plan)
    }

    /// How many bytes the image has, the holes of sparse files included.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes [`write`](Self::write) writes.
    pub(crate) fn metadata_length(&self) -> u64 {
        self.metadata_length
    }

    /// The sparse files that whoever writes the image has to copy.
    pub(crate) fn tails(&self) -> &[Tail] {
        &self.tails
    }

    /// Walks the tree: directories depth first, the nodes of one directory together.
    fn collect(&mut self, tree: &Tree) {
        let mut stack = vec![(ROOT, 0)];
        self.expect(ROOT);
        while let Some((directory, index)) = stack.pop() {
            let start = self.names.len();
            self.names.extend(tree.names_of(directory));
            self.names[start..].sort_unstable_by(|&a, &b| tree.name_text(a).cmp(tree.name_text(b)));
            let below = stack.len();
            for at in start..self.names.len() {
                let node = tree.name(self.names[at]).node;
                let is_new = self.slots[node as usize] == NOWHERE;
                if is_new {
                    self.expect(node);
                }
                if matches!(tree.node(node).kind, NodeKind::Directory { .. }) {
                    stack.push((node, self.order.len() - 1));
                }
            }
            stack[below..].reverse();
            self.extra[index] = self.listings.len() as u32;
            let names = &self.names[start..];
            self.listings.push(Listing {
                directory,
                start: start as u32,
                count: names.len() as u32,
                subdirectories: (stack.len() - below) as u32,
                size: directory::size(&directory::rows(tree, directory, names)),
                block: 0,
            });
        }
    }

    fn expect(&mut self, node: NodeId) {
        self.slots[node as usize] = EXPECTED;
        self.order.push(node);
        self.extra.push(NONE);
    }

    /// Inodes with the superblock's time can have the short form.
    fn most_frequent_time(&self, tree: &Tree) -> ModificationTime {
        let mut counts: HashMap<ModificationTime, u32> = HashMap::new();
        for &id in &self.order {
            let time = tree.node(id).mtime;
            if time.seconds >= 0 && (counts.len() < TIMES_LIMIT || counts.contains_key(&time)) {
                *counts.entry(time).or_default() += 1;
            }
        }
        counts
            .into_iter()
            .max_by_key(|&(time, count)| (count, time))
            .map(|(time, _)| time)
            .unwrap_or_default()
    }

    fn lay_out_attributes(&mut self, tree: &Tree) -> Result<()> {
        let mut uses = vec![0; tree.attributes.all().len()];
        let mut sets = vec![false; tree.attributes.sets()];
        for &id in &self.order {
            let set = tree.node(id).xattrs;
            sets[set as usize] = true;
            tree.attributes.numbers(set).iter().for_each(|&number| uses[number as usize] += 1);
        }
        self.shared = Shared::new(&tree.attributes, &uses);
        for (set, is_used) in sets.into_iter().enumerate() {
            let body = match is_used {
                true => self.shared.body(&tree.attributes, set as u32),
                false => Vec::new(),
            };
            if xattr::count(body.len()).is_none() {
                return Err(Error::unsupported(
                    "a file of the layer has more than 256 KiB of extended attributes",
                ));
            }
            self.bodies.push(body);
        }
        Ok(())
    }

    fn place(&mut self, tree: &Tree) -> Result<()> {
        let (mut room, mut data_blocks, mut tail_blocks) = (Room::new(HEAD), 0, 0);
        for index in 0..self.order.len() {
            let node = tree.node(self.order[index]);
            let shape = self.shape(tree, index);
            self.slots[self.order[index] as usize] =
                u32::try_from(room.take(&shape) / SLOT).ok().ok_or_else(too_large)?;
            match node.kind {
                NodeKind::Directory { .. } => {
                    self.listings[self.extra[index] as usize].block = data_blocks;
                }
                NodeKind::Symlink { .. } => self.extra[index] = data_blocks as u32,
                NodeKind::Sparse { size, number } => {
                    self.extra[index] = self.tails.len() as u32;
                    self.tails.push(Tail { sparse: number, position: tail_blocks * BLOCK, size });
                    tail_blocks += blocks(size).next_multiple_of(PAGE / BLOCK);
                }
                _ => {}
            }
            data_blocks += shape.blocks;
        }
        self.sort_by_place();
        self.data_block = blocks(room.end());
        self.xattr_block = self.data_block + data_blocks;
        self.metadata_length = (self.xattr_block + blocks(self.shared.area().len() as u64)) * BLOCK;
        self.length = self.metadata_length;
        if let Some(last) = self.tails.last().copied() {
            let first = self.metadata_length.next_multiple_of(PAGE);
            self.tails.iter_mut().for_each(|tail| tail.position += first);
            self.length = first + (last.position + last.size).next_multiple_of(BLOCK);
        }
        u32::try_from(self.tar_start() + u64::from(self.tar_blocks)).map(|_| ()).ok().ok_or_else(too_large)
    }

    /// Images are written front to back. Whoever has blocks elsewhere was not moved, so that these keep their order.
    fn sort_by_place(&mut self) {
        let mut inodes: Vec<(NodeId, u32)> =
            self.order.iter().copied().zip(self.extra.iter().copied()).collect();
        inodes.sort_unstable_by_key(|&(id, _)| self.slots[id as usize]);
        (self.order, self.extra) = inodes.into_iter().unzip();
    }

    /// The shape of the `index`-th inode.
    pub(super) fn shape(&self, tree: &Tree, index: usize) -> Shape {
        let node = tree.node(self.order[index]);
        let (size, links) = self.size_and_links(node, index);
        shape(node, self.epoch, size, links, self.bodies[node.xattrs as usize].len() as u64)
    }

    /// What `stat` shows of both.
    pub(super) fn size_and_links(&self, node: &Node, index: usize) -> (u64, u32) {
        match node.kind {
            NodeKind::File { size, .. } | NodeKind::Sparse { size, .. } => (size, node.links),
            NodeKind::Symlink { length, .. } => (length.into(), node.links),
            NodeKind::Directory { .. } => {
                let listing = &self.listings[self.extra[index] as usize];
                (listing.size, 2 + listing.subdirectories)
            }
            _ => (0, node.links),
        }
    }

    /// The address of the tar's first block: the tar follows the image, as if both were one device.
    pub(super) fn tar_start(&self) -> u64 {
        blocks(self.length)
    }

    /// Where the content of the `index`-th inode begins.
    pub(super) fn file_start(&self, kind: NodeKind, index: usize) -> u64 {
        match kind {
            NodeKind::File { offset, .. } => self.tar_start() + offset / BLOCK,
            _ => self.tails[self.extra[index] as usize].position / BLOCK,
        }
    }
}

fn too_large() -> Error {
    Error::unsupported("the layer is larger than the 2 TiB that its index can address")
}
