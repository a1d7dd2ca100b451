//! Compose files: each service with `build` is a target.
//!
//! Only what concerns building is read: `services.*.build`, `services.*.image`, top-level `secrets`, and the extension
//! `x-bake`. Invariant: `$VARIABLES` are replaced everywhere before anything is read, as compose does it.

use super::entries::{flags, pairs, text};
use super::target::{Target, append_new};
use super::{BakeFile, Lookup, sanitized, yaml};
use crate::dockerfile::{Expander, ram_bytes};
use crate::ignore::clean;
use berth_oci::{Error, Result};
use serde_json::{Map, Value};

/// Reads files; later ones complete and override earlier ones.
pub(super) fn read(files: &[&BakeFile], lookup: Lookup<'_>) -> Result<Vec<Target>> {
    let mut whole = Map::new();
    for file in files {
        let fault = |message: String| Error::invalid(format!("failed to parse {}: {message}", file.name));
        let value = yaml::parse(&file.text).map_err(fault)?;
        let value = substituted(value, lookup).map_err(fault)?;
        match value {
            Value::Object(map) => merge(&mut whole, map),
            _ => return Err(fault("empty compose file".to_owned())),
        }
    }
    let secrets = whole.get("secrets").and_then(Value::as_object).cloned().unwrap_or_default();
    let services = whole.get("services").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut targets = Vec::new();
    for (name, service) in services {
        if service.get("extends").is_some() && service.get("build").is_none() {
            return Err(Error::unsupported(format!(
                "service {name:?} extends another, which bake does not follow"
            ))
            .hint("write its `build` section out"));
        }
        let Some(build) = service.get("build").filter(|build| !build.is_null()) else { continue };
        let target = target(&name, build, &service, &secrets).map_err(|message| {
            Error::invalid(format!("invalid build section of service {name:?}: {message}"))
        })?;
        targets.push(target);
    }
    Ok(targets)
}

/// Maps are merged, lists appended, all else replaced.
fn merge(base: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => {
                for value in new {
                    if !old.contains(&value) {
                        old.push(value);
                    }
                }
            }
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// Replaces variables in all strings; `$$` is a dollar sign.
fn substituted(value: Value, lookup: Lookup<'_>) -> std::result::Result<Value, String> {
    Ok(match value {
        Value::String(text) if text.contains('$') => Value::String(interpolated(&text, lookup)?),
        Value::Array(list) => {
            list.into_iter().map(|value| substituted(value, lookup)).collect::<std::result::Result<_, _>>()?
        }
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| Ok((key, substituted(value, lookup)?)))
                .collect::<std::result::Result<_, String>>()?,
        ),
        other => other,
    })
}

fn interpolated(text: &str, lookup: Lookup<'_>) -> std::result::Result<String, String> {
    let variables = |name: &str| lookup(name);
    let mut expander = Expander::new(&variables);
    let parts = text.split("$$").map(|part| {
        // Nothing escapes in compose files, and quotes mean nothing.
        expander.raw(part).map_err(|error| error.to_string())
    });
    Ok(parts.collect::<std::result::Result<Vec<_>, _>>()?.join("$"))
}

fn target(
    name: &str,
    build: &Value,
    service: &Value,
    secrets: &Map<String, Value>,
) -> std::result::Result<Target, String> {
    let mut target = Target { name: sanitized(name), ..Target::default() };
    let build = match build {
        // `build: dir`
        Value::String(context) => Map::from_iter([("context".to_owned(), Value::from(context.clone()))]),
        Value::Object(map) => map.clone(),
        _ => return Err("it is neither a path nor a map".to_owned()),
    };
    for (key, value) in &build {
        let value = match key.as_str() {
            "args" | "labels" | "additional_contexts" | "extra_hosts" => named(value)?,
            _ => value.clone(),
        };
        match key.as_str() {
            "context" => target.context = Some(path(&text(&value)?)),
            "shm_size" => target.shm_size = Some(size(&text(&value)?)?),
            "dockerfile" | "target" | "network" | "tags" | "platforms" | "pull" | "args" | "labels"
            | "ssh" | "entitlements" => target.set_value(key, &value)?,
            "dockerfile_inline" => target.set_value("dockerfile-inline", &value)?,
            "cache_from" => target.set_value("cache-from", &value)?,
            "cache_to" => target.set_value("cache-to", &value)?,
            "no_cache" => target.set_value("no-cache", &value)?,
            "extra_hosts" => target.set_value("extra-hosts", &value)?,
            "additional_contexts" => target.contexts = contexts(&value)?,
            "secrets" => target.secret = secret_flags(&value, secrets)?,
            "ulimits" => target.ulimits = ulimits(&value)?,
            "provenance" | "sbom" => target.add_attestations(&[attestation(key, &value)?]),
            "privileged" if value == Value::Bool(true) => {
                target.entitlements.push("security.insecure".to_owned())
            }
            "privileged" => {}
            "x-bake" => {}
            key if key.starts_with("x-") => {}
            key => return Err(format!("{key:?} is not known")),
        }
    }
    if let Some(extension) = build.get("x-bake") {
        extend(&mut target, extension)?;
    }
    if let (true, Some(image)) = (target.tags.is_empty(), service.get("image")) {
        target.set_value("tags", &Value::Array(vec![image.clone()]))?;
    }
    Ok(target)
}

/// A map, or a list of `name=value`. A name without a value is left out: it says nothing about the build.
fn named(value: &Value) -> std::result::Result<Value, String> {
    let Value::Array(list) = value else { return Ok(value.clone()) };
    let mut map = Map::new();
    for entry in list {
        let entry = text(entry)?;
        // Hosts may be written `name:address`.
        let pair = entry.split_once('=').or_else(|| entry.split_once(':'));
        if let Some((name, value)) = pair {
            map.insert(name.to_owned(), value.into());
        }
    }
    Ok(Value::Object(map))
}

/// A local path without `./`; addresses stay as they are.
fn path(text: &str) -> String {
    if text.contains("://") || text.starts_with("git@") { text.to_owned() } else { clean(text) }
}

/// `1g`, written out as `1GiB`.
fn size(text: &str) -> std::result::Result<String, String> {
    let mut bytes = ram_bytes(text).ok_or_else(|| format!("{text:?} is no size"))? as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while bytes >= 1024.0 {
        let Some(next) = units.next() else { break };
        (bytes, unit) = (bytes / 1024.0, next);
    }
    // Four digits that count, as docker writes sizes.
    let digits = 3usize.saturating_sub(bytes.log10().max(0.0) as usize);
    let number = format!("{bytes:.digits$}");
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    Ok(format!("{number}{unit}"))
}

/// `service:x` is another target.
fn contexts(value: &Value) -> std::result::Result<std::collections::BTreeMap<String, String>, String> {
    let linked = |value: String| {
        let other = value.strip_prefix("service:").or_else(|| value.strip_prefix("target:"));
        other.map(|name| format!("target:{}", sanitized(name))).unwrap_or(value)
    };
    Ok(pairs(value)?.into_iter().map(|(name, value)| (name, linked(value))).collect())
}

fn secret_flags(value: &Value, known: &Map<String, Value>) -> std::result::Result<Vec<String>, String> {
    let list = value.as_array().ok_or("secrets must be a list")?;
    list.iter()
        .map(|entry| {
            let id = match entry {
                Value::Object(map) => text(map.get("source").unwrap_or(&Value::Null))?,
                other => text(other)?,
            };
            let definition = known.get(&id);
            let field = |key: &str| definition.and_then(|d| d.get(key)).and_then(Value::as_str);
            if definition.is_some_and(|d| d.get("external") == Some(&Value::Bool(true))) {
                return Err(format!("unsupported external secret {id}"));
            }
            Ok(match (field("file"), field("environment")) {
                (Some(file), _) => format!("id={id},src={}", path(file)),
                (None, Some(variable)) => format!("id={id},env={variable}"),
                (None, None) => format!("id={id}"),
            })
        })
        .collect()
}

/// `nofile: 1024`, or `nofile: {soft: 1, hard: 2}`.
fn ulimits(value: &Value) -> std::result::Result<Vec<String>, String> {
    let map = value.as_object().ok_or("ulimits must be a map")?;
    map.iter()
        .map(|(name, limit)| {
            let (soft, hard) = match limit {
                Value::Object(both) => {
                    let part = |key: &str| text(both.get(key).unwrap_or(&Value::Null));
                    (part("soft")?, part("hard")?)
                }
                single => (text(single)?, text(single)?),
            };
            Ok(format!("{name}={soft}:{hard}"))
        })
        .collect()
}

/// `provenance: mode=max`, `sbom: true`.
fn attestation(kind: &str, value: &Value) -> std::result::Result<String, String> {
    Ok(match text(value)?.as_str() {
        "true" => format!("type={kind}"),
        "false" => format!("type={kind},disabled=true"),
        other => format!("type={kind},{other}"),
    })
}

/// What compose has no words for.
fn extend(target: &mut Target, extension: &Value) -> std::result::Result<(), String> {
    let map = extension.as_object().ok_or("x-bake must be a map")?;
    for (key, value) in map {
        // A string is a list of words here.
        let words = |value: &Value| match value {
            Value::String(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            other => flags(other),
        };
        match key.as_str() {
            "tags" => append_given(target, "tags", words(value)?)?,
            "platforms" => append_given(target, "platforms", words(value)?)?,
            "output" => append_given(target, "output", words(value)?)?,
            "cache-to" => append_given(target, "cache-to", words(value)?)?,
            "cache-from" => append_new(&mut target.cache_from, &words(value)?),
            "secret" => append_new(&mut target.secret, &words(value)?),
            "ssh" => append_new(&mut target.ssh, &words(value)?),
            "no-cache-filter" => append_new(&mut target.no_cache_filter, &words(value)?),
            "pull" | "no-cache" => target.set_value(key, value)?,
            "contexts" => {
                for (name, value) in contexts(value)? {
                    target.contexts.entry(name).or_insert(value);
                }
            }
            key => return Err(format!("x-bake: {key:?} is not known")),
        }
    }
    Ok(())
}

/// Appends to one of the lists that replace when they are merged.
fn append_given(target: &mut Target, name: &str, more: Vec<String>) -> std::result::Result<(), String> {
    let mut list = match name {
        "tags" => target.tags.clone(),
        "platforms" => target.platforms.clone(),
        "output" => target.output.clone(),
        _ => target.cache_to.clone(),
    };
    append_new(&mut list, &more);
    target.set_value(name, &list.into())
}
