//! A room to ingest into, and eyes: everything `lstat` and `lgetxattr` tell, as text.

use crate::layer::{Bounds, Form, IngestPlan, IngestedLayer, ingest};
use berth_oci::{Descriptor, Digest, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory for one test.
pub(crate) struct Room(tempfile::TempDir);

impl Room {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn plan(&self, form: Form) -> IngestPlan<'_> {
        IngestPlan {
            expected: None,
            diff_id: None,
            temporary: self.path(),
            partial: None,
            keep_compressed: false,
            form,
            bounds: Bounds { reserve: 0, ..Bounds::default() },
        }
    }

    pub(crate) fn ingest(&self, form: Form, bytes: &[u8]) -> Result<IngestedLayer> {
        ingest(&self.plan(form), &|offset| Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec()))))
    }

    /// Ingests and publishes; where it lies.
    pub(crate) fn place(&self, form: Form, bytes: &[u8]) -> Result<PathBuf> {
        let layer = self.ingest(form, bytes)?;
        let place = self.path().join(crate::disk::random_name()?);
        layer.commit(&place).map(|_| place)
    }

    /// What the layer looks like, in both forms; they must not differ.
    pub(crate) fn shown(&self, bytes: &[u8]) -> Result<Shown> {
        let directory = self.place(Form::Directory, bytes);
        let index = self.place(Form::Erofs, bytes);
        let (directory, index) = match (directory, index) {
            (Ok(directory), Ok(index)) => (directory, index),
            (Err(one), Err(other)) => {
                assert_eq!(one.to_string(), other.to_string());
                return Err(one);
            }
            (one, other) => panic!("only one form takes it: {one:?}, {other:?}"),
        };
        check_with_fsck(&index);
        let shown = show(&directory);
        if let Some(mounted) = mount(&index) {
            assert_eq!(differences(&show(&mounted.path()), &shown), Vec::<String>::new());
        }
        Ok(shown)
    }

    /// Nothing is left but what the test made.
    pub(crate) fn assert_only(&self, names: &[&str]) {
        let mut found: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, names);
    }
}

/// For each path what can be seen of it.
pub(crate) type Shown = BTreeMap<String, String>;

/// Walks a directory.
pub(crate) fn show(root: &Path) -> Shown {
    let mut shown = Shown::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let whole = root.join(&path);
        let metadata = if path.as_os_str().is_empty() { whole.metadata() } else { whole.symlink_metadata() };
        let metadata = metadata.unwrap_or_else(|e| panic!("{}: {e}", whole.display()));
        shown.insert(path.to_string_lossy().into_owned(), describe(&whole, &metadata));
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&whole).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        }
    }
    shown
}

fn describe(path: &Path, metadata: &fs::Metadata) -> String {
    let content = match metadata.file_type() {
        kind if kind.is_file() => format!("{} {}", metadata.len(), file_digest(path)),
        kind if kind.is_symlink() => fs::read_link(path).unwrap().to_string_lossy().into_owned(),
        kind if kind.is_dir() => String::new(),
        _ => metadata.rdev().to_string(),
    };
    format!(
        "{:o} {}:{} {}.{:09} x{} {content} {}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.nlink(),
        xattrs(path, metadata.is_dir())
    )
}

fn file_digest(path: &Path) -> String {
    let mut hasher = berth_oci::Hasher::new(berth_oci::Algorithm::Sha256);
    let mut file = fs::File::open(path).unwrap();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        {
            0 => return hasher.finish().short().to_owned(),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn xattrs(path: &Path, follow: bool) -> String {
    let mut names = vec![0; 64 << 10];
    // A directory may be the magic link of a mount; nothing else that is looked at is followed.
    let listed = match follow {
        true => rustix::fs::listxattr(path, &mut names),
        false => rustix::fs::llistxattr(path, &mut names),
    };
    let mut names: Vec<_> =
        names[..listed.unwrap_or(0)].split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = match follow {
            true => rustix::fs::getxattr(path, name, &mut value),
            false => rustix::fs::lgetxattr(path, name, &mut value),
        };
        format!("{}={}", name.escape_ascii(), value[..length.unwrap()].escape_ascii())
    };
    names.into_iter().map(value).collect::<Vec<_>>().join(",")
}

/// One line for each path that is not the same in both.
pub(crate) fn differences(one: &Shown, other: &Shown) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differs = |path: &&&String| one.get(**path) != other.get(**path);
    paths.iter().filter(differs).map(|p| format!("{p}: {:?} / {:?}", one.get(*p), other.get(*p))).collect()
}

/// A mount that is nowhere and goes with its descriptor.
pub(crate) struct Mounted(OwnedFd);

impl Mounted {
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Mounts a published layer; `None` where the kernel or our rights do not allow it, which is said.
pub(crate) fn mount(place: &Path) -> Option<Mounted> {
    match crate::mount::detached(place) {
        Ok(mount) => Some(Mounted(mount)),
        Err(error) if matches!(error.kind(), berth_oci::Kind::Corrupt) => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            assert!(!rustix::process::geteuid().is_root() || !can_mount_at_all(), "{error}");
            None
        }
    }
}

/// Whether this machine could, were the image right.
fn can_mount_at_all() -> bool {
    let room = Room::new();
    crate::mount::probe(room.path(), room.path()).unwrap() == Form::Erofs
}

/// An overlay of some directories, uppermost first.
pub(crate) fn overlay(lowers: &[PathBuf]) -> Mounted {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for lower in lowers {
        fsconfig_set_string(&context, "lowerdir+", lower).unwrap();
    }
    fsconfig_set_flag(&context, "ro").unwrap();
    fsconfig_create(&context).unwrap();
    Mounted(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap())
}

/// erofs-utils' own opinion, where they are installed.
pub(crate) fn check_with_fsck(place: &Path) {
    let Some(mut fsck) = erofs_tool("fsck.erofs") else {
        eprintln!("skipped: there is no fsck.erofs");
        return;
    };
    let device = format!("--device={}", place.join("tar").display());
    let output = fsck.arg(device).arg(place.join("index.erofs")).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("<E>") && !text.contains("<W>"), "{text}");
}

/// A program of erofs-utils that knows blocks of 512 bytes: this machine's, or that of the Debian tree that
/// `BERTH_TEST_PEERS` names.
pub(crate) fn erofs_tool(name: &str) -> Option<Command> {
    if Command::new(name).arg("-V").output().is_ok_and(|output| is_new(&output.stdout)) {
        return Some(Command::new(name));
    }
    #[expect(clippy::disallowed_methods, reason = "where newer tools are is the caller's wish")]
    let peers = PathBuf::from(std::env::var_os("BERTH_TEST_PEERS")?);
    let loader = peers.join("lib64/ld-linux-x86-64.so.2");
    let program = peers.join("usr/bin").join(name);
    if !loader.exists() || !program.exists() {
        return None;
    }
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(peers.join("usr/lib/x86_64-linux-gnu")).arg(program);
    Some(command)
}

/// Whether `-V` tells of 1.7 or later; before, blocks had the size of a page.
fn is_new(version: &[u8]) -> bool {
    let text = String::from_utf8_lossy(version);
    let number = |part: Option<&str>| part.and_then(|p| p.parse::<u32>().ok());
    text.split_whitespace().any(|word| {
        let mut parts = word.split('.');
        matches!((number(parts.next()), number(parts.next())), (Some(major), Some(minor)) if (major, minor) >= (1, 7))
    })
}

/// The descriptor of these bytes.
pub(crate) fn described(bytes: &[u8]) -> Descriptor {
    Descriptor::of(berth_oci::media_type::OCI_LAYER_GZIP, bytes)
}

/// The digest of these bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}
