//! `ADD` of an archive: its entries take their places below the destination.
//!
//! Not here: what is compressed how ([`berth_store::archives`]). Invariant: no entry lands outside of the
//! destination: it is the root of all names and links in the archive.

use super::made::{Bytes, Made, MadeKind};
use super::owner::Owner;
use super::target::{Seen, Target};
use crate::files::{components, join};
use berth_oci::{Error, Result};
use berth_store::archives::decompress;
use berth_store::tar::{Entry, EntryKind, Limits, Scanner, Visitor};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Places what is in an archive below `destination`; `false`: `bytes` are no archive. What is compressed is kept
/// in `temporary` meanwhile, a path that is not there yet.
pub(crate) fn unpack(
    target: &mut Target<'_>,
    bytes: impl Read + Send,
    destination: &[u8],
    owner: Option<Owner>,
    temporary: &Path,
) -> Result<bool> {
    let Some((file, entries)) = scan(bytes, temporary)? else { return Ok(false) };
    let base = target.resolve(destination)?;
    target.make_directories(&base, owner.unwrap_or_default(), 0o755)?;
    for member in entries {
        member.place(target, &base, &file, owner)?;
    }
    Ok(true)
}

/// An entry, kept until all are known.
struct Member {
    path: Vec<u8>,
    kind: MadeKind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    offset: u64,
}

struct Members(Vec<Member>, Option<Arc<File>>);

impl Visitor for Members {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        let mut offset = 0;
        let kind = match &entry.kind {
            EntryKind::File(data) => {
                offset = data.offset;
                let file =
                    Arc::clone(self.1.as_ref().expect("the archive's file is there while it is scanned"));
                let segments = data.segments.map(Into::into);
                MadeKind::File { size: data.size, bytes: Bytes::Archive { file, offset, segments } }
            }
            EntryKind::Directory => MadeKind::Directory,
            EntryKind::Symlink(link) => MadeKind::Symlink(link.to_vec()),
            EntryKind::HardLink(link) => MadeKind::HardLink(link.to_vec()),
            EntryKind::CharDevice(device) => MadeKind::CharDevice(*device),
            EntryKind::BlockDevice(device) => MadeKind::BlockDevice(*device),
            EntryKind::Fifo => MadeKind::Fifo,
        };
        let mut xattrs = entry.xattrs.clone();
        xattrs.retain(|name, _| name == b"security.capability");
        self.0.push(Member {
            path: entry.path.to_vec(),
            kind,
            mode: entry.mode.into(),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.seconds,
            xattrs,
            offset,
        });
        Ok(())
    }

    fn data(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// The plain archive as a file without a name, and its entries; `None`: it is none.
fn scan(bytes: impl Read + Send, temporary: &Path) -> Result<Option<(Arc<File>, Vec<Member>)>> {
    let mut plain = decompress(bytes)?;
    let mut file = File::options().read(true).write(true).create_new(true).open(temporary)?;
    std::fs::remove_file(temporary)?;
    let mut members = Members(Vec::new(), Some(Arc::new(file.try_clone()?)));
    let mut scanner = Scanner::new(Limits::default());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = plain.read(&mut buffer);
        let count = match read {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) if members.0.is_empty() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match scanner.push(&buffer[..count], &mut members) {
            // The first header says whether it is an archive at all; after that, it is a damaged one.
            Err(_) if members.0.is_empty() => return Ok(None),
            answer => answer?,
        }
        file.write_all(&buffer[..count])?;
    }
    if members.0.is_empty() {
        return Ok(None);
    }
    scanner.finish()?;
    Ok(Some((Arc::new(file), members.0)))
}

impl Member {
    fn place(
        self,
        target: &mut Target<'_>,
        base: &[u8],
        file: &Arc<File>,
        owner: Option<Owner>,
    ) -> Result<()> {
        let parts = inside(&self.path)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(()) };
        let parent = target.resolve_below(base, &parents.join(&b'/'))?;
        target.make_directories(&parent, owner.unwrap_or_default(), 0o755)?;
        let path = join(&parent, name);
        let kind = match self.kind {
            MadeKind::File { size, bytes: Bytes::Archive { segments, .. } } => {
                let bytes = Bytes::Archive { file: Arc::clone(file), offset: self.offset, segments };
                MadeKind::File { size, bytes }
            }
            MadeKind::HardLink(link) => {
                let parts = inside(&link)?;
                let Some((name, above)) = parts.split_last() else {
                    return Err(Error::corrupt("a hard link of the archive leads to its root"));
                };
                let link = join(&target.resolve_below(base, &above.join(&b'/'))?, name);
                // A copy of what is there would be no link; docker refuses the same.
                if target.look_up(&link)?.is_none() {
                    let shown = String::from_utf8_lossy(&link).into_owned();
                    return Err(Error::corrupt(format!(
                        "the archive links to `/{shown}`, which is not there"
                    )));
                }
                MadeKind::HardLink(link)
            }
            kind => kind,
        };
        // Only a directory goes together with what is there, if that is one itself.
        let is_directory = matches!(kind, MadeKind::Directory);
        if target.look_up(&path)?.is_some_and(|seen| (seen == Seen::Directory) != is_directory) {
            target.clear(&path);
        }
        let (uid, gid) = owner.map_or((self.uid, self.gid), |owner| (owner.uid, owner.gid));
        let mode = if matches!(kind, MadeKind::Symlink(_)) { 0o777 } else { self.mode };
        target.put(path, Made { kind, mode, uid, gid, mtime: self.mtime, xattrs: self.xattrs });
        Ok(())
    }
}

/// The parts of a name, which must not lead above the top.
fn inside(path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in components(path) {
        if part != b".." {
            parts.push(part);
        } else if parts.pop().is_none() {
            let shown = String::from_utf8_lossy(path);
            return Err(Error::corrupt(format!("invalid entry name \"{shown}\" in the archive")));
        }
    }
    Ok(parts)
}
