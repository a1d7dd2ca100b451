//! A target: the options of one build.
//!
//! Invariant: lists and maps merge as buildx merges them; which replace and which append is said at each field.

use super::definitions::{Attribute, Block, is_target_name};
use super::entries::{agents, flags, object, pairs, strings, text};
use super::eval::{Evaluator, Locals};
use berth_oci::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The options of a build, in the words of the flags of `docker buildx build`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it says about itself.
    pub description: Option<String>,
    /// The targets it starts from; empty in a plan.
    pub inherits: Vec<String>,
    /// The context; replaced when merged.
    pub context: Option<String>,
    /// `--build-context`; merged by name.
    pub contexts: BTreeMap<String, String>,
    /// `--file`; replaced.
    pub dockerfile: Option<String>,
    /// A Dockerfile's text instead of a file; replaced.
    pub dockerfile_inline: Option<String>,
    /// `--build-arg`; merged by name.
    pub args: BTreeMap<String, String>,
    /// `--label`; merged by name.
    pub labels: BTreeMap<String, String>,
    /// `--tag`; replaced.
    pub tags: Vec<String>,
    /// `--annotation`; appended.
    pub annotations: Vec<String>,
    /// `--attest`; one for each type.
    pub attest: Vec<String>,
    /// `--cache-from`; appended.
    pub cache_from: Vec<String>,
    /// `--cache-to`; replaced.
    pub cache_to: Vec<String>,
    /// `--target`; replaced.
    pub target: Option<String>,
    /// `--secret`; appended.
    pub secret: Vec<String>,
    /// `--ssh`; appended.
    pub ssh: Vec<String>,
    /// `--platform`; replaced.
    pub platforms: Vec<String>,
    /// `--output`; replaced.
    pub output: Vec<String>,
    /// `--pull`; replaced.
    pub pull: Option<bool>,
    /// `--no-cache`; replaced.
    pub no_cache: Option<bool>,
    /// `--network`; replaced.
    pub network: Option<String>,
    /// `--no-cache-filter`; appended.
    pub no_cache_filter: Vec<String>,
    /// `--shm-size`; replaced.
    pub shm_size: Option<String>,
    /// `--ulimit`; appended.
    pub ulimits: Vec<String>,
    /// `--call`; replaced.
    pub call: Option<String>,
    /// `--allow`; appended.
    pub entitlements: Vec<String>,
    /// `--add-host`; merged by name.
    pub extra_hosts: BTreeMap<String, String>,
    /// It is here only because another target takes it as a context.
    pub is_linked: bool,
    /// The lists that were given, even if empty: those replace what was there.
    pub(super) given: Vec<&'static str>,
}

/// The attributes a target may have.
pub(super) const ATTRIBUTES: [&str; 30] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "policy",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

impl Target {
    /// Reads a block with the variables of one cell of its matrix.
    pub(super) fn read(block: &Block, evaluator: &Evaluator<'_>, locals: &Locals) -> Result<Self> {
        let mut target = Self { name: block.label.clone(), ..Self::default() };
        for attribute in &block.attributes {
            if attribute.name == "matrix" {
                continue;
            }
            if !ATTRIBUTES.contains(&attribute.name.as_str()) {
                return Err(attribute.unsupported(&attribute.name, &ATTRIBUTES));
            }
            let value = evaluator.attribute(attribute, locals)?;
            target.set(attribute, &value, block)?;
        }
        Ok(target)
    }

    fn set(&mut self, attribute: &Attribute, value: &Value, block: &Block) -> Result<()> {
        if attribute.name == "name" {
            let name = text(value).map_err(|m| attribute.fault(m))?;
            if block.attribute("matrix").is_none() {
                return Err(attribute.fault("name requires matrix"));
            }
            if !is_target_name(&name) {
                return Err(
                    attribute.fault(format!("Invalid name; only \"[a-zA-Z0-9_-]+\" are allowed: {name:?}"))
                );
            }
            self.name = name;
            return Ok(());
        }
        if attribute.name == "policy" {
            return Err(attribute.fault("policies are not supported by berth"));
        }
        self.set_value(&attribute.name, value).map_err(|message| attribute.fault(message))
    }

    /// Sets an attribute by its name.
    pub(super) fn set_value(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let one = || Ok::<_, String>(if value.is_null() { None } else { Some(text(value)?) });
        let truth = || match value {
            Value::Null => Ok(None),
            Value::Bool(truth) => Ok(Some(*truth)),
            Value::String(word) if word == "true" || word == "false" => Ok(Some(word == "true")),
            _ => Err("Unsuitable value type; a bool is required".to_owned()),
        };
        let replaced = ["tags", "platforms", "output", "cache-to"];
        if let Some(known) = replaced.iter().find(|known| **known == name && !value.is_null()) {
            self.given.push(known);
        }
        match name {
            "annotations" => self.annotations = strings(value)?,
            "args" => self.args = pairs(value)?.into_iter().collect(),
            "attest" => self.attest = flags(value)?,
            "cache-from" => self.cache_from = flags(value)?,
            "cache-to" => self.cache_to = flags(value)?,
            "call" => self.call = one()?,
            "context" => self.context = one()?,
            "contexts" => self.contexts = pairs(value)?.into_iter().collect(),
            "description" => self.description = one()?,
            "dockerfile" => self.dockerfile = one()?,
            "dockerfile-inline" => self.dockerfile_inline = one()?,
            "entitlements" => self.entitlements = strings(value)?,
            "extra-hosts" => self.extra_hosts = pairs(value)?.into_iter().collect(),
            "inherits" => self.inherits = strings(value)?,
            "labels" => self.labels = pairs(value)?.into_iter().collect(),
            "network" => self.network = one()?,
            "no-cache" => self.no_cache = truth()?,
            "no-cache-filter" => self.no_cache_filter = strings(value)?,
            "output" => self.output = flags(value)?,
            "platforms" => self.platforms = strings(value)?,
            "pull" => self.pull = truth()?,
            "secret" => self.secret = flags(value)?,
            "shm-size" => self.shm_size = one()?,
            "ssh" => self.ssh = agents(value)?,
            "tags" => self.tags = strings(value)?,
            "target" => self.target = one()?,
            "ulimits" => self.ulimits = strings(value)?,
            _ => return Err(format!("unknown key: {name}")),
        }
        Ok(())
    }

    /// Takes over what `other` says.
    pub(super) fn merge(&mut self, other: &Self) {
        fn replace<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
            if theirs.is_some() {
                mine.clone_from(theirs);
            }
        }
        replace(&mut self.context, &other.context);
        replace(&mut self.dockerfile, &other.dockerfile);
        replace(&mut self.dockerfile_inline, &other.dockerfile_inline);
        replace(&mut self.target, &other.target);
        replace(&mut self.call, &other.call);
        replace(&mut self.pull, &other.pull);
        replace(&mut self.no_cache, &other.no_cache);
        replace(&mut self.network, &other.network);
        replace(&mut self.shm_size, &other.shm_size);
        replace(&mut self.description, &other.description);
        let extend = |mine: &mut BTreeMap<String, String>, theirs: &BTreeMap<String, String>| {
            mine.extend(theirs.iter().map(|(k, v)| (k.clone(), v.clone())));
        };
        extend(&mut self.args, &other.args);
        extend(&mut self.contexts, &other.contexts);
        extend(&mut self.labels, &other.labels);
        extend(&mut self.extra_hosts, &other.extra_hosts);
        for (name, mine, theirs) in [
            ("tags", &mut self.tags, &other.tags),
            ("platforms", &mut self.platforms, &other.platforms),
            ("output", &mut self.output, &other.output),
            ("cache-to", &mut self.cache_to, &other.cache_to),
        ] {
            if other.given.contains(&name) {
                mine.clone_from(theirs);
                self.given.push(name);
            }
        }
        for (mine, theirs) in [
            (&mut self.annotations, &other.annotations),
            (&mut self.cache_from, &other.cache_from),
            (&mut self.secret, &other.secret),
            (&mut self.ssh, &other.ssh),
            (&mut self.no_cache_filter, &other.no_cache_filter),
            (&mut self.ulimits, &other.ulimits),
            (&mut self.entitlements, &other.entitlements),
            (&mut self.inherits, &other.inherits),
        ] {
            append_new(mine, theirs);
        }
        self.add_attestations(&other.attest);
    }

    /// One for each type: the later one counts.
    pub(super) fn add_attestations(&mut self, entries: &[String]) {
        let kind = |entry: &str| entry.split(',').find_map(|f| f.strip_prefix("type=")).map(str::to_owned);
        for entry in entries {
            self.attest.retain(|known| kind(known) != kind(entry));
            self.attest.push(entry.clone());
        }
    }

    /// With the defaults that a plan has.
    pub(super) fn finished(mut self) -> Self {
        self.inherits.clear();
        self.given.clear();
        self.context.get_or_insert_with(|| ".".to_owned());
        if self.dockerfile.as_deref().is_none_or(str::is_empty) {
            self.dockerfile = Some("Dockerfile".to_owned());
        }
        self.contexts.retain(|_, value| !value.is_empty());
        if self.network.as_deref() == Some("host") {
            append_new(&mut self.entitlements, &["network.host".to_owned()]);
        }
        let without_twins = |list: &mut Vec<String>| {
            let all = std::mem::take(list);
            append_new(list, &all);
        };
        without_twins(&mut self.tags);
        without_twins(&mut self.platforms);
        self
    }

    /// As `bake --print` shows it.
    pub(super) fn json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| {
            let is_empty = match &value {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if !is_empty {
                map.insert(name.to_owned(), value);
            }
        };
        let list = |entries: &[String], single: &str| -> Value {
            entries.iter().map(|entry| object(entry, single)).collect()
        };
        let cache = |entries: &[String]| -> Value {
            let entry = |entry: &String| match entry.contains('=') {
                true => object(entry, "ref"),
                false => json!({"ref": entry, "type": "registry"}),
            };
            entries.iter().map(entry).collect()
        };
        // What is printed can be read again, so what would be a template is protected.
        let plain = |text: &String| text.replace("${", "$${").replace("%{", "%%{");
        let named = |map: &BTreeMap<String, String>| -> Value {
            map.iter().map(|(name, value)| (name.clone(), Value::String(plain(value)))).collect()
        };
        put("description", json!(self.description));
        put("annotations", self.annotations.iter().map(plain).collect());
        put("attest", list(&self.attest, "type"));
        put("context", json!(self.context));
        put("contexts", json!(self.contexts));
        put("dockerfile", json!(self.dockerfile));
        put("dockerfile-inline", json!(self.dockerfile_inline.as_ref().map(plain)));
        put("args", named(&self.args));
        put("labels", named(&self.labels));
        put("tags", json!(self.tags));
        put("cache-from", cache(&self.cache_from));
        put("cache-to", cache(&self.cache_to));
        put("target", json!(self.target));
        let secret = |entry: &String| {
            let fields = object(entry, "id");
            let id = fields.get("id").cloned().map(|id| ("id".to_owned(), id));
            let rest = fields.as_object().cloned().unwrap_or_default();
            Value::Object(id.into_iter().chain(rest).collect())
        };
        put("secret", self.secret.iter().map(secret).collect());
        put("ssh", self.ssh.iter().map(|entry| agent(entry)).collect());
        put("platforms", json!(self.platforms));
        put("output", self.output.iter().map(|entry| output(entry)).collect());
        put("pull", json!(self.pull));
        put("no-cache", json!(self.no_cache));
        put("network", json!(self.network));
        put("no-cache-filter", json!(self.no_cache_filter));
        put("shm-size", json!(self.shm_size));
        put("ulimits", json!(self.ulimits));
        put("call", json!(self.call));
        put("entitlements", json!(self.entitlements));
        put("extra-hosts", named(&self.extra_hosts));
        Value::Object(map)
    }
}

fn agent(entry: &str) -> Value {
    match entry.split_once('=') {
        Some((id, paths)) => json!({"id": id, "paths": paths.split(',').collect::<Vec<_>>()}),
        None => json!({"id": entry}),
    }
}

/// `-o DIR` and `-o -` are short for `local` and `tar`.
fn output(entry: &str) -> Value {
    match entry {
        "-" => json!({"dest": "-", "type": "tar"}),
        path if !path.contains('=') => json!({"dest": path, "type": "local"}),
        entry => object(entry, "type"),
    }
}

/// Appends what is not there yet.
pub(super) fn append_new(list: &mut Vec<String>, more: &[String]) {
    for entry in more {
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
}
