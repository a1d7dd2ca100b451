//! Where what was picked goes: the rules by which `COPY a b` makes `b`, `b/a`, or what is in `a`.

use super::made::{Bytes, Made, MadeKind};
use super::mode::ModeChange;
use super::owner::Owner;
use super::target::{Seen, Target};
use crate::files::{Choice, Meta, MetaKind, Picked, Root, join};
use berth_oci::{Error, Result};
use berth_store::tar::Device;
use std::collections::{BTreeMap, HashMap};

/// How things are placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placing<'a> {
    /// From the root of the image; a slash at its end says that it is a directory.
    pub(crate) destination: &'a [u8],
    /// `--chown`.
    pub(crate) owner: Option<Owner>,
    /// `--chmod`.
    pub(crate) mode: Option<&'a ModeChange>,
}

/// Places a choice.
pub(crate) fn place(
    target: &mut Target<'_>,
    root: &Root,
    choice: &Choice,
    placing: &Placing<'_>,
) -> Result<()> {
    let top = &choice.files[0];
    let base = destination(target, &choice.name, top.meta.is_directory(), placing)?;
    let mut links: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    for (at, file) in choice.files.iter().enumerate() {
        let path = if file.path.is_empty() { base.clone() } else { join(&base, &file.path) };
        // What lies in a directory brings its attributes; the directory that was named leaves those that are there.
        if at == 0 && top.meta.is_directory() {
            continue;
        }
        let seen = target.look_up(&path)?;
        let shown = || format!("/{}", String::from_utf8_lossy(&path));
        match (file.meta.is_directory(), seen) {
            (true, Some(Seen::Symlink(_) | Seen::Other)) => {
                return Err(Error::invalid(format!("cannot copy to non-directory: {}", shown())));
            }
            (false, Some(Seen::Directory)) => {
                return Err(Error::invalid(format!("cannot replace to directory {} with file", shown())));
            }
            _ => {}
        }
        let identity = (file.meta.identity.device, file.meta.identity.inode);
        let first = links.get(&identity).filter(|_| file.meta.links > 1 && !file.meta.is_directory());
        let made = match first {
            Some(first) => Made { kind: MadeKind::HardLink(first.clone()), ..made(file, root, placing) },
            None => made(file, root, placing),
        };
        if file.meta.links > 1 && !file.meta.is_directory() {
            links.entry(identity).or_insert_with(|| path.clone());
        }
        target.put(path, made);
    }
    Ok(())
}

/// Places a heredoc as a file.
pub(crate) fn place_document(
    target: &mut Target<'_>,
    name: &str,
    content: &[u8],
    placing: &Placing<'_>,
) -> Result<()> {
    let path = destination(target, name.as_bytes(), false, placing)?;
    if target.look_up(&path)? == Some(Seen::Directory) {
        let shown = String::from_utf8_lossy(&path).into_owned();
        return Err(Error::invalid(format!("cannot replace to directory /{shown} with file")));
    }
    let owner = placing.owner.unwrap_or_default();
    let bytes = Bytes::Inline(content.into());
    let made = Made {
        kind: MadeKind::File { size: content.len() as u64, bytes },
        mode: placing.mode.map_or(0o644, |change| change.apply(0o644, false)),
        uid: owner.uid,
        gid: owner.gid,
        mtime: target.now(),
        xattrs: BTreeMap::new(),
    };
    target.put(path, made);
    Ok(())
}

/// The path at which something called `name` lands; the directories that lead to it are made.
pub(crate) fn destination(
    target: &mut Target<'_>,
    name: &[u8],
    is_directory: bool,
    placing: &Placing<'_>,
) -> Result<Vec<u8>> {
    let owner = placing.owner.unwrap_or_default();
    let mode = placing.mode.and_then(ModeChange::for_directories).unwrap_or(0o755);
    let wanted = placing.destination;
    let ensured = match wanted.iter().rposition(|&b| b == b'/') {
        Some(at) => &wanted[..at],
        None => b"",
    };
    let ensured = target.resolve(ensured)?;
    target.make_directories(&ensured, owner, mode)?;
    let mut path = target.resolve(wanted)?;
    let there = target.look_up(&path)?;
    if is_directory {
        if there.as_ref().is_some_and(|seen| *seen != Seen::Directory) {
            let shown = String::from_utf8_lossy(&path).into_owned();
            return Err(Error::invalid(format!("cannot copy to non-directory: /{shown}")));
        }
        target.make_directories(&path, owner, mode)?;
    } else if there == Some(Seen::Directory) {
        path = join(&path, name);
    }
    Ok(path)
}

fn made(file: &Picked, root: &Root, placing: &Placing<'_>) -> Made {
    let meta: &Meta = &file.meta;
    let device = Device { major: meta.major, minor: meta.minor };
    let kind = match meta.kind {
        MetaKind::Directory => MadeKind::Directory,
        MetaKind::Symlink => MadeKind::Symlink(file.target.clone()),
        MetaKind::CharDevice => MadeKind::CharDevice(device),
        MetaKind::BlockDevice => MadeKind::BlockDevice(device),
        MetaKind::Fifo => MadeKind::Fifo,
        MetaKind::File | MetaKind::Socket => {
            MadeKind::File { size: meta.size, bytes: Bytes::Tree(root.clone(), file.source.clone()) }
        }
    };
    let owner = placing.owner.unwrap_or(Owner { uid: meta.uid, gid: meta.gid });
    let mode = match (meta.kind, placing.mode) {
        (MetaKind::Symlink, _) => 0o777,
        (_, Some(change)) => change.apply(meta.mode, meta.is_directory()),
        (_, None) => meta.mode,
    };
    Made { kind, mode, uid: owner.uid, gid: owner.gid, mtime: meta.mtime, xattrs: file.xattrs.clone() }
}
