//! `--call=outline`: which arguments, secrets and agents a target takes.
//!
//! Invariant: only what the target needs is listed, in the order of the file.

use super::render::{Listing, source_data, source_location, table};
use super::shape::needed;
use crate::dockerfile::{
    Command, Dockerfile, Expander, Globals, Inputs, Instruction, MountKind, Scope, Span, SyntaxError,
    Variables, origin,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

struct Argument {
    description: Option<String>,
    value: Option<String>,
    span: Span,
}

/// A secret or an agent: whether it must be there, and where it is asked for.
type Wanted = BTreeMap<String, (bool, Span)>;

/// What `target` of the inputs takes.
///
/// # Errors
/// A target that is not there, or a variable that cannot be expanded.
pub fn outline(file: &Dockerfile, inputs: &Inputs) -> Result<Listing, SyntaxError> {
    let globals = Globals::new(file, inputs)?;
    let origins =
        (0..file.stages.len()).map(|index| origin(file, index, &globals)).collect::<Result<Vec<_>, _>>()?;
    let target = match &inputs.target {
        None => file.stages.len() - 1,
        Some(name) => file.stage_named(name).ok_or_else(|| {
            let mut error =
                file.error_at(Span::default(), format!("target stage {name:?} could not be found"));
            error.spans.clear();
            error
        })?,
    };
    let mut reader = Reader {
        file,
        inputs,
        globals: &globals,
        args: Vec::new(),
        secrets: Wanted::new(),
        ssh: Wanted::new(),
    };
    let stages = needed(file, &origins, target);
    reader.globals(&stages);
    let mut scopes: BTreeMap<usize, Scope> = BTreeMap::new();
    for &index in &stages {
        let inherited = origins[index].stage.and_then(|stage| scopes.get(&stage).cloned());
        let mut scope = inherited.unwrap_or_else(|| Scope::new(Variables::default()));
        for instruction in &file.stages[index].instructions {
            reader.instruction(instruction, &mut scope)?;
        }
        scopes.insert(index, scope);
    }
    reader.args.sort_by_key(|(_, argument)| argument.span);
    Ok(reader.listing(target))
}

struct Reader<'a> {
    file: &'a Dockerfile,
    inputs: &'a Inputs,
    globals: &'a Globals,
    args: Vec<(String, Argument)>,
    secrets: Wanted,
    ssh: Wanted,
}

impl Reader<'_> {
    /// Global arguments that a FROM line or a stage's ARG asks for.
    fn globals(&mut self, stages: &BTreeSet<usize>) {
        let mut used = BTreeSet::new();
        for &index in stages {
            let stage = &self.file.stages[index];
            let mut expander = Expander::new(self.globals.variables());
            for word in [Some(&stage.base), stage.platform.as_ref()].into_iter().flatten() {
                // It has been expanded before, when the stages were resolved.
                let _ = expander.word(word);
            }
            used.extend(expander.matched().clone());
            let args = stage.instructions.iter().filter_map(|i| match &i.command {
                Command::Arg(args) => Some(args),
                _ => None,
            });
            used.extend(args.flatten().filter(|arg| arg.default.is_none()).map(|arg| arg.name.clone()));
        }
        // An argument's default uses those above it.
        for global in self.file.global_args.iter().rev() {
            for arg in global.args.iter().rev() {
                if let Some(default) = arg.default.as_ref().filter(|_| used.contains(&arg.name)) {
                    let mut expander = Expander::new(self.globals.variables());
                    let _ = expander.word(default);
                    used.extend(expander.matched().clone());
                }
            }
        }
        for global in &self.file.global_args {
            for arg in global.args.iter().filter(|arg| used.contains(&arg.name)) {
                let value = self.globals.variables().get(&arg.name).map(str::to_owned);
                self.add(&arg.name, value, &global.comments, global.span);
            }
        }
    }

    fn add(&mut self, name: &str, value: Option<String>, comments: &[String], span: Span) {
        let description =
            comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        self.args.retain(|(known, _)| known != name);
        self.args.push((name.to_owned(), Argument { description, value, span }));
    }

    fn instruction(&mut self, instruction: &Instruction, scope: &mut Scope) -> Result<(), SyntaxError> {
        let place = |error: crate::dockerfile::ExpandError| self.file.error_at(instruction.span, error.0);
        match &instruction.command {
            Command::Arg(args) => {
                for arg in args {
                    let declared = scope.declare(arg, self.globals, self.inputs).map_err(place)?;
                    if !declared.is_global {
                        let value = declared.value.filter(|value| !value.is_empty());
                        self.add(&arg.name, value, &instruction.comments, instruction.span);
                    }
                }
            }
            Command::Env(pairs) => {
                let mut expander = Expander::new(scope.variables());
                let expanded = pairs
                    .iter()
                    .map(|pair| Ok((expander.word(&pair.key)?, expander.word(&pair.value)?)))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(place)?;
                expanded.iter().for_each(|(name, value)| scope.set(name, value));
            }
            Command::Run(run) => {
                for flag in &run.mounts {
                    let mount = flag.resolve(&mut Expander::new(scope.variables())).map_err(place)?;
                    let id = mount.id.clone().or(mount.source.clone());
                    let (list, id) = match mount.kind {
                        MountKind::Secret => {
                            let target = mount.target.as_deref().unwrap_or_default();
                            let base = target.rsplit('/').next().unwrap_or_default();
                            (&mut self.secrets, id.unwrap_or_else(|| base.to_owned()))
                        }
                        MountKind::Ssh => (&mut self.ssh, id.unwrap_or_else(|| "default".to_owned())),
                        _ => continue,
                    };
                    let entry = list.entry(id).or_insert((false, instruction.span));
                    entry.0 |= mount.required;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn listing(&self, target: usize) -> Listing {
        let stage = &self.file.stages[target];
        let mut text = String::new();
        let mut json = Map::new();
        if let Some(name) = &stage.name {
            text.push_str(&format!("TARGET:      {name}\n"));
            json.insert("name".to_owned(), name.clone().into());
        }
        if let Some(description) = stage.description() {
            text.push_str(&format!("DESCRIPTION: {description}\n"));
            json.insert("description".to_owned(), description.into());
        }
        if !text.is_empty() {
            text.push('\n');
        }
        self.arguments(&mut text, &mut json);
        for (key, title, list) in [("secrets", "SECRET", &self.secrets), ("ssh", "SSH", &self.ssh)] {
            if list.is_empty() {
                continue;
            }
            let mut rows = vec![[title.to_owned(), "REQUIRED".to_owned()]];
            let row = |(id, (required, _)): (&String, &(bool, Span))| {
                [id.clone(), if *required { "true" } else { "" }.to_owned()]
            };
            rows.extend(list.iter().map(row));
            text.push_str(&table(&rows, 3));
            text.push('\n');
            json.insert(key.to_owned(), list.iter().map(wanted_json).collect());
        }
        json.insert("sources".to_owned(), json!([source_data(&self.file.source)]));
        Listing { text, json: Value::Object(json) }
    }

    fn arguments(&self, text: &mut String, json: &mut Map<String, Value>) {
        if self.args.is_empty() {
            return;
        }
        let heading = ["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned);
        let mut rows = vec![heading];
        let mut list = Vec::new();
        for (name, argument) in &self.args {
            let value = argument.value.clone().unwrap_or_default();
            let description = argument.description.clone().unwrap_or_default();
            let mut object = json!({"name": name});
            if !description.is_empty() {
                object["description"] = description.clone().into();
            }
            if !value.is_empty() {
                object["value"] = value.clone().into();
            }
            object["location"] = source_location(argument.span);
            list.push(object);
            rows.push([name.clone(), value, description]);
        }
        text.push_str(&table(&rows, 3));
        text.push('\n');
        json.insert("args".to_owned(), list.into());
    }
}

fn wanted_json((id, (required, span)): (&String, &(bool, Span))) -> Value {
    let mut object = json!({"name": id});
    if *required {
        object["required"] = true.into();
    }
    object["location"] = source_location(*span);
    object
}
