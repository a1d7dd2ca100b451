//! The mounts of a container: docker's own, the three files of `/etc`, and the person's.
//!
//! Invariant: a mount of the person takes the place of one of ours at the same path, and everything is mounted
//! from the shallow to the deep.

use super::{Surroundings, bug, users};
use crate::spec::{Below, Bind, ContainerSpec, IpcMode, Mount, Owners, Propagation, Tmpfs, Volume};
use berth_oci::{Error, Result};
use oci_spec::runtime as oci;
use std::path::Path;

pub(super) fn mounts(spec: &ContainerSpec, around: &Surroundings) -> Result<Vec<oci::Mount>> {
    let hidden = |target: &Path| {
        let own = |mount: &Mount| {
            mount.target() == target || (mount.target() == Path::new("/dev") && target.starts_with("/dev"))
        };
        around.mounts.iter().any(own)
    };
    let mut mounts = Vec::new();
    for own in own_mounts(spec, around)? {
        if !hidden(own.destination()) {
            mounts.push(own);
        }
    }
    let shown = around.users.filter(|users| !users.is_given);
    let mut theirs = around.mounts.iter().map(|theirs| mount(theirs, around)).collect::<Result<Vec<_>>>()?;
    for file in around.etc.iter().filter(|file| !hidden(&file.target)) {
        // The container's own: its root may write to them.
        let own = shown.map(|_| "idmap");
        let options = ["rbind", "rprivate"].into_iter().chain(own).map(str::to_owned).collect();
        theirs.push(built("bind", &file.source, &file.target, options)?);
    }
    // A stable sort: what is equally deep stays as it was written.
    theirs.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(theirs);
    Ok(mounts)
}

fn own_mounts(spec: &ContainerSpec, around: &Surroundings) -> Result<Vec<oci::Mount>> {
    let shm = format!("size={}", spec.shm_bytes());
    let access = if spec.privileged { "rw" } else { "ro" };
    let groups = if spec.privileged || spec.writable_cgroups { "rw" } else { "ro" };
    let mut mounts = [
        ("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"][..]),
        ("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        ("cgroup", "cgroup", "/sys/fs/cgroup", &[groups, "nosuid", "noexec", "nodev"]),
        ("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        ("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ]
    .into_iter()
    .map(|(typ, source, target, options)| {
        let options = options.iter().filter(|option| **option != "rw").map(|option| (*option).to_owned());
        built(typ, Path::new(source), Path::new(target), options.collect())
    })
    .collect::<Result<Vec<_>>>()?;
    if around.shared.memory.is_some() || spec.ipc == IpcMode::None {
        mounts.retain(|mount| mount.destination() != Path::new(SHM));
    }
    if spec.ipc == IpcMode::Host {
        mounts.retain(|mount| mount.destination() != Path::new(MQUEUE));
    }
    let bind = |source: &Path, target: &str| {
        built("bind", source, Path::new(target), ["rbind", "rprivate"].map(str::to_owned).to_vec())
    };
    mounts.extend(around.shared.memory.as_deref().map(|memory| bind(memory, SHM)).transpose()?);
    if spec.ipc == IpcMode::Host && Path::new(MQUEUE).is_dir() {
        mounts.push(bind(Path::new(MQUEUE), MQUEUE)?);
    }
    Ok(mounts)
}

const SHM: &str = "/dev/shm";
const MQUEUE: &str = "/dev/mqueue";

fn mount(mount: &Mount, around: &Surroundings) -> Result<oci::Mount> {
    let (mut built, owners) = match mount {
        Mount::Bind(bind) => {
            (built("bind", &bind.source, &bind.target, bind_options(bind))?, bind.owners.clone())
        }
        Mount::Volume(volume) => {
            let name = volume.name.as_deref().unwrap_or_default();
            let place = around
                .volumes
                .get(name)
                .ok_or_else(|| Error::internal(format!("volume {name} is nowhere")))?;
            let mut options = volume_options(volume);
            // A volume keeps the numbers that containers know, so that it can be seen by one with other users later.
            if around.users.is_some_and(|users| !users.is_given)
                && matches!(volume.owners, Owners::Kept | Owners::Given)
            {
                options.push("idmap".to_owned());
            }
            (built("bind", place, &volume.target, options)?, volume.owners.clone())
        }
        Mount::Tmpfs(tmpfs) => {
            (built("tmpfs", Path::new("tmpfs"), &tmpfs.target, tmpfs_options(tmpfs))?, Owners::Kept)
        }
        Mount::Image(image) => {
            let options = ["ro", "rprivate"].map(str::to_owned).to_vec();
            (built("overlay", Path::new("overlay"), &image.target, options)?, Owners::Kept)
        }
    };
    users::apply(&mut built, &owners, around.owners.get(mount.target()).copied(), around)?;
    Ok(built)
}

/// Read-only includes what is mounted below, unless only the one file system was asked for.
fn bind_options(bind: &Bind) -> Vec<String> {
    let kind = if bind.below == Below::Disabled { "bind" } else { "rbind" };
    let read_only = if matches!(bind.below, Below::Enabled | Below::ReadOnly) { "rro" } else { "ro" };
    let propagation = bind.propagation.unwrap_or(Propagation::RPrivate).as_str();
    let read_only = bind.read_only.then_some(read_only);
    [Some(kind), read_only, Some(propagation)].into_iter().flatten().map(str::to_owned).collect()
}

fn volume_options(volume: &Volume) -> Vec<String> {
    let read_only = volume.read_only.then_some("rro");
    [Some("rbind"), read_only, Some("rprivate")].into_iter().flatten().map(str::to_owned).collect()
}

/// Docker's defaults, each unless its opposite was asked for, then what was asked for.
fn tmpfs_options(tmpfs: &Tmpfs) -> Vec<String> {
    let asked = |word: &str| tmpfs.options.iter().any(|option| option == word);
    let defaults = ["noexec", "nosuid", "nodev"].into_iter().filter(|no| !asked(&no[2..]) && !asked(no));
    let words = tmpfs.options.iter().filter(|option| *option != "defaults").cloned();
    defaults.map(str::to_owned).chain(["rprivate".to_owned()]).chain(words).collect()
}

fn built(typ: &str, source: &Path, target: &Path, options: Vec<String>) -> Result<oci::Mount> {
    oci::MountBuilder::default()
        .typ(typ)
        .source(source)
        .destination(target)
        .options(options)
        .build()
        .map_err(bug)
}
