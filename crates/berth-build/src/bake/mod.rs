//! Bake files: several builds described in HCL, JSON or a compose file.
//!
//! [`Bake::read`] evaluates the files, [`Bake::plan`] picks targets and applies `--set`. What comes out is plain data,
//! a build's options in the words of its flags. Not here: files, the environment, building. Invariant: reading ends,
//! whatever the files say: depth, steps and sizes are bounded.

mod compose;
mod definitions;
mod entries;
mod eval;
mod functions;
mod overrides;
mod target;
#[cfg(test)]
mod tests;
mod yaml;

pub use target::Target;

use crate::glob::Glob;
use berth_oci::{Error, Result};
use definitions::{Block, Definitions};
use eval::Evaluator;
use overrides::Overrides;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A bake file.
#[derive(Clone, Debug)]
pub struct BakeFile {
    /// Its name; the ending says which language it is in, as far as it has one.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Where variables come from, beside the files: `--var`, then the environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The files a bake without `-f` reads, in order; those that are not there are left out.
pub const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// What bake files define.
#[derive(Clone, Debug, Default)]
pub struct Bake {
    targets: Vec<Target>,
    groups: Vec<Group>,
}

/// Several targets under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it says about itself.
    pub description: Option<String>,
    /// Targets and groups.
    pub targets: Vec<String>,
}

/// What is to be built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// By name; targets that others take as a context come along, marked as such.
    pub targets: BTreeMap<String, Target>,
    /// The groups that were asked for; `default` holds what was named on the command line.
    pub groups: BTreeMap<String, Vec<String>>,
}

impl Bake {
    /// Reads files; later ones complete and override earlier ones.
    ///
    /// # Errors
    /// A file in none of the languages, an expression that cannot be evaluated, an attribute that is none.
    pub fn read(files: &[BakeFile], lookup: Lookup<'_>) -> Result<Self> {
        let mut composes = Vec::new();
        let mut definitions = Definitions::default();
        for file in files {
            match language(file) {
                Language::Compose => composes.push(file),
                Language::Json => definitions.add_json(file)?,
                Language::Hcl => definitions.add_hcl(file)?,
            }
        }
        let mut bake = Self::default();
        if !composes.is_empty() {
            bake.add_compose(compose::read(&composes, lookup)?);
        }
        let evaluator = Evaluator::new(&definitions, lookup);
        evaluator.check_variables()?;
        for block in &definitions.blocks {
            bake.add_block(block, &evaluator)?;
        }
        Ok(bake)
    }

    fn add_compose(&mut self, targets: Vec<Target>) {
        let names = targets.iter().map(|target| target.name.clone()).collect();
        self.groups.push(Group { name: "default".to_owned(), description: None, targets: names });
        for target in targets {
            self.add_target(target);
        }
    }

    fn add_block(&mut self, block: &Block, evaluator: &Evaluator<'_>) -> Result<()> {
        if block.kind == "group" {
            let group = group(block, evaluator)?;
            match self.groups.iter_mut().find(|known| known.name == group.name) {
                // The file's own word replaces what was made of a compose file, and an earlier file's.
                Some(known) => *known = group,
                None => self.groups.push(group),
            }
            return Ok(());
        }
        let mut names = Vec::new();
        for locals in evaluator.matrix(block)? {
            let target = Target::read(block, evaluator, &locals)?;
            names.push(target.name.clone());
            self.add_target(target);
        }
        names.dedup();
        if names != [block.label.clone()] {
            self.groups.push(Group { name: block.label.clone(), description: None, targets: names });
        }
        Ok(())
    }

    fn add_target(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.name == target.name) {
            Some(known) => known.merge(&target),
            None => self.targets.push(target),
        }
    }

    /// Everything that can be built: groups, then targets, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let groups = self.groups.iter().map(|group| group.name.as_str());
        let mut names: Vec<&str> = Vec::new();
        for name in groups.chain(self.targets.iter().map(|target| target.name.as_str())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The groups, as they are defined.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The targets, as they are defined: nothing is inherited yet.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What `names` (targets, groups, patterns; `default` if none) come to, with `--set` applied.
    ///
    /// # Errors
    /// A name that nothing has, a target that inherits itself, a wrong `--set`.
    pub fn plan(&self, names: &[String], set: &[String], lookup: Lookup<'_>) -> Result<Plan> {
        let overrides = overrides::parse(set, &self.targets, lookup)?;
        let default = ["default".to_owned()];
        let names = if names.is_empty() { default.as_slice() } else { names };
        let mut plan = Plan::default();
        let mut known = Resolved::new();
        let mut asked = Vec::new();
        for name in names {
            for name in self.matching(&sanitized(name))? {
                if !asked.contains(&name) {
                    asked.push(name);
                }
            }
        }
        for name in &asked {
            let mut open = Vec::new();
            self.expand(name, &mut open, &mut |target| {
                let resolved = self.resolve(target, &overrides, &mut known)?.finished();
                plan.targets.insert(target.to_owned(), resolved);
                Ok(())
            })?;
            for group in open {
                let members = self.group(&group).map(|g| g.targets.clone()).unwrap_or_default();
                plan.groups.insert(group, members);
            }
        }
        let named = asked.into_iter().filter(|name| name != "default" || self.group(name).is_none());
        let members = plan.groups.entry("default".to_owned()).or_default();
        members.extend(named);
        members.sort();
        members.dedup();
        self.link(&mut plan, &overrides, &mut known)?;
        Ok(plan)
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let glob = Glob::new(pattern).map_err(|e| Error::invalid(format!("{e}: {pattern:?}")))?;
        let found: Vec<String> =
            self.names().into_iter().filter(|name| glob.matches(name)).map(str::to_owned).collect();
        if found.is_empty() {
            return Err(self.no_target(&format!("could not find any target matching {pattern:?}")));
        }
        Ok(found)
    }

    fn no_target(&self, message: &str) -> Error {
        Error::not_found(message.to_owned()).hint(format!("the files define: {}", self.names().join(", ")))
    }

    /// Calls `visit` for each target of a group, or for the target itself; `open` collects the groups on the way.
    fn expand(
        &self,
        name: &str,
        open: &mut Vec<String>,
        visit: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let Some(group) = self.group(name).filter(|_| !open.contains(&name.to_owned())) else {
            // A target and the group of its matrix may share a name; a group that names itself means the target.
            return if self.targets.iter().any(|target| target.name == name)
                || !open.contains(&name.to_owned())
            {
                visit(name)
            } else {
                Ok(())
            };
        };
        open.push(name.to_owned());
        group.targets.iter().try_for_each(|member| self.expand(member, open, visit))
    }

    /// A target with what it inherits. Each is resolved once; `None` in `known` is one that is being resolved.
    fn resolve(&self, name: &str, overrides: &Overrides, known: &mut Resolved) -> Result<Target> {
        match known.get(name) {
            Some(Some(target)) => return Ok(target.clone()),
            // Who inherits himself gains nothing by it.
            Some(None) => return Ok(Target::default()),
            None => {}
        }
        let Some(own) = self.targets.iter().find(|target| target.name == name) else {
            return Err(self.no_target(&format!("failed to find target {name}")));
        };
        known.insert(name.to_owned(), None);
        let mut target = Target { name: own.name.clone(), ..Target::default() };
        for parent in &own.inherits {
            target.merge(&self.resolve(parent, overrides, known)?);
        }
        target.merge(own);
        overrides.apply(&mut target)?;
        known.insert(name.to_owned(), Some(target.clone()));
        Ok(target)
    }

    /// Brings in the targets that others take as contexts: `contexts = { base = "target:base" }`.
    fn link(&self, plan: &mut Plan, overrides: &Overrides, known: &mut Resolved) -> Result<()> {
        let mut done = Vec::new();
        let names: Vec<String> = plan.targets.keys().cloned().collect();
        names
            .iter()
            .try_for_each(|name| self.link_one(name, &mut Vec::new(), &mut done, plan, overrides, known))
    }

    fn link_one(
        &self,
        name: &str,
        path: &mut Vec<String>,
        done: &mut Vec<String>,
        plan: &mut Plan,
        overrides: &Overrides,
        known: &mut Resolved,
    ) -> Result<()> {
        if done.iter().any(|seen| seen == name) {
            return Ok(());
        }
        path.push(name.to_owned());
        let contexts = plan.targets.get(name).map(|target| target.contexts.clone()).unwrap_or_default();
        for linked in contexts.values().filter_map(|value| value.strip_prefix("target:")) {
            if linked == name {
                return Err(Error::invalid(format!("target {linked} cannot link to itself")));
            }
            if path.iter().any(|open| open == linked) {
                return Err(Error::invalid(format!("infinite loop from {name} to {linked}")));
            }
            if !plan.targets.contains_key(linked) {
                let mut target = self.resolve(linked, overrides, known)?.finished();
                target.output = vec!["type=cacheonly".to_owned()];
                target.is_linked = true;
                plan.targets.insert(linked.to_owned(), target);
            }
            self.link_one(linked, path, done, plan, overrides, known)?;
        }
        path.pop();
        done.push(name.to_owned());
        Ok(())
    }
}

/// Targets with what they inherit.
type Resolved = BTreeMap<String, Option<Target>>;

impl Plan {
    /// `bake --print`.
    #[must_use]
    pub fn json(&self) -> Value {
        let groups: serde_json::Map<String, Value> =
            self.groups.iter().map(|(name, targets)| (name.clone(), json!({"targets": targets}))).collect();
        let targets: serde_json::Map<String, Value> =
            self.targets.iter().map(|(name, target)| (name.clone(), target.json())).collect();
        json!({"group": groups, "target": targets})
    }
}

fn group(block: &Block, evaluator: &Evaluator<'_>) -> Result<Group> {
    let mut group = Group { name: block.label.clone(), ..Group::default() };
    for attribute in &block.attributes {
        let value = evaluator.attribute(attribute, &eval::Locals::new())?;
        match attribute.name.as_str() {
            "targets" => group.targets = entries::strings(&value).map_err(|m| attribute.fault(m))?,
            "description" => group.description = value.as_str().map(str::to_owned),
            "matrix" | "name" => {
                return Err(attribute.fault(format!("{} is not supported for groups", attribute.name)));
            }
            name => return Err(attribute.unsupported(name, &["targets", "description"])),
        }
    }
    Ok(group)
}

enum Language {
    Compose,
    Json,
    Hcl,
}

/// The ending decides; without one, what the text looks like.
fn language(file: &BakeFile) -> Language {
    let name = file.name.to_lowercase();
    let is = |ending: &str| name.ends_with(ending);
    if is(".yml") || is(".yaml") {
        Language::Compose
    } else if is(".json") || (!is(".hcl") && file.text.trim_start().starts_with('{')) {
        Language::Json
    } else if is(".hcl") || !file.text.lines().any(|line| line.starts_with("services:")) {
        Language::Hcl
    } else {
        Language::Compose
    }
}

/// A service's name as a target's: `.` may not stand in one.
fn sanitized(name: &str) -> String {
    name.replace('.', "_")
}
