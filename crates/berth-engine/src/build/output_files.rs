//! `--output type=local`: an image's files in a directory of the host.
//!
//! Invariant: nothing outside of the directory is touched: names are made one by one, links are never followed.

use berth_build::BuiltImage;
use berth_oci::{AtPath, Context, Digest, Error, Result};
use berth_store::Store;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Writes them; what is there already is replaced, what has another name stays.
pub(super) fn directory(store: &Store, image: &BuiltImage, path: &Path) -> Result<()> {
    let place = store.workplace()?;
    let ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let view = place.view(&ids)?;
    std::fs::create_dir_all(path).at(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from).at(path)?;
    let from = rustix::fs::openat(&view, ".", flags, Mode::empty()).map_err(io::Error::from)?;
    copy(&from, &to).context(|| format!("cannot write the result to `{}`", path.display()))
}

fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for entry in rustix::fs::Dir::read_from(from).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        if kind == FileType::Directory {
            match rustix::fs::mkdirat(to, name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(io::Error::from(error)).at(name.to_string_lossy().as_ref()),
            }
            let inner = rustix::fs::openat(from, name, directory, Mode::empty()).map_err(io::Error::from)?;
            let made = rustix::fs::openat(to, name, directory, Mode::empty()).map_err(io::Error::from)?;
            copy(&inner, &made)?;
            rustix::fs::fchmod(&made, mode).map_err(io::Error::from)?;
            settle(&made, &stat)?;
            continue;
        }
        match rustix::fs::unlinkat(to, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(io::Error::from(error)).at(name.to_string_lossy().as_ref()),
        }
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, name, flags, Mode::empty()).map_err(io::Error::from)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let made =
                    rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
                let mut made = File::from(made);
                io::copy(&mut File::from(source), &mut made)?;
                rustix::fs::fchmod(&made, mode).map_err(io::Error::from)?;
                settle(&made, &stat)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(io::Error::from)?;
                rustix::fs::symlinkat(&target, to, name).map_err(io::Error::from)?;
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).map_err(io::Error::from)?;
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "`{}` is of an unknown kind",
                    name.to_string_lossy()
                )));
            }
        }
    }
    Ok(())
}

/// The time of the image's file; its owner is whoever builds, as with docker.
fn settle(file: impl AsFd, stat: &rustix::fs::Stat) -> Result<()> {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::futimens(file, &times).map_err(io::Error::from)?)
}
