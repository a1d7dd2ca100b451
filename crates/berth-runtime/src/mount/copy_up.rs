//! A copy of a directory's contents in a file system that is about to cover it.
//!
//! Invariant: nothing is opened by following a link: the contents are the image's, and may have been made to lead out.

use berth_oci::{AtPath, Error, Result};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat,
};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files, directories, links, FIFOs and devices with their owners and modes.
pub(super) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let to = openat(to, c".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)?;
    directory(from.as_fd(), to.as_fd())
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let readable = open(from, c".", OFlags::DIRECTORY)?;
    for entry in Dir::read_from(&readable).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(readable.as_fd(), to, name).at(name.to_string_lossy().as_ref())?;
        }
    }
    Ok(())
}

fn open(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let below = open(to, name, OFlags::DIRECTORY)?;
            directory(open(from, name, OFlags::DIRECTORY)?.as_fd(), below.as_fd())?;
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?.as_c_str(), to, name)?;
            return own(to, name, &stat);
        }
        FileType::RegularFile => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let mut copy = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut File::from(open(from, name, OFlags::RDONLY)?), &mut copy)?;
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            mknodat(to, name, kind, mode, stat.st_rdev)?;
        }
        // A socket in an image is a leftover: nobody listens.
        FileType::Socket => return Ok(()),
        FileType::Unknown => return Err(Error::unsupported("a file of unknown kind").into()),
    }
    own(to, name, &stat)?;
    Ok(chmodat(to, name, mode, AtFlags::empty())?)
}

fn own(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    Ok(chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn files_directories_and_links_with_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("d/e")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("d/e/f"), "text").unwrap();
        fs::set_permissions(from.join("d/e/f"), fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("/etc", from.join("l")).unwrap();
        copy_up(&File::open(&from).unwrap().into(), &File::open(&to).unwrap().into()).unwrap();
        assert_eq!(fs::read_to_string(to.join("d/e/f")).unwrap(), "text");
        assert_eq!(fs::metadata(to.join("d/e/f")).unwrap().permissions().mode() & 0o7777, 0o4751);
        assert_eq!(fs::read_link(to.join("l")).unwrap().to_str(), Some("/etc"));
        assert!(!to.join("l").is_dir() || fs::symlink_metadata(to.join("l")).unwrap().is_symlink());
    }
}
