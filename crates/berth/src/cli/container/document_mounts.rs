//! A container's mounts in docker's documents: as they were asked for, and as they are.
//!
//! Invariant: what was said with `-v` is told as a bind, what with `--mount` as a mount, and both as what they became.

use berth_engine::Engine;
use berth_engine::container::Container;
use berth_engine::spec::{Below, Bind, ContainerSpec, Flag, ImageMount, Mount, Tmpfs, Volume};
use berth_oci::Result;
use serde_json::{Map, Value, json};

/// `HostConfig.Binds`: `source:target[:options]`.
pub(super) fn binds(spec: &ContainerSpec) -> Vec<String> {
    let text = |mount: &Mount| match mount {
        Mount::Bind(bind) if bind.flag == Flag::Volume => {
            Some(with_mode(format!("{}:{}", bind.source.display(), bind.target.display()), &bind.mode))
        }
        Mount::Volume(volume) if volume.flag == Flag::Volume => {
            let name = volume.name.as_deref().unwrap_or_default();
            Some(with_mode(format!("{name}:{}", volume.target.display()), &volume.mode))
        }
        _ => None,
    };
    spec.mounts.iter().filter_map(text).collect()
}

fn with_mode(text: String, mode: &str) -> String {
    if mode.is_empty() { text } else { format!("{text}:{mode}") }
}

/// `HostConfig.Mounts`, without the fields that were not given.
pub(super) fn asked(spec: &ContainerSpec) -> Vec<Value> {
    let asked = |mount: &Mount| match mount {
        Mount::Bind(bind) if bind.flag == Flag::Mount => Some(asked_bind(bind)),
        Mount::Volume(volume) if volume.flag == Flag::Mount => Some(asked_volume(volume)),
        Mount::Tmpfs(tmpfs) if tmpfs.is_mount => Some(asked_tmpfs(tmpfs)),
        Mount::Image(image) => Some(asked_image(image)),
        _ => None,
    };
    spec.mounts.iter().filter_map(asked).collect()
}

fn asked_bind(bind: &Bind) -> Value {
    let mut mount = json!({"Type": "bind", "Source": bind.source, "Target": bind.target});
    let mut options = Map::new();
    if bind.read_only {
        mount["ReadOnly"] = true.into();
    }
    if let Some(propagation) = bind.propagation {
        options.insert("Propagation".to_owned(), propagation.as_str().into());
    }
    let words = [
        ("NonRecursive", bind.below == Below::Disabled),
        ("CreateMountpoint", bind.create_source),
        ("ReadOnlyNonRecursive", bind.below == Below::Writable),
        ("ReadOnlyForceRecursive", bind.below == Below::ReadOnly),
    ];
    options.extend(words.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name.to_owned(), true.into())));
    if !options.is_empty() {
        mount["BindOptions"] = Value::Object(options);
    }
    mount
}

fn asked_volume(volume: &Volume) -> Value {
    let mut mount = json!({"Type": "volume"});
    if let Some(name) = &volume.name {
        mount["Source"] = name.as_str().into();
    }
    mount["Target"] = json!(volume.target);
    if volume.read_only {
        mount["ReadOnly"] = true.into();
    }
    let mut options = Map::new();
    if volume.no_copy {
        options.insert("NoCopy".to_owned(), true.into());
    }
    if !volume.labels.is_empty() {
        options.insert("Labels".to_owned(), json!(volume.labels));
    }
    if let Some(subpath) = &volume.subpath {
        options.insert("Subpath".to_owned(), json!(subpath));
    }
    let mut driver = Map::new();
    if let Some(name) = &volume.driver {
        driver.insert("Name".to_owned(), name.as_str().into());
    }
    if !volume.options.is_empty() {
        driver.insert("Options".to_owned(), json!(volume.options));
    }
    if !options.is_empty() || !driver.is_empty() {
        options.insert("DriverConfig".to_owned(), Value::Object(driver));
        mount["VolumeOptions"] = Value::Object(options);
    }
    mount
}

fn asked_tmpfs(tmpfs: &Tmpfs) -> Value {
    let mut mount = json!({"Type": "tmpfs", "Target": tmpfs.target});
    let option = |key: &str| tmpfs.options.iter().find_map(|option| option.strip_prefix(key));
    if tmpfs.options.iter().any(|option| option == "ro") {
        mount["ReadOnly"] = true.into();
    }
    let mut options = Map::new();
    if let Some(size) = option("size=").and_then(|size| size.parse::<u64>().ok()) {
        options.insert("SizeBytes".to_owned(), size.into());
    }
    if let Some(mode) = option("mode=").and_then(|mode| u32::from_str_radix(mode, 8).ok()) {
        options.insert("Mode".to_owned(), mode.into());
    }
    if !options.is_empty() {
        mount["TmpfsOptions"] = Value::Object(options);
    }
    mount
}

fn asked_image(image: &ImageMount) -> Value {
    let mut mount = json!({"Type": "image", "Source": image.source, "Target": image.target});
    if image.read_only {
        mount["ReadOnly"] = true.into();
    }
    if let Some(subpath) = &image.subpath {
        mount["ImageOptions"] = json!({"Subpath": subpath});
    }
    mount
}

/// `HostConfig.Tmpfs`: what `--tmpfs` was given.
pub(super) fn tmpfs(spec: &ContainerSpec) -> Map<String, Value> {
    let text = |mount: &Mount| match mount {
        Mount::Tmpfs(tmpfs) if !tmpfs.is_mount => {
            Some((tmpfs.target.display().to_string(), json!(tmpfs.options.join(","))))
        }
        _ => None,
    };
    spec.mounts.iter().filter_map(text).collect()
}

/// `Mounts`: what the container has.
pub(super) fn actual(engine: &Engine, container: &Container) -> Result<Value> {
    let mut mounts = Vec::new();
    for mount in &container.document.mounts {
        match mount {
            Mount::Bind(bind) => mounts.push(json!({
                "Type": "bind",
                "Source": bind.source,
                "Destination": bind.target,
                "Mode": bind.mode,
                "RW": !bind.read_only,
                "Propagation": bind.propagation.map_or("rprivate", |propagation| propagation.as_str()),
            })),
            Mount::Volume(volume) => mounts.push(actual_volume(engine, volume)?),
            Mount::Tmpfs(tmpfs) if tmpfs.is_mount => mounts.push(json!({
                "Type": "tmpfs",
                "Source": "",
                "Destination": tmpfs.target,
                "Mode": "",
                "RW": tmpfs.options.iter().all(|option| option != "ro"),
                "Propagation": "",
            })),
            // Where it is mounted only the container sees.
            Mount::Image(image) => mounts.push(json!({
                "Type": "image",
                "Name": image.source,
                "Source": "",
                "Destination": image.target,
                "Mode": "",
                "RW": false,
                "Propagation": "rprivate",
            })),
            Mount::Tmpfs(_) => {}
        }
    }
    Ok(Value::Array(mounts))
}

fn actual_volume(engine: &Engine, volume: &Volume) -> Result<Value> {
    let name = volume.name.as_deref().unwrap_or_default();
    // Docker's default for what may be shared between containers, where SELinux is.
    let mode = match volume.flag {
        Flag::Image => "",
        _ if volume.mode.is_empty() => "z",
        _ => &volume.mode,
    };
    Ok(json!({
        "Type": "volume",
        "Name": name,
        "Source": engine.store()?.volume_data(name),
        "Destination": volume.target,
        "Driver": "local",
        "Mode": mode,
        "RW": !volume.read_only,
        "Propagation": "",
    }))
}
