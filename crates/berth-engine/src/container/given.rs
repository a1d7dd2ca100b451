//! A root whose files belong to a container's own users: `--userns keep-id` and `nomap`.
//!
//! An ordinary user cannot mount files with other owners than they have, so they have to be copied for users who are
//! others outside than the image's; once, when the container is made. Invariant: the copy has its name when it is whole.

use super::{Container, UserRange};
use crate::engine::Engine;
use crate::tree;
use berth_oci::{AtPath, Result};
use berth_runtime::{RootfsMount, in_root};
use berth_store::Rootfs;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl Engine {
    /// What lies in a container's files before its first start.
    pub(super) fn prepare_files(&self, container: &Container) -> Result<()> {
        let size = container.document.spec.size.as_ref().map(|(bytes, _)| *bytes);
        if size.is_some() || container.document.users.is_some_and(UserRange::moves_files) {
            self.layers_of(container)?;
        }
        if let Some(size) = size {
            self.store()?.limit_rootfs(&container.id, size)?;
        }
        self.fill_volumes(container)
    }

    /// A container's directories, with such a copy in the place of the image's layers where it needs one.
    pub(super) fn with_given_files(&self, container: &Container, rootfs: Rootfs) -> Result<Rootfs> {
        let Some(users) = container.document.users.filter(|users| users.moves_files()) else {
            return Ok(rootfs);
        };
        let place = self.store()?.container_dir(&container.id).join("image");
        if !place.is_dir() {
            copy(container, users, &rootfs, &place)?;
        }
        Ok(Rootfs { lowers: vec![place], ..rootfs })
    }
}

fn copy(container: &Container, users: UserRange, rootfs: &Rootfs, place: &Path) -> Result<()> {
    let fresh = place.with_extension(crate::random::id()?);
    fs::create_dir(&fresh).at(&fresh)?;
    // Nothing has been written yet: who sees the whole sees the image.
    let whole = berth_runtime::open_root(&RootfsMount::Overlay {
        lowers: rootfs.lowers.clone(),
        upper: rootfs.upper.clone(),
        work: rootfs.work.clone(),
    })?;
    let target = open(&fresh)?;
    tree::copy_for(Some(users), whole.as_fd(), target.as_fd())?;
    if let Some((uid, gid)) = users.caller {
        let home = Some(container.document.process.working_dir.as_str()).filter(|dir| dir.starts_with('/'));
        introduce(target.as_fd(), (uid, gid), home.unwrap_or("/"))?;
    }
    drop(whole);
    // The root's own attributes are the upper directory's.
    let like = fresh.metadata().at(&fresh)?;
    std::os::unix::fs::chown(&rootfs.upper, Some(like.uid()), Some(like.gid())).at(&rootfs.upper)?;
    match fs::rename(&fresh, place) {
        // Somebody else has made one at the same time.
        Err(_) if place.is_dir() => fs::remove_dir_all(&fresh).at(&fresh),
        renamed => renamed.at(place),
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from).at(path)
}

/// The caller gets the name that he has on the host, where the image knows nobody of his number: programs ask for it.
fn introduce(root: BorrowedFd<'_>, (uid, gid): (u32, u32), home: &str) -> Result<()> {
    let outside = berth_runtime::users()?.caller.0;
    let name = name_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), outside);
    let name = name.unwrap_or_else(|| format!("user{uid}"));
    add_line(root, "/etc/passwd", uid, &name, &format!("{name}:x:{uid}:{gid}:{name}:{home}:/bin/sh"))?;
    add_line(root, "/etc/group", gid, &name, &format!("{name}:x:{gid}:"))
}

/// Nothing happens where the file is not there, or has the number or the name already.
fn add_line(root: BorrowedFd<'_>, path: &str, number: u32, name: &str, line: &str) -> Result<()> {
    let opened = in_root::open(root, Path::new(path), OFlags::RDWR | OFlags::APPEND | OFlags::NONBLOCK);
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => File::from(opened.at(path)?),
    };
    let mut text = String::new();
    // A list of users that is no text is nobody's business here.
    if !file.metadata().at(path)?.is_file() || file.read_to_string(&mut text).is_err() {
        return Ok(());
    }
    if name_of(&text, number).is_some() || text.lines().any(|known| known.split(':').next() == Some(name)) {
        return Ok(());
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    file.write_all(format!("{end}{line}\n").as_bytes()).at(path)
}

/// Whose number that is, in a file of users or groups.
fn name_of(text: &str, number: u32) -> Option<String> {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number) && !name.is_empty()).then(|| name.to_owned())
    };
    text.lines().find_map(named)
}

/// Gives new volumes to the root of a container that their owner is nobody in.
pub(super) fn give_volume(users: Option<UserRange>, data: &Path) -> Result<()> {
    let Some(users) = users.filter(|users| users.moves_files() && users.caller.is_none()) else {
        return Ok(());
    };
    let (uid, gid) = users.outside(0, 0);
    rustix::fs::chown(data, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .map_err(io::Error::from)
        .at(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_new_is_written_down_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = open(directory.path()).unwrap();
        let etc = directory.path().join("etc");
        let add = |number, name: &str| {
            add_line(root.as_fd(), "/etc/passwd", number, name, &format!("{name}:x:{number}")).unwrap();
            fs::read_to_string(etc.join("passwd")).ok()
        };
        assert_eq!(add(1000, "me"), None, "there is no such file");
        fs::create_dir(&etc).unwrap();
        for (before, number, name, after) in [
            ("root:x:0:0\n", 1000, "me", "root:x:0:0\nme:x:1000\n"),
            ("root:x:0:0", 1000, "me", "root:x:0:0\nme:x:1000\n"),
            ("node:x:1000:1000\n", 1000, "me", "node:x:1000:1000\n"),
            ("me:x:5:5\n", 1000, "me", "me:x:5:5\n"),
            ("", 1000, "me", "me:x:1000\n"),
        ] {
            fs::write(etc.join("passwd"), before).unwrap();
            assert_eq!(add(number, name).unwrap(), after);
        }
        fs::remove_file(etc.join("passwd")).unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join("passwd")).unwrap();
        add(1000, "me");
    }
}
