//! `--set target.key=value`, `--set *.tags+=x`.
//!
//! Invariant: a pattern that meets no target is an error, so that a slip of the pen builds nothing else.

use super::Lookup;
use super::target::{Target, append_new};
use crate::glob::Glob;
use berth_oci::{Error, Result};
use serde_json::Value;

/// All of them, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides(Vec<Override>);

#[derive(Clone, Debug)]
struct Override {
    targets: Vec<String>,
    key: String,
    /// `args.NAME`
    name: Option<String>,
    value: String,
    appends: bool,
}

/// Reads `--set`.
pub(super) fn parse(set: &[String], targets: &[Target], lookup: Lookup<'_>) -> Result<Overrides> {
    let mut overrides = Vec::new();
    for text in set {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        let appends = key.ends_with('+');
        let key = key.strip_suffix('+').unwrap_or(key);
        let mut parts = key.splitn(3, '.');
        let (Some(pattern), Some(attribute)) = (parts.next(), parts.next()) else {
            return Err(Error::invalid(format!("invalid override key {key}, expected target.name")));
        };
        let name = parts.next().map(str::to_owned);
        let value = match (value, attribute, &name) {
            (Some(value), ..) => value,
            // An argument without a value is taken from the environment, if it is there.
            (None, "args", Some(name)) => match lookup(name) {
                Some(value) => value,
                None => continue,
            },
            (None, ..) => {
                return Err(Error::invalid(format!("invalid override {text}, expected target.name=value")));
            }
        };
        let targets = matching(pattern, targets)?;
        overrides.push(Override { targets, key: attribute.to_owned(), name, value, appends });
    }
    Ok(Overrides(overrides))
}

fn matching(pattern: &str, targets: &[Target]) -> Result<Vec<String>> {
    let glob = Glob::new(pattern)
        .map_err(|_| Error::invalid(format!("could not match targets with '{pattern}'")))?;
    let found: Vec<String> = targets
        .iter()
        .filter(|target| target.name == pattern || glob.matches(&target.name))
        .map(|target| target.name.clone())
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return Err(Error::not_found(format!("could not find any target matching '{pattern}'"))
            .hint(format!("the files define: {}", names.join(", "))));
    }
    Ok(found)
}

impl Overrides {
    /// Applies those that mean `target`.
    pub(super) fn apply(&self, target: &mut Target) -> Result<()> {
        let mut replaced: Vec<&str> = Vec::new();
        let name = target.name.clone();
        for entry in self.0.iter().filter(|entry| entry.targets.contains(&name)) {
            entry.apply(target, &mut replaced).map_err(Error::invalid)?;
        }
        Ok(())
    }
}

impl Override {
    /// `replaced` holds the lists that an earlier one has begun anew.
    fn apply<'a>(&'a self, target: &mut Target, replaced: &mut Vec<&'a str>) -> Result<(), String> {
        let named = |map: &mut std::collections::BTreeMap<String, String>| match &self.name {
            Some(name) => {
                map.insert(name.clone(), self.value.clone());
                Ok(())
            }
            None => Err(format!("invalid key {0}, {0} requires name", self.key)),
        };
        let list = match self.key.as_str() {
            "args" => return named(&mut target.args),
            "contexts" => return named(&mut target.contexts),
            "labels" => return named(&mut target.labels),
            "extra-hosts" => return named(&mut target.extra_hosts),
            "push" | "load" => return self.shorthand(target),
            "attest" => {
                target.add_attestations(std::slice::from_ref(&self.value));
                return Ok(());
            }
            "tags" => &mut target.tags,
            "platform" => &mut target.platforms,
            "output" => &mut target.output,
            "cache-from" => &mut target.cache_from,
            "cache-to" => &mut target.cache_to,
            "secrets" => &mut target.secret,
            "ssh" => &mut target.ssh,
            "annotations" => &mut target.annotations,
            "entitlements" => &mut target.entitlements,
            "no-cache-filter" => &mut target.no_cache_filter,
            "ulimits" => &mut target.ulimits,
            "context" | "dockerfile" | "target" | "call" | "network" | "shm-size" => {
                return target.set_value(&self.key, &Value::String(self.value.clone()));
            }
            "pull" | "no-cache" => {
                let truth = self.truth()?;
                return target.set_value(&self.key, &Value::Bool(truth));
            }
            key => return Err(format!("unknown key: {key}")),
        };
        let always_appends = matches!(self.key.as_str(), "annotations" | "entitlements");
        if !self.appends && !always_appends && !replaced.contains(&self.key.as_str()) {
            list.clear();
            replaced.push(&self.key);
        }
        append_new(list, std::slice::from_ref(&self.value));
        Ok(())
    }

    fn truth(&self) -> Result<bool, String> {
        match self.value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            value => Err(format!("invalid value {value} for boolean key {}", self.key)),
        }
    }

    /// `push` and `load` change the outputs.
    fn shorthand(&self, target: &mut Target) -> Result<(), String> {
        let wanted = self.truth()?;
        if self.key == "load" {
            if wanted {
                append_new(&mut target.output, &["type=docker".to_owned()]);
            } else {
                target.output.retain(|entry| entry != "type=docker");
            }
            return Ok(());
        }
        let is_image = |entry: &str| entry.split(',').any(|field| field == "type=image");
        target.output.retain(|entry| wanted || !entry.split(',').any(|field| field == "type=registry"));
        for entry in target.output.iter_mut().filter(|entry| is_image(entry)) {
            let fields: Vec<&str> = entry.split(',').filter(|field| !field.starts_with("push=")).collect();
            *entry = fields.join(",") + if wanted { ",push=true" } else { "" };
        }
        if wanted && !target.output.iter().any(|entry| is_image(entry)) {
            target.output.push("type=image,push=true".to_owned());
        }
        Ok(())
    }
}
