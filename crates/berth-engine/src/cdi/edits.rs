//! What CDI changes in a runtime specification.
//!
//! Invariant: everything that a document asks for is done, or refused by name.

use super::Changes;
use super::document::{DeviceNode, Edits, Hook, Mount};
use crate::runtime_spec::bug;
use berth_oci::{AtPath, Error, Result};
use oci_spec::runtime as oci;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Makes the changes; a device's numbers are asked of this machine where the document has none.
pub(crate) fn apply(spec: &mut oci::Spec, changes: &Changes) -> Result<()> {
    changes.0.iter().try_for_each(|edits| edit(spec, edits))
}

fn edit(spec: &mut oci::Spec, edits: &Edits) -> Result<()> {
    if edits.intel_rdt.is_some() {
        return Err(Error::unsupported("a CDI specification asks for Intel RDT, which is not supported"));
    }
    if !edits.net_devices.is_empty() {
        return Err(Error::unsupported(
            "a CDI specification asks for network devices, which are not supported",
        ));
    }
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        crate::process::overlay(&mut env, &edits.env);
        process.set_env(Some(env));
        let mut user = process.user().clone();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(edits.additional_gids.iter().filter(|gid| **gid != 0));
        user.set_additional_gids(Some(groups));
        process.set_user(user);
    }
    for node in &edits.device_nodes {
        add_device(spec, node)?;
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in &edits.mounts {
        mounts.retain(|earlier| *earlier.destination() != mount.container_path);
        mounts.push(built(mount)?);
    }
    mounts.sort_by_key(|mount| mount.destination().components().count());
    spec.set_mounts(Some(mounts));
    for hook in &edits.hooks {
        add_hook(spec, hook)?;
    }
    Ok(())
}

fn built(mount: &Mount) -> Result<oci::Mount> {
    let kind = if mount.kind.is_empty() { "bind" } else { &mount.kind };
    oci::MountBuilder::default()
        .typ(kind)
        .source(mount.host_path.clone())
        .destination(mount.container_path.clone())
        .options(mount.options.clone())
        .build()
        .map_err(bug)
}

/// A device as the document has it, completed by what is at its path on the host.
fn add_device(spec: &mut oci::Spec, node: &DeviceNode) -> Result<()> {
    let host = node.host_path.as_deref().unwrap_or(&node.path);
    let (kind, major, minor) = match (node.kind.as_str(), node.major) {
        ("p", _) => (oci::LinuxDeviceType::P, 0, 0),
        ("b", Some(major)) => (oci::LinuxDeviceType::B, major, node.minor.unwrap_or(0)),
        ("c" | "u", Some(major)) => (oci::LinuxDeviceType::C, major, node.minor.unwrap_or(0)),
        _ => numbers(host)?,
    };
    let mut builder =
        oci::LinuxDeviceBuilder::default().path(node.path.clone()).typ(kind).major(major).minor(minor);
    if let Some(mode) = node.file_mode {
        builder = builder.file_mode(mode);
    }
    let (uid, gid) = (node.uid.unwrap_or(0), node.gid.unwrap_or(0));
    let device = builder.uid(uid).gid(gid).build().map_err(bug)?;
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut devices = linux.devices().clone().unwrap_or_default();
    devices.retain(|earlier| *earlier.path() != node.path);
    devices.push(device);
    linux.set_devices(Some(devices));
    let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
    let rule = oci::LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .major(major)
        .minor(minor)
        .access(access)
        .build()
        .map_err(bug)?;
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    rules.extend((kind != oci::LinuxDeviceType::P).then_some(rule));
    resources.set_devices(Some(rules));
    linux.set_resources(Some(resources));
    Ok(())
}

fn numbers(path: &Path) -> Result<(oci::LinuxDeviceType, i64, i64)> {
    let metadata = fs::metadata(path).at(path)?;
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => oci::LinuxDeviceType::B,
        kind if kind.is_char_device() => oci::LinuxDeviceType::C,
        _ => {
            return Err(Error::invalid(format!(
                "`{}`, which a CDI specification names, is no device",
                path.display()
            )));
        }
    };
    let number = metadata.rdev();
    Ok((kind, rustix::fs::major(number).into(), rustix::fs::minor(number).into()))
}

fn add_hook(spec: &mut oci::Spec, hook: &Hook) -> Result<()> {
    let mut builder = oci::HookBuilder::default().path(hook.path.clone());
    if !hook.args.is_empty() {
        builder = builder.args(hook.args.clone());
    }
    if !hook.env.is_empty() {
        builder = builder.env(hook.env.clone());
    }
    if let Some(timeout) = hook.timeout {
        builder = builder.timeout(timeout);
    }
    let built = builder.build().map_err(bug)?;
    let mut hooks = spec.hooks().clone().unwrap_or_default();
    let added = |list: &Option<Vec<oci::Hook>>| Some(list.iter().flatten().cloned().chain([built]).collect());
    match hook.hook_name.as_str() {
        "prestart" => hooks.set_prestart(added(hooks.prestart())),
        "createRuntime" => hooks.set_create_runtime(added(hooks.create_runtime())),
        "createContainer" => hooks.set_create_container(added(hooks.create_container())),
        "startContainer" => hooks.set_start_container(added(hooks.start_container())),
        "poststart" => hooks.set_poststart(added(hooks.poststart())),
        _ => hooks.set_poststop(added(hooks.poststop())),
    };
    spec.set_hooks(Some(hooks));
    Ok(())
}
