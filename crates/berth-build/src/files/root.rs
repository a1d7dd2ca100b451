//! A tree behind a descriptor: every look-up happens inside it, links and `..` included.

use super::meta::{Meta, MetaKind};
use crate::ignore::Ignore;
use berth_oci::{Context, Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A tree.
#[derive(Clone)]
pub(crate) struct Root {
    fd: Arc<dyn AsFd + Send + Sync>,
    filter: Option<Arc<Ignore>>,
    /// Whether its files belong to nobody in particular: owners become 0:0.
    anonymous: bool,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("anonymous", &self.anonymous).finish_non_exhaustive()
    }
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: Vec<u8>,
    pub(crate) meta: Meta,
}

impl Root {
    /// The tree below a directory of the host: a build context.
    pub(crate) fn context(path: &Path, filter: Option<Arc<Ignore>>) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(io::Error::from)
            .context(|| format!("cannot open the build context `{}`", path.display()))?;
        Ok(Self { fd: Arc::new(fd), filter, anonymous: true })
    }

    /// A tree of layers.
    pub(crate) fn layers(view: impl AsFd + Send + Sync + 'static) -> Self {
        Self { fd: Arc::new(view), filter: None, anonymous: false }
    }

    /// What a path leads to; the last link is followed only when asked for. `None`: there is nothing.
    pub(crate) fn look_up(&self, path: &[u8], follow: bool) -> Result<Option<Meta>> {
        let flags = OFlags::PATH | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let Some(fd) = self.try_open(path, flags)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from).context(|| shown(path))?;
        let meta = self.meta(&stat);
        Ok(Some(meta).filter(|meta| self.is_visible(path, meta)))
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self, path: &[u8]) -> Result<Vec<Name>> {
        let read = || -> io::Result<Vec<Name>> {
            let directory = self.open_raw(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&directory)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => names.push(Name { name: name.to_bytes().to_vec(), meta: self.meta(&stat) }),
                    // Gone since the directory was listed.
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(names)
        };
        let mut names = read().context(|| shown(path))?;
        if self.filter.is_some() {
            names.retain(|name| self.is_visible(&join(path, &name.name), &name.meta));
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// A file, to be read.
    pub(crate) fn open(&self, path: &[u8]) -> Result<File> {
        // A pipe that somebody put in the file's place must not make us wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match self.open_raw(path, flags) {
            // A socket, of which a context has an empty file.
            Err(error) if is_socket(&error) => File::open("/dev/null"),
            answer => answer.map(File::from),
        }
        .context(|| shown(path))
    }

    /// Where a link points to.
    pub(crate) fn target(&self, path: &[u8]) -> Result<Vec<u8>> {
        let read = || -> io::Result<Vec<u8>> {
            let link = self.open_raw(path, OFlags::PATH | OFlags::NOFOLLOW)?;
            Ok(rustix::fs::readlinkat(&link, "", Vec::new())?.into_bytes())
        };
        read().context(|| shown(path))
    }

    /// The capabilities of a file, in the form of its attribute.
    pub(crate) fn capability(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let read = || -> io::Result<Option<Vec<u8>>> {
            let file = match self.open_raw(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK) {
                Err(error) if is_socket(&error) => return Ok(None),
                file => file?,
            };
            let mut value = vec![0; 64];
            match rustix::fs::fgetxattr(&file, CAPABILITY, &mut value) {
                Ok(length) => {
                    value.truncate(length);
                    Ok(Some(value))
                }
                Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        read().context(|| shown(path))
    }

    /// The path that `path` really is: every link in it followed, inside the tree.
    pub(crate) fn real_path(&self, path: &[u8]) -> Result<Vec<u8>> {
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut rest: Vec<Vec<u8>> = components(path);
        rest.reverse();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == b".." {
                real.pop();
                continue;
            }
            real.push(component);
            let here = real.join(&b'/');
            let Some(meta) = self.look_up(&here, false)? else { continue };
            if meta.kind == MetaKind::Symlink {
                links += 1;
                if links > LINKS_LIMIT {
                    return Err(Error::invalid(format!("too many links: {}", shown(path))));
                }
                let target = self.target(&here)?;
                real.pop();
                if target.starts_with(b"/") {
                    real.clear();
                }
                let mut more = components(&target);
                more.reverse();
                rest.extend(more);
            }
        }
        Ok(real.join(&b'/'))
    }

    /// The line of the ignore file that leaves a path out.
    pub(crate) fn left_out(&self, path: &[u8]) -> Option<usize> {
        self.filter.as_ref()?.line(&String::from_utf8_lossy(path))
    }

    fn meta(&self, stat: &rustix::fs::Stat) -> Meta {
        let meta = Meta::from(stat);
        match (self.anonymous, meta.kind) {
            (false, _) => meta,
            // As docker sends it.
            (true, MetaKind::Socket) => Meta { kind: MetaKind::File, size: 0, uid: 0, gid: 0, ..meta },
            (true, _) => Meta { uid: 0, gid: 0, ..meta },
        }
    }

    /// A directory that is left out is there when something in it is.
    fn is_visible(&self, path: &[u8], meta: &Meta) -> bool {
        let Some(filter) = &self.filter else { return true };
        if path.is_empty() || !filter.matches(&String::from_utf8_lossy(path)) {
            return true;
        }
        let may_hold = meta.is_directory() && filter.may_bring_back_below(&String::from_utf8_lossy(path));
        may_hold && self.names(path).is_ok_and(|names| !names.is_empty())
    }

    fn try_open(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>> {
        match self.open_raw(path, flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error).context(|| shown(path)),
        }
    }

    fn open_raw(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let path = CString::new(path).map_err(|_| io::ErrorKind::NotFound)?;
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&*self.fd, path.as_c_str(), flags, Mode::empty(), resolve) {
                // Somebody renamed something meanwhile, and the kernel could not be sure.
                Err(rustix::io::Errno::AGAIN) => {}
                answer => return Ok(answer?),
            }
        }
    }
}

/// The attribute that a layer carries.
pub(crate) const CAPABILITY: &str = "security.capability";
const LINKS_LIMIT: usize = 40;

/// Nobody opens one.
fn is_socket(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

/// The parts of a path; `.` and empty ones mean nothing.
pub(crate) fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec).collect()
}

/// A path and a name in it.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn shown(path: &[u8]) -> String {
    format!("`/{}`", String::from_utf8_lossy(path))
}
