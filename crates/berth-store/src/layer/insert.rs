//! How an entry finds its place in the [`Tree`]: ways through symbolic links, parents nobody described, names that
//! come twice, hard links, whiteouts.

use super::path::{Meaning, link_target, meaning};
use super::tree::{Change, NONE, Name, NameId, Node, NodeId, NodeKind, ROOT, Sparse, Tree};
use crate::tar::{Entry, EntryKind, FileData, Segment};
use berth_oci::{Context, Error, Result};
use hashbrown::hash_table;
use std::borrow::Cow;
use std::hash::BuildHasher;

/// Symbolic links on the way to one entry (the kernel's `MAXSYMLINKS`).
const LINKS_LIMIT: usize = 40;
/// Bytes of a symbolic link's target (`PATH_MAX`, without the zero at its end).
const TARGET_LIMIT: usize = 4095;
/// Bytes of all names and link targets of a layer.
const TEXT_LIMIT: usize = 512 << 20;
/// Parts of all sparse files of a layer.
const SEGMENTS_LIMIT: usize = 1 << 20;

impl Tree {
    /// Takes an entry in; what was there under the same name gives way.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) -> Result<Change> {
        match meaning(entry.path)? {
            Meaning::Root => self.update_root(entry),
            Meaning::Ignored => Ok(Change::Updated),
            Meaning::Opaque { parent } => {
                let directory = self.make_way(parent)?;
                self.make_opaque(directory);
                Ok(Change::Updated)
            }
            Meaning::Whiteout { parent, name } => {
                let directory = self.make_way(parent)?;
                self.add_whiteout(directory, name)
            }
            Meaning::Name { parent, name } => match entry.kind {
                EntryKind::HardLink(target) => self.add_link(parent, name, target),
                _ => self.add_node(parent, name, entry),
            },
        }
        .context(|| format!("the entry `{}`", String::from_utf8_lossy(entry.path)))
    }

    fn update_root(&mut self, entry: &Entry<'_>) -> Result<Change> {
        match entry.kind {
            EntryKind::Directory => self.update(ROOT, entry).map(|()| Change::Updated),
            _ => Err(Error::corrupt("the root of a layer must be a directory")),
        }
    }

    fn add_node(&mut self, parent: &[u8], name: &[u8], entry: &Entry<'_>) -> Result<Change> {
        let directory = self.make_way(parent)?;
        let there = self.look_up(directory, name);
        let is_directory = matches!(entry.kind, EntryKind::Directory);
        let mut opaque = false;
        if let Some(there) = there.filter(|_| is_directory) {
            match self.node(self.name(there).node).kind {
                NodeKind::Directory { .. } => {
                    let node = self.name(there).node;
                    return self.update(node, entry).map(|()| Change::Updated);
                }
                // The name below is gone, and with it everything in it: an opaque directory says just that.
                NodeKind::Whiteout => opaque = true,
                _ => {}
            }
        }
        let node = self.new_node(entry, opaque)?;
        self.place(directory, name, there, node).map(|name| Change::Made { name })
    }

    fn add_whiteout(&mut self, directory: NodeId, name: &[u8]) -> Result<Change> {
        let there = self.look_up(directory, name);
        match there.map(|there| self.name(there).node) {
            // A whiteout is about the layers below, never about its own (image-spec `layer.md`, "Whiteouts").
            Some(node) => {
                self.make_opaque(node);
                Ok(Change::Updated)
            }
            None => {
                let whiteout = Node { kind: NodeKind::Whiteout, mode: 0, ..Node::directory(NONE) };
                let node = self.push(whiteout);
                self.place(directory, name, None, node).map(|name| Change::Made { name })
            }
        }
    }

    fn add_link(&mut self, parent: &[u8], name: &[u8], target: &[u8]) -> Result<Change> {
        let wrong = |why: &str| {
            let target = String::from_utf8_lossy(target).into_owned();
            Err(Error::corrupt(format!("it is a hard link to `{target}`, {why}")))
        };
        let Some(target) = self.find(link_target(target)?)? else {
            return wrong("which this layer does not have before it");
        };
        let node = self.name(target).node;
        match self.node(node).kind {
            NodeKind::Directory { .. } => return wrong("which is a directory"),
            NodeKind::Whiteout => return wrong("which this layer removes"),
            _ => {}
        }
        let directory = self.make_way(parent)?;
        let there = self.look_up(directory, name);
        if there.is_some_and(|there| self.name(there).node == node) {
            return Ok(Change::Updated);
        }
        if there.is_some_and(|there| self.is_inside(self.name(target).directory, self.name(there).node)) {
            return wrong("which it would replace");
        }
        let name = self.place(directory, name, there, node)?;
        self.nodes[node as usize].links += 1;
        Ok(Change::Linked { name, target })
    }

    /// Whether a directory is `above` or lies in it.
    fn is_inside(&self, mut directory: NodeId, above: NodeId) -> bool {
        while directory != ROOT && directory != above {
            directory = self.parent(directory);
        }
        directory == above
    }

    /// Lets a name lead to a node.
    fn place(
        &mut self,
        directory: NodeId,
        name: &[u8],
        there: Option<NameId>,
        node: NodeId,
    ) -> Result<NameId> {
        let name = match there {
            Some(there) => {
                let old = std::mem::replace(&mut self.names[there as usize].node, node);
                self.release(old);
                there
            }
            None => self.new_name(directory, name, node)?,
        };
        if let NodeKind::Directory { name: of, .. } = &mut self.nodes[node as usize].kind {
            *of = name;
        }
        Ok(name)
    }

    /// A name no longer leads to this node, nor do the names in it, if it is a directory.
    fn release(&mut self, old: NodeId) {
        if matches!(self.node(old).kind, NodeKind::Directory { .. } | NodeKind::Symlink { .. }) {
            self.last_parent = (Vec::new(), ROOT);
        }
        let mut gone = vec![old];
        while let Some(id) = gone.pop() {
            gone.extend(self.names_of(id).map(|name| self.name(name).node).collect::<Vec<_>>());
            self.nodes[id as usize].links -= 1;
        }
    }

    fn make_opaque(&mut self, id: NodeId) {
        if let NodeKind::Directory { opaque, .. } = &mut self.nodes[id as usize].kind {
            *opaque = true;
        }
    }

    /// A directory comes once more: the later attributes count.
    fn update(&mut self, id: NodeId, entry: &Entry<'_>) -> Result<()> {
        let xattrs = self.attributes.intern(entry.xattrs)?;
        let node = &mut self.nodes[id as usize];
        (node.mode, node.uid, node.gid) = (entry.mode, entry.uid, entry.gid);
        (node.mtime, node.xattrs) = (entry.mtime, xattrs);
        Ok(())
    }

    fn new_node(&mut self, entry: &Entry<'_>, opaque: bool) -> Result<NodeId> {
        let kind = match entry.kind {
            EntryKind::File(data) => self.content(&data)?,
            EntryKind::Directory => NodeKind::Directory { name: NONE, first: NONE, opaque },
            EntryKind::Symlink(target) => {
                let is_target = !target.is_empty() && target.len() <= TARGET_LIMIT && !target.contains(&0);
                if !is_target {
                    return Err(Error::corrupt("it is a symbolic link whose target no path can be"));
                }
                NodeKind::Symlink { offset: self.new_text(target)?, length: target.len() as u32 }
            }
            EntryKind::CharDevice(device) => NodeKind::CharDevice(device),
            EntryKind::BlockDevice(device) => NodeKind::BlockDevice(device),
            EntryKind::Fifo => NodeKind::Fifo,
            EntryKind::HardLink(_) => unreachable!("hard links make no nodes"),
        };
        let mode = if matches!(kind, NodeKind::Symlink { .. }) { 0o777 } else { entry.mode };
        let xattrs = self.attributes.intern(entry.xattrs)?;
        let (uid, gid, mtime) = (entry.uid, entry.gid, entry.mtime);
        Ok(self.push(Node { kind, mode, uid, gid, mtime, xattrs, links: 1 }))
    }

    fn content(&mut self, data: &FileData<'_>) -> Result<NodeKind> {
        let (size, offset) = (data.size, data.offset);
        let whole = Segment { offset: 0, length: size };
        match data.segments {
            None => Ok(NodeKind::File { size, offset }),
            Some([only]) if *only == whole => Ok(NodeKind::File { size, offset }),
            Some(segments) => {
                self.segments += segments.len();
                if self.segments > SEGMENTS_LIMIT {
                    return Err(Error::unsupported(format!(
                        "the sparse files of the layer have more than {SEGMENTS_LIMIT} parts"
                    )));
                }
                let number = self.sparse.len() as u32;
                self.sparse.push(Sparse { offset, segments: segments.into() });
                Ok(NodeKind::Sparse { size, number })
            }
        }
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    fn new_text(&mut self, text: &[u8]) -> Result<u32> {
        let offset = self.text.len();
        if offset + text.len() > TEXT_LIMIT {
            return Err(Error::unsupported("the names of the layer take more than 512 MiB"));
        }
        self.text.extend_from_slice(text);
        Ok(offset as u32)
    }

    fn new_name(&mut self, directory: NodeId, text: &[u8], node: NodeId) -> Result<NameId> {
        let offset = self.new_text(text)?;
        let id = self.names.len() as NameId;
        let NodeKind::Directory { first, .. } = &mut self.nodes[directory as usize].kind else {
            unreachable!("ways end in directories")
        };
        let next = std::mem::replace(first, id);
        self.names.push(Name { offset, length: text.len() as u8, directory, node, next });
        let (names, texts, hasher) = (&self.names, &self.text, &self.hasher);
        let rehash = |&id: &NameId| {
            let name: Name = names[id as usize];
            let text: &[u8] = &texts[name.offset as usize..][..name.length as usize];
            hasher.hash_one((name.directory, text))
        };
        let hash = self.hasher.hash_one((directory, text));
        let _: hash_table::OccupiedEntry<'_, NameId> = self.table.insert_unique(hash, id, rehash);
        Ok(id)
    }

    /// The directory at a path; those that are missing are made.
    fn make_way(&mut self, path: &[u8]) -> Result<NodeId> {
        if self.last_parent.0 == path {
            return Ok(self.last_parent.1);
        }
        let directory = self.walk(path, Tree::enter_or_make)?.expect("missing directories are made");
        self.last_parent = (path.to_vec(), directory);
        Ok(directory)
    }

    /// The name at a path, if it is there; symbolic links on the way are followed, the last name's is not.
    fn find(&mut self, path: &[u8]) -> Result<Option<NameId>> {
        let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let directory = self.walk(parent, |tree, directory, name| Ok(tree.look_up(directory, name)))?;
        Ok(directory.and_then(|directory| self.look_up(directory, name)))
    }

    /// Goes from directory to directory, as the kernel would inside this root: `..` of the root is the root.
    fn walk(
        &mut self,
        path: &[u8],
        mut enter: impl FnMut(&mut Self, NodeId, &[u8]) -> Result<Option<NameId>>,
    ) -> Result<Option<NodeId>> {
        let mut at = ROOT;
        let mut links = 0;
        let mut path = Cow::Borrowed(path);
        let mut from = 0;
        while let Some((start, end)) = next_component(&path, from) {
            from = end;
            let node = match &path[start..end] {
                b"." => at,
                b".." => self.parent(at),
                name => match enter(self, at, name)? {
                    Some(name) => self.name(name).node,
                    None => return Ok(None),
                },
            };
            match self.node(node).kind {
                NodeKind::Directory { .. } => at = node,
                NodeKind::Symlink { offset, length } => {
                    links += 1;
                    if links > LINKS_LIMIT {
                        return Err(Error::corrupt("too many symbolic links lead to it"));
                    }
                    let target = self.target(offset, length);
                    at = if target.starts_with(b"/") { ROOT } else { at };
                    path = Cow::Owned([target, b"/", &path[end..]].concat());
                    from = 0;
                }
                NodeKind::Whiteout => return Ok(None),
                _ => {
                    let shown = String::from_utf8_lossy(&path[..end]).into_owned();
                    return Err(Error::corrupt(format!("`{shown}` is not a directory in this layer")));
                }
            }
        }
        Ok(Some(at))
    }

    fn enter_or_make(&mut self, directory: NodeId, name: &[u8]) -> Result<Option<NameId>> {
        let there = self.look_up(directory, name);
        let is_whiteout =
            |id: NameId, tree: &Self| matches!(tree.node(tree.name(id).node).kind, NodeKind::Whiteout);
        match there {
            Some(id) if !is_whiteout(id, self) => Ok(Some(id)),
            _ => {
                let node = self.push(Node::directory(NONE));
                if there.is_some() {
                    self.make_opaque(node);
                }
                self.place(directory, name, there, node).map(Some)
            }
        }
    }
}

/// The first component at or after `from`.
fn next_component(path: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = from + path[from..].iter().position(|&b| b != b'/')?;
    let end = path[start..].iter().position(|&b| b == b'/').map_or(path.len(), |at| start + at);
    Some((start, end))
}
