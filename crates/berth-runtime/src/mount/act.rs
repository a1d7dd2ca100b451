//! A planned mount, done: made detached, given its attributes, then put in its place.

use super::copy_up::copy_up;
use super::in_root::{self, Missing};
use super::plan::{Kind, MountPlan};
use crate::cgroup::{Hierarchy, Version};
use berth_oci::{Context, Error, Kind as ErrorKind, Result};
use berth_sys::mount::{Attributes, set_attributes};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, readlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a mount of type `cgroup` shows.
#[derive(Clone, Debug)]
pub(crate) struct CgroupMounts {
    /// Each hierarchy the container has a cgroup in, and that cgroup.
    pub(crate) groups: Vec<(Hierarchy, PathBuf)>,
    /// Whether the container has a cgroup namespace: then a fresh mount shows its own subtree.
    pub(crate) namespaced: bool,
}

/// Mounts one plan under `root`; `source` is what it binds, when somebody else has opened that.
pub(crate) fn mount(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    source: Option<OwnedFd>,
    cgroups: &CgroupMounts,
) -> Result<()> {
    let what = || format!("cannot mount on `{}`", plan.target.display());
    match (&plan.kind, source) {
        (Kind::Bind { .. } | Kind::Layers { .. }, Some(tree)) => bind(root, plan, &tree).context(what),
        (Kind::Layers { .. }, None) => {
            Err(Error::internal("the layers of a mount have not been opened")).context(what)
        }
        (Kind::Bind { .. }, None) => open_source(plan).and_then(|tree| bind(root, plan, &tree)).context(what),
        (Kind::New { name, source, options }, _) => {
            new(root, plan, name, source.as_deref(), options).context(what)
        }
        (Kind::Cgroup, _) => cgroup(root, plan, cgroups).context(what),
        (Kind::Again, _) => again(root, plan).context(what),
    }
}

fn bind(root: BorrowedFd<'_>, plan: &MountPlan, tree: &OwnedFd) -> Result<()> {
    if plan.links.copied && kind_of(tree)? == FileType::Symlink {
        let text = readlinkat(tree, c"", Vec::new()).map_err(io::Error::from)?;
        return in_root::make_link(root, &plan.target, &text);
    }
    let missing = missing_for(tree)?;
    finish(tree, plan)?;
    let target = match plan.links.covered {
        true => cover(root, &plan.target, missing)?,
        false => in_root::locate_or_make(root, &plan.target, missing)?,
    };
    attach(tree, &target)
}

/// A place where a link would be covered. Not one of the kernel's own: `/proc/self` is where we, too, find ourselves.
fn cover(root: BorrowedFd<'_>, target: &Path, missing: Missing) -> Result<OwnedFd> {
    let place = in_root::locate_itself_or_make(root, target, missing)?;
    let kind = fstatfs(&place).map_err(io::Error::from)?.f_type;
    match [libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC, libc::DEVPTS_SUPER_MAGIC].contains(&kind) {
        false => Ok(place),
        true => {
            Err(Error::invalid(format!("`{}` is the kernel's and must not be covered", target.display())))
        }
    }
}

fn again(root: BorrowedFd<'_>, plan: &MountPlan) -> Result<()> {
    let there = in_root::locate(root, &plan.target)?;
    Ok(set_attributes(&there, plan.attributes)?)
}

/// What was left for later, because things had to be put into it.
pub(crate) fn make_read_only_now(root: BorrowedFd<'_>, plans: &[MountPlan]) -> Result<()> {
    for plan in plans.iter().filter(|plan| plan.is_read_only_later()) {
        let there = in_root::locate(root, &plan.target)?;
        set_attributes(&there, Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() })
            .context(|| format!("cannot make `{}` read-only", plan.target.display()))?;
    }
    Ok(())
}

/// What a bind shows: a path of the host, or a part of it.
pub(super) fn open_source(plan: &MountPlan) -> Result<OwnedFd> {
    let Kind::Bind { source, part, recursive } = &plan.kind else {
        return Err(Error::internal("only a bind has a source of the host"));
    };
    let tree = match part {
        Some(part) => clone_part(source, part, *recursive),
        None => clone_path(source, *recursive, plan.links.keeps_source()),
    };
    tree.context(|| format!("cannot bind `{}`", source.display()))
}

/// A copy of the mount at a path of the host.
pub(super) fn clone_tree(source: &Path, recursive: bool) -> Result<OwnedFd> {
    clone_path(source, recursive, false)
}

/// The same; a path that is a link may be meant itself.
fn clone_path(source: &Path, recursive: bool, itself: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, itself);
    Ok(open_tree(CWD, source, flags).map_err(io::Error::from)?)
}

/// A copy of the mount at a path inside a directory of the host.
fn clone_part(source: &Path, part: &Path, recursive: bool) -> Result<OwnedFd> {
    let source = rustix::fs::open(source, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)?;
    let part = in_root::locate(&source, part)
        .context(|| format!("cannot access path `{}` in it", part.display()))?;
    clone_at(&part, recursive)
}

/// A copy of the mount that a descriptor is at.
pub(super) fn clone_at(at: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    Ok(open_tree(at, c"", flags).map_err(io::Error::from)?)
}

pub(super) fn missing_for(mount: impl AsFd) -> Result<Missing> {
    Ok(if kind_of(mount)? == FileType::Directory { Missing::Directory } else { Missing::File })
}

fn kind_of(mount: impl AsFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(mount).map_err(io::Error::from)?.st_mode))
}

fn new(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    name: &str,
    source: Option<&str>,
    options: &[(String, Option<String>)],
) -> Result<()> {
    let there = in_root::locate(root, &plan.target).ok();
    let target = in_root::locate_or_make(root, &plan.target, Missing::Directory)?;
    let mount = match name {
        "tmpfs" => tmpfs(there.as_ref(), plan, source, options)?,
        name => match make(name, source, &possible(name, options)?) {
            Err(error) if error.kind() == ErrorKind::Denied => of_the_host(name, plan, error)?,
            made => made?,
        },
    };
    finish(&mount, plan)?;
    if ["proc", "sysfs"].contains(&name) {
        // Masks and read-only paths are put on `/proc/…` later: it has to be there, not behind a link of the image.
        in_root::locate_exactly(root, &plan.target).context(|| {
            format!("`{}` in the image must be a directory, not a link", plan.target.display())
        })?;
    }
    attach(&mount, &target)
}

/// A group without a number in this user namespace cannot have the terminals: who opens one has it.
fn possible(name: &str, options: &[(String, Option<String>)]) -> Result<Vec<(String, Option<String>)>> {
    let last = berth_sys::users::last_group()?;
    let is_unknown = |key: &str, value: &Option<String>| {
        key == "gid" && value.as_ref().and_then(|v| v.parse().ok()) > Some(last)
    };
    let all = options.iter().filter(|(key, value)| name != "devpts" || !is_unknown(key, value));
    Ok(all.cloned().collect())
}

/// A procfs that shows our network's settings: one that nobody has mounted anywhere, since a container's might be
/// something else; or the host's, where the processes are the host's and only root may mount theirs.
pub(crate) fn settings() -> Result<OwnedFd> {
    match make("proc", None, &[]) {
        Err(error) if error.kind() == ErrorKind::Denied && !berth_sys::users::is_initial()? => {
            clone_tree(Path::new("/proc"), true)
        }
        made => made,
    }
}

/// The kernel's file systems show a namespace, and only who owns that may mount them. What is the host's is shown to a
/// user as the host has it.
fn of_the_host(name: &str, plan: &MountPlan, refused: Error) -> Result<OwnedFd> {
    let there = match name {
        "sysfs" => "/sys",
        "proc" => "/proc",
        "mqueue" => "/dev/mqueue",
        _ => return Err(refused),
    };
    if berth_sys::users::is_initial()? {
        return Err(refused);
    }
    let tree = clone_tree(Path::new(there), true).context(|| format!("cannot show `{there}`"))?;
    if plan.attributes.set & libc::MOUNT_ATTR_RDONLY != 0 {
        let all = Attributes { set: libc::MOUNT_ATTR_RDONLY, recursive: true, ..Attributes::default() };
        set_attributes(&tree, all).context(|| format!("cannot make `{there}` read-only"))?;
    }
    Ok(tree)
}

/// With the mode of the directory that was there before, unless it has one of its own, and its contents, if they are
/// wanted.
fn tmpfs(
    target: Option<&OwnedFd>,
    plan: &MountPlan,
    source: Option<&str>,
    options: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let mut options = options.to_vec();
    if let (Some(target), false) = (target, options.iter().any(|(key, _)| key == "mode")) {
        let mode = fstat(target).map_err(io::Error::from)?.st_mode & 0o7777;
        options.push(("mode".into(), Some(format!("{mode:o}"))));
    }
    let mount = make("tmpfs", source, &options)?;
    if let (Some(target), true) = (target, plan.copy_up) {
        copy_up(target, &mount).context(|| "cannot copy what the mount covers")?;
    }
    Ok(mount)
}

/// A new instance of a file system, mounted nowhere yet.
pub(crate) fn make(
    name: &str,
    source: Option<&str>,
    options: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let instance = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).map_err(io::Error::from);
    let instance = instance.context(|| format!("cannot make a file system of type `{name}`"))?;
    if let Some(source) = source {
        fsconfig_set_string(&instance, "source", source).map_err(io::Error::from)?;
    }
    for (key, value) in options {
        let set = match value {
            Some(value) => fsconfig_set_string(&instance, key, value),
            None => fsconfig_set_flag(&instance, key),
        };
        set.map_err(io::Error::from).context(|| {
            let value = value.as_ref().map_or(String::new(), |v| format!("={v}"));
            format!("`{name}` does not accept the option `{key}{value}`")
        })?;
    }
    fsconfig_create(&instance).map_err(io::Error::from).context(|| format!("cannot make a `{name}`"))?;
    Ok(fsmount(&instance, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(io::Error::from)?)
}

/// Attributes and propagation, while nobody can see the mount.
fn finish(mount: &OwnedFd, plan: &MountPlan) -> Result<()> {
    let set =
        |attributes| set_attributes(mount, attributes).context(|| "cannot set the attributes of a mount");
    let mut attributes = plan.attributes;
    if plan.is_read_only_later() {
        attributes.set &= !libc::MOUNT_ATTR_RDONLY;
    }
    for attributes in [attributes, plan.recursive] {
        if attributes.set | attributes.clear != 0 {
            set(attributes)?;
        }
    }
    let wanted = if plan.propagation == 0 { libc::MS_PRIVATE | libc::MS_REC } else { plan.propagation };
    let recursive = wanted & libc::MS_REC != 0;
    set(Attributes { propagation: wanted & !libc::MS_REC, recursive, ..Attributes::default() })
}

/// Puts a detached mount on an open location.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", target, c"", flags).map_err(io::Error::from)?)
}

/// v2 alone: one mount. v1: a directory with one mount each, as everything inside expects to find it.
fn cgroup(root: BorrowedFd<'_>, plan: &MountPlan, cgroups: &CgroupMounts) -> Result<()> {
    if let [(hierarchy, group)] = &cgroups.groups[..]
        && hierarchy.version == Version::V2
    {
        let mount = cgroup_mount(hierarchy, group, cgroups.namespaced)?;
        finish(&mount, plan)?;
        return attach(&mount, &in_root::locate_or_make(root, &plan.target, Missing::Directory)?);
    }
    let directory = make("tmpfs", Some("tmpfs"), &[("mode".into(), Some("755".into()))])?;
    attach(&directory, &in_root::locate_or_make(root, &plan.target, Missing::Directory)?)?;
    for (hierarchy, group) in &cgroups.groups {
        let mount = cgroup_mount(hierarchy, group, cgroups.namespaced)?;
        finish(&mount, plan)?;
        place_below(&directory, &hierarchy.name(), &mount)?;
    }
    // Only now, because it may become read-only; older kernels mount only on what is attached itself.
    finish(&directory, plan)
}

/// On a new directory of a mount.
fn place_below(directory: &OwnedFd, name: &str, mount: &OwnedFd) -> Result<()> {
    rustix::fs::mkdirat(directory, name, rustix::fs::Mode::from(0o755)).map_err(io::Error::from)?;
    attach(mount, &in_root::locate(directory, Path::new(name))?)
}

fn cgroup_mount(hierarchy: &Hierarchy, group: &Path, namespaced: bool) -> Result<OwnedFd> {
    match (namespaced, hierarchy.version) {
        (false, _) => clone_tree(group, true),
        (true, Version::V2) => make("cgroup2", Some("cgroup"), &[]),
        (true, Version::V1) => {
            let options: Vec<_> = hierarchy.controllers.iter().map(|c| (c.clone(), None)).collect();
            if options.is_empty() {
                return Err(Error::internal(format!("`{}` has no controllers", hierarchy.mount.display())));
            }
            make("cgroup", Some("cgroup"), &options)
        }
    }
}
