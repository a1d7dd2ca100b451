//! The tree that the entries of a layer make, as small as it can be: no contents, names in one arena.
//!
//! Here: what a second entry of the same name means (the last wins), hard links, parents that no entry names,
//! whiteouts, symbolic links on the way. Not here: how it is written ([`crate::erofs`], [`super::directory`]).
//! Invariant: every name leads to a live node, and every path was resolved inside the layer.

use super::attributes::Attributes;
use crate::tar::{Device, ModificationTime, Segment};
use berth_oci::Result;
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// Index of a node: what a name leads to.
pub(crate) type NodeId = u32;
/// Index of a name in a directory.
pub(crate) type NameId = u32;

/// The root directory.
pub(crate) const ROOT: NodeId = 0;
/// The end of a list.
pub(crate) const NONE: u32 = u32::MAX;

/// A file, directory, link or device of the layer.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: ModificationTime,
    pub(crate) xattrs: u32,
    /// How many names lead here. Zero: it was replaced.
    pub(crate) links: u32,
}

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeKind {
    /// Content as it lies in the tar.
    File {
        size: u64,
        offset: u64,
    },
    /// Parts of the content lie in the tar; the number is that of [`Tree::sparse`].
    Sparse {
        size: u64,
        number: u32,
    },
    Directory {
        name: NameId,
        first: NameId,
        opaque: bool,
    },
    /// The target is in the arena.
    Symlink {
        offset: u32,
        length: u32,
    },
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    /// What hides a name of the layers below.
    Whiteout,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(super) offset: u32,
    pub(super) length: u8,
    pub(crate) directory: NodeId,
    pub(crate) node: NodeId,
    pub(crate) next: NameId,
}

/// A sparse file's parts and where they begin in the tar.
#[derive(Clone, Debug)]
pub(crate) struct Sparse {
    pub(crate) offset: u64,
    pub(crate) segments: Box<[Segment]>,
}

/// What [`Tree::add`] did.
#[derive(Debug)]
pub(crate) enum Change {
    /// A name leads to a new node; what it led to before, if anything, is gone.
    Made { name: NameId },
    /// One more name leads to a node that has others.
    Linked { name: NameId, target: NameId },
    /// A directory that was there got new attributes, or nothing happened that a file system would show.
    Updated,
}

/// The tree of a layer.
pub(crate) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) names: Vec<Name>,
    pub(super) text: Vec<u8>,
    pub(super) table: HashTable<NameId>,
    pub(super) hasher: RandomState,
    pub(crate) attributes: Attributes,
    pub(super) sparse: Vec<Sparse>,
    pub(super) segments: usize,
    /// The directory of the entry before, as written: entries of one directory follow each other.
    pub(super) last_parent: (Vec<u8>, NodeId),
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::directory(NONE)],
            names: Vec::new(),
            text: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            attributes: Attributes::new(),
            sparse: Vec::new(),
            segments: 0,
            last_parent: (Vec::new(), ROOT),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub(crate) fn name(&self, id: NameId) -> Name {
        self.names[id as usize]
    }

    /// How many nodes there are, replaced ones included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn name_text(&self, id: NameId) -> &[u8] {
        let name = self.names[id as usize];
        &self.text[name.offset as usize..][..name.length as usize]
    }

    pub(crate) fn target(&self, offset: u32, length: u32) -> &[u8] {
        &self.text[offset as usize..][..length as usize]
    }

    pub(crate) fn sparse(&self, number: u32) -> &Sparse {
        &self.sparse[number as usize]
    }

    /// The names of a directory, in no order that means anything; none for other nodes.
    pub(crate) fn names_of(&self, id: NodeId) -> impl Iterator<Item = NameId> {
        let first = match self.node(id).kind {
            NodeKind::Directory { first, .. } => first,
            _ => NONE,
        };
        let some = |id: NameId| (id != NONE).then_some(id);
        std::iter::successors(some(first), move |&id| some(self.name(id).next))
            .filter(|&id| self.node(self.name(id).node).links > 0)
    }

    /// The directory above a directory; the root is its own.
    pub(crate) fn parent(&self, id: NodeId) -> NodeId {
        match self.node(id).kind {
            NodeKind::Directory { name, .. } if name != NONE => self.name(name).directory,
            _ => ROOT,
        }
    }

    /// The path of a directory, without a slash in front; empty for the root.
    pub(crate) fn path(&self, mut id: NodeId) -> Vec<u8> {
        let mut parts = Vec::new();
        while let NodeKind::Directory { name, .. } = self.node(id).kind
            && name != NONE
        {
            parts.push(self.name_text(name));
            id = self.name(name).directory;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// What a name in a directory is.
    pub(super) fn look_up(&self, directory: NodeId, name: &[u8]) -> Option<NameId> {
        let hash = self.hasher.hash_one((directory, name));
        let is_it = |&id: &NameId| self.name(id).directory == directory && self.name_text(id) == name;
        self.table.find(hash, is_it).copied()
    }

    /// All entries have come: opaque directories get overlayfs' mark. Whiteouts in them would hide nothing but
    /// would be listed, so they go; returns them.
    pub(crate) fn finish(&mut self) -> Result<Vec<NameId>> {
        let mut dropped = Vec::new();
        for id in 0..self.nodes.len() as NodeId {
            let node = &self.nodes[id as usize];
            if !matches!(node.kind, NodeKind::Directory { opaque: true, .. }) || node.links == 0 {
                continue;
            }
            self.nodes[id as usize].xattrs = self.attributes.with_opaque(node.xattrs)?;
            let is_whiteout =
                |&name: &NameId| matches!(self.node(self.name(name).node).kind, NodeKind::Whiteout);
            let whiteouts: Vec<_> = self.names_of(id).filter(is_whiteout).collect();
            for &name in &whiteouts {
                self.nodes[self.names[name as usize].node as usize].links = 0;
            }
            dropped.extend(whiteouts);
        }
        Ok(dropped)
    }
}

impl Node {
    /// A directory that no entry described.
    pub(super) fn directory(name: NameId) -> Self {
        Self {
            kind: NodeKind::Directory { name, first: NONE, opaque: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: ModificationTime::default(),
            xattrs: 0,
            links: 1,
        }
    }
}
