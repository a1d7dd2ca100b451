//! Devices of the host: what their files are, asked at every start, because numbers change.

use crate::runtime_spec::DeviceNode;
use crate::spec::{ContainerSpec, Device};
use berth_oci::{AtPath, Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The devices a container gets: those it names, and, privileged, all of the host's.
pub(super) fn nodes(spec: &ContainerSpec) -> Result<Vec<DeviceNode>> {
    let mut nodes = if spec.privileged { all_devices()? } else { Vec::new() };
    for device in &spec.devices {
        let named = named(device)?;
        nodes.retain(|node| named.iter().all(|new| new.target != node.target));
        nodes.extend(named);
    }
    Ok(nodes)
}

/// The numbers of the disks whose use is limited.
pub(super) fn disks(spec: &ContainerSpec) -> Result<BTreeMap<PathBuf, (i64, i64)>> {
    let io = &spec.resources.block_io;
    let lists = [&io.weight_devices, &io.read_bps, &io.write_bps, &io.read_iops, &io.write_iops];
    let numbers = |path: &PathBuf| {
        let metadata = fs::metadata(path).map_err(|error| {
            let error = Error::from(error);
            Error::invalid(format!("stat {}: {error}", path.display()))
        })?;
        let number = metadata.rdev();
        Ok((path.clone(), (rustix::fs::major(number).into(), rustix::fs::minor(number).into())))
    };
    lists.into_iter().flatten().map(|rate| numbers(&rate.path)).collect()
}

/// A device, or every device below a directory.
fn named(device: &Device) -> Result<Vec<DeviceNode>> {
    let failed = |error: io::Error| {
        let path = device.source.display();
        match error.kind() {
            io::ErrorKind::NotFound => Error::invalid(format!(
                "error gathering device information while adding custom device \"{path}\": no such file or directory"
            )),
            _ => Error::from(error),
        }
    };
    if fs::metadata(&device.source).map_err(failed)?.is_dir() {
        let mut nodes = Vec::new();
        walk(&device.source, &mut |path| {
            let below = path.strip_prefix(&device.source).expect("the walk stays below");
            nodes.extend(node(path, device.target.join(below), &device.access)?);
            Ok(())
        })?;
        return Ok(nodes);
    }
    match node(&device.source, device.target.clone(), &device.access)? {
        Some(node) => Ok(vec![node]),
        None => Err(Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": not a device node",
            device.source.display()
        ))),
    }
}

/// What the runtime makes itself, and what belongs to one namespace only.
const NOT_OURS: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

fn all_devices() -> Result<Vec<DeviceNode>> {
    let mut nodes = Vec::new();
    let root = Path::new("/dev");
    walk(root, &mut |path| {
        let first = path.strip_prefix(root).ok().and_then(|p| p.components().next());
        let skipped = first.is_some_and(|c| NOT_OURS.iter().any(|name| c.as_os_str() == *name));
        if !skipped {
            nodes.extend(node(path, path.to_owned(), "rwm")?);
        }
        Ok(())
    })?;
    Ok(nodes)
}

/// Calls `visit` with every file below `directory` that is no directory and no link.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let mut pending: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).at(&directory)? {
            let entry = entry.at(&directory)?;
            let kind = entry.file_type().at(entry.path())?;
            match (kind.is_dir(), kind.is_symlink()) {
                (true, _) => pending.push(entry.path()),
                (_, true) => {}
                _ => visit(&entry.path())?,
            }
        }
    }
    Ok(())
}

fn node(path: &Path, target: PathBuf, access: &str) -> Result<Option<DeviceNode>> {
    let metadata = fs::metadata(path).at(path)?;
    let kind = metadata.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Ok(None);
    }
    let number = metadata.rdev();
    Ok(Some(DeviceNode {
        target,
        block: kind.is_block_device(),
        major: rustix::fs::major(number).into(),
        minor: rustix::fs::minor(number).into(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_looked_up() {
        let look = |text: &str| named(&text.parse().unwrap());
        let null = look("/dev/null:/dev/x:r").unwrap().pop().unwrap();
        assert_eq!((null.block, null.major, null.minor, null.access.as_str()), (false, 1, 3, "r"));
        assert_eq!(null.target, Path::new("/dev/x"));
        for (text, expected) in [
            (
                "/nope",
                "error gathering device information while adding custom device \"/nope\": no such file or directory",
            ),
            (
                "/etc/passwd",
                "error gathering device information while adding custom device \"/etc/passwd\": not a device node",
            ),
        ] {
            assert_eq!(look(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn privileged_means_all_of_them() {
        let spec = ContainerSpec { privileged: true, ..ContainerSpec::default() };
        let nodes = nodes(&spec).unwrap();
        assert!(nodes.iter().any(|node| node.target == Path::new("/dev/null")));
        assert!(!nodes.iter().any(|node| node.target.starts_with("/dev/pts")));
    }
}
