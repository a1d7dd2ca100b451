//! Layers, most often under a writable directory, as one mount that is nowhere yet.
//!
//! Here: the two ways in which kernels want to be told the layers. Not here: which layers, or where the mount goes.
//! Invariant: neither the characters nor the length of a path matter.

use berth_oci::{AtPath, Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The longest value that `fsconfig` takes.
const VALUE_LIMIT: usize = 255;

/// Where what is written goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above<'a> {
    /// The uppermost directory.
    pub(super) upper: &'a Path,
    /// Overlayfs' own.
    pub(super) work: &'a Path,
}

impl<'a> Above<'a> {
    fn options(this: Option<Self>) -> Vec<(&'static str, &'a Path)> {
        this.map_or_else(Vec::new, |above| vec![("upperdir", above.upper), ("workdir", above.work)])
    }
}

/// Makes it; `lowers` are read-only, the uppermost first. Without anything above them they are two at least.
pub(super) fn overlay(lowers: &[impl AsRef<Path>], above: Option<Above<'_>>) -> Result<OwnedFd> {
    match one_by_one(lowers, above)? {
        Some(mount) => Ok(mount),
        None => in_one_word(lowers, above),
    }
}

/// Whom an error is about: the first of them.
fn first<'a>(lowers: &'a [impl AsRef<Path>], above: Option<Above<'a>>) -> &'a Path {
    let lower = lowers.first().map_or(Path::new("/"), AsRef::as_ref);
    above.map_or(lower, |above| above.upper)
}

/// One option for each layer, as Linux 6.7 learned it; none where the kernel does not know it.
fn one_by_one(lowers: &[impl AsRef<Path>], above: Option<Above<'_>>) -> Result<Option<OwnedFd>> {
    let instance = instance()?;
    let options = lowers.iter().map(|lower| ("lowerdir+", lower.as_ref()));
    for (key, path) in options.chain(Above::options(above)) {
        match fsconfig_set_string(&instance, key, path) {
            Err(Errno::INVAL) => return Ok(None),
            set => set.map_err(io::Error::from).at(path)?,
        }
    }
    match fsconfig_create(&instance) {
        Err(Errno::INVAL) => Ok(None),
        created => {
            created.map_err(io::Error::from).at(first(lowers, above))?;
            mount(&instance).map(Some)
        }
    }
}

/// Everything in one option of at most 255 characters, with a colon between two layers: each is named by the number
/// of a descriptor, seen from where those lie, which makes about 80 of them.
fn in_one_word(lowers: &[impl AsRef<Path>], above: Option<Above<'_>>) -> Result<OwnedFd> {
    let open = |path: &Path| {
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .at(path)
    };
    let about = first(lowers, above);
    let opened = lowers.iter().map(|lower| open(lower.as_ref())).collect::<Result<Vec<_>>>()?;
    let above = Above::options(above);
    let above = above.into_iter().map(|(key, path)| Ok((key, open(path)?))).collect::<Result<Vec<_>>>()?;
    let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
    let word = opened.iter().map(number).collect::<Vec<_>>().join(":");
    if word.len() > VALUE_LIMIT {
        return Err(Error::unsupported(format!("this kernel cannot stack {} layers", lowers.len()))
            .hint("Linux 6.7 and newer can"));
    }
    let mut options = vec![("lowerdir", word)];
    options.extend(above.iter().map(|(key, fd)| (*key, number(fd))));
    let made = berth_sys::namespace::in_own_directory(Path::new("/proc/self/fd"), || {
        let made = || -> Result<OwnedFd> {
            let instance = instance()?;
            for (key, value) in &options {
                fsconfig_set_string(&instance, *key, value.as_str()).map_err(io::Error::from)?;
            }
            fsconfig_create(&instance).map_err(io::Error::from).at(about)?;
            mount(&instance)
        };
        Ok(made())
    });
    made.context(|| "cannot look at our own descriptors")?
}

fn instance() -> Result<OwnedFd> {
    let instance = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(io::Error::from)?;
    fsconfig_set_string(&instance, "source", "overlay").map_err(io::Error::from)?;
    if !berth_sys::users::is_initial()? {
        // Its signs in attributes that a user may write; the other kind is the machine's root's.
        fsconfig_set_flag(&instance, "userxattr").map_err(io::Error::from)?;
    }
    Ok(instance)
}

fn mount(instance: &OwnedFd) -> Result<OwnedFd> {
    Ok(fsmount(instance, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(io::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_ways_show_the_uppermost_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        // A path with everything that an option's syntax would stumble over.
        let lowers: Vec<_> = ["upper:most,a\\b", "middle", "lowest"].map(place).into();
        for (at, lower) in lowers.iter().enumerate() {
            fs::write(lower.join("who"), at.to_string()).unwrap();
            fs::write(lower.join(at.to_string()), "").unwrap();
        }
        type Make = fn(&[std::path::PathBuf], Option<Above<'_>>) -> Result<Option<OwnedFd>>;
        let made: [Make; 2] = [one_by_one, |lowers, above| in_one_word(lowers, above).map(Some)];
        for (number, make) in made.into_iter().enumerate() {
            let (upper, work) = (place(&format!("u{number}")), place(&format!("w{number}")));
            for above in [Some(Above { upper: &upper, work: &work }), None] {
                let Some(mount) = make(&lowers, above).unwrap() else { continue };
                let below = format!("/proc/self/fd/{}", mount.as_raw_fd());
                assert_eq!(fs::read_to_string(format!("{below}/who")).unwrap(), "0");
                assert_eq!(fs::read_dir(&below).unwrap().count(), 4);
                assert_eq!(fs::write(format!("{below}/new"), "").is_ok(), above.is_some());
            }
        }
    }
}
