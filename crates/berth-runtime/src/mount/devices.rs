//! `/dev`: the nodes and links every container has, those of the specification, and the terminal.

use super::act::{attach, clone_at, clone_tree};
use super::in_root::{self, Missing};
use berth_oci::{Context, Error, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::AtFlags;
use rustix::fs::{
    FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fcntl_getfl, fcntl_setfl, fstat, fstatfs, makedev,
    mknodat, symlinkat,
};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// Makes all of them under `root`. What is there already stays. In a user namespace nobody may make devices: those of
/// the host are shown instead.
pub(crate) fn devices(root: BorrowedFd<'_>, extra: &[LinuxDevice]) -> Result<()> {
    let by_binding = !berth_sys::users::is_initial()?;
    let dev = in_root::make_directories(root, Path::new("/dev"))?;
    for (name, major, minor) in NODES {
        let node = Node { kind: FileType::CharacterDevice, major, minor, mode: 0o666, owner: None };
        if by_binding {
            bind(root, &Path::new("/dev").join(name))?;
        } else {
            node.make(&dev, name)?;
        }
    }
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                return Err(io::Error::from(error)).context(|| format!("cannot make `/dev/{name}`"));
            }
        }
    }
    extra.iter().try_for_each(|device| match by_binding && device.typ() != LinuxDeviceType::P {
        true => bind(root, device.path()),
        false => from_spec(root, device),
    })
}

/// The host's device of the same path.
fn bind(root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let doing = || format!("cannot show the device `{}`", path.display());
    let device = clone_tree(path, false).context(doing)?;
    let target = in_root::locate_or_make(root, path, Missing::File).context(doing)?;
    attach(&device, &target).context(doing)
}

struct Node {
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Node {
    fn make(&self, parent: impl AsFd, name: &str) -> Result<()> {
        let parent = parent.as_fd();
        let result = mknodat(parent, name, self.kind, Mode::from(self.mode), makedev(self.major, self.minor));
        match result {
            Err(Errno::EXIST) => return Ok(()),
            result => {
                result.map_err(io::Error::from).context(|| format!("cannot make the device `{name}`"))?
            }
        }
        // The umask has taken bits away.
        chmodat(parent, name, Mode::from(self.mode), AtFlags::empty()).map_err(io::Error::from)?;
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        }
        Ok(())
    }
}

fn from_spec(root: BorrowedFd<'_>, device: &LinuxDevice) -> Result<()> {
    let path = device.path();
    let invalid = || Error::invalid(format!("`{}` is not a device to be made", path.display()));
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(invalid()),
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| invalid());
    let (major, minor) =
        if kind == FileType::Fifo { (0, 0) } else { (number(device.major())?, number(device.minor())?) };
    let node = Node {
        kind,
        major,
        minor,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: Some((device.uid().unwrap_or(0), device.gid().unwrap_or(0))),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(invalid()) };
    node.make(in_root::make_directories(root, parent)?, &name.to_string_lossy())
}

/// A pseudo-terminal of the container's own `/dev/pts`: the monitor's end and the container's.
///
/// After [`super::enter`] the root is `/`, and for an exec its contents are the container's to change: what is
/// opened is checked to be the multiplexer of a devpts before anything is asked of it.
pub(crate) fn open_terminal(root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    const DEVPTS: i64 = 0x1cd1;
    let doing = || "cannot open a terminal in the container";
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let master = in_root::open(root, Path::new("/dev/pts/ptmx"), flags).context(doing)?;
    let stat = fstat(&master).map_err(io::Error::from).context(doing)?;
    let kind = fstatfs(&master).map_err(io::Error::from).context(doing)?.f_type as i64;
    if stat.st_rdev != makedev(5, 2) || kind != DEVPTS {
        return Err(Error::denied("`/dev/pts/ptmx` in the container is not a terminal multiplexer"));
    }
    // Only until we knew what it is.
    let flags = fcntl_getfl(&master).map_err(io::Error::from).context(doing)?;
    fcntl_setfl(&master, flags - OFlags::NONBLOCK).map_err(io::Error::from).context(doing)?;
    unlockpt(&master).map_err(io::Error::from).context(doing)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(io::Error::from).context(doing)?;
    Ok((master, slave))
}

/// Opens the container's terminal and shows it as `/dev/console`.
pub(crate) fn console(root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let (master, slave) = open_terminal(root)?;
    let mount = clone_at(&slave, false).context(|| "cannot make `/dev/console`")?;
    let target = in_root::locate_or_make(root, Path::new("/dev/console"), Missing::File)?;
    attach(&mount, &target).context(|| "cannot make `/dev/console`")?;
    Ok((master, slave))
}
