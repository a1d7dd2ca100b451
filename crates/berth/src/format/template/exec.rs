//! Runs a parsed template over a value.
//!
//! Invariant: nothing here loops longer than the data has items, and the output is bounded.

use super::functions::{self, Failure};
use super::parse::{Branch, Command, List, Node, Operand, Pipeline, Tree, What};
use super::value::Value;
use super::{Fault, MAX_DEPTH, Options, print};
use std::rc::Rc;

/// A template that prints more than this repeats itself.
const OUTPUT_LIMIT: usize = 256 << 20;

/// Runs `tree`, which was parsed from `text` and has this name, over `data`; appends to `out`.
pub(super) fn run(
    text: &str,
    name: &str,
    tree: &Tree,
    data: &Value,
    options: Options,
    out: &mut String,
) -> Result<(), Fault> {
    let variables = vec![("$".to_owned(), data.clone())];
    let mut run = Run { text, tree, options, name: name.to_owned(), variables, out, depth: 0 };
    run.list(&tree.root, data).map(|_| ())
}

/// What a node did to the loop around it.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    text: &'a str,
    tree: &'a Tree,
    options: Options,
    name: String,
    variables: Vec<(String, Value)>,
    out: &'a mut String,
    depth: usize,
}

impl Run<'_> {
    /// Go's message for an error while it runs, at a node.
    fn fault(&self, at: usize, node: &str, message: impl AsRef<str>) -> Fault {
        Fault::at_node(self.text, at, &self.name, node, message.as_ref())
    }

    fn list(&mut self, nodes: &List, dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::On => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                if let Some(text) = field_of_row(pipeline, dot) {
                    self.out.push_str(&text);
                    return Ok(Flow::On);
                }
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&print::plain(&value));
                }
            }
            Node::If(branch) => return self.choose(branch, dot, false),
            Node::With(branch) => return self.choose(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { at, name, argument } => self.call_template(*at, name, argument.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        match self.out.len() > OUTPUT_LIMIT {
            true => Err(self.fault(0, "", "the template prints too much")),
            false => Ok(Flow::On),
        }
    }

    fn choose(&mut self, branch: &Branch, dot: &Value, is_with: bool) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.condition, dot)?;
        let flow = match (value.is_true(), is_with) {
            (true, true) => self.list(&branch.then, &value),
            (true, false) => self.list(&branch.then, dot),
            (false, _) => self.list(&branch.otherwise, dot),
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let over = self.commands(&branch.condition, dot)?;
        let items: Vec<(Value, Value)> = match &over {
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (Value::Int(index as i64), item.clone()))
                .collect(),
            Value::Map(map) => {
                map.entries.iter().map(|(k, v)| (Value::from(k.as_str()), v.clone())).collect()
            }
            Value::Object(object) if object.type_name().is_none() => {
                let mut names = object.names();
                names.sort();
                let value = |name: &String| object.field(name).unwrap_or(Value::Nil);
                names.iter().map(|name| (Value::from(name.as_str()), value(name))).collect()
            }
            Value::Int(count) => {
                (0..(*count).clamp(0, 1_000_000)).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            Value::Missing | Value::Nil | Value::NilList => Vec::new(),
            other => {
                let at = branch.condition.commands[0].at;
                let message = format!("range can't iterate over {}", print::plain(other));
                return Err(self.fault(at, &branch.condition.to_string(), message));
            }
        };
        let mut flow = Flow::On;
        if items.is_empty() {
            flow = self.list(&branch.otherwise, dot)?;
        }
        for (key, item) in items {
            match &branch.condition.variables[..] {
                [one] => self.set(one, item.clone(), branch.condition.assigns),
                [first, second] => {
                    self.set(first, key, branch.condition.assigns);
                    self.set(second, item.clone(), branch.condition.assigns);
                }
                _ => {}
            }
            let step = self.list(&branch.then, &item)?;
            self.variables.truncate(scope);
            if step == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn call_template(
        &mut self,
        at: usize,
        name: &str,
        argument: Option<&Pipeline>,
        dot: &Value,
    ) -> Result<(), Fault> {
        let tree = self.tree;
        let Some(nodes) = tree.defined.get(name) else {
            return Err(self.fault(
                at,
                &format!("{{{{template {}}}}}", print::quoted(name)),
                format!("template {} not defined", print::quoted(name)),
            ));
        };
        if self.depth >= MAX_DEPTH {
            return Err(self.fault(at, name, "exceeded maximum template depth"));
        }
        let value = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Missing,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        let name = std::mem::replace(&mut self.name, name.to_owned());
        self.depth += 1;
        self.list(nodes, &value)?;
        self.depth -= 1;
        self.variables = outer;
        self.name = name;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, assigns: bool) {
        match self.variables.iter_mut().rev().find(|(known, _)| assigns && known == name) {
            Some((_, slot)) => *slot = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut last = None;
        for command in &pipeline.commands {
            let value = self.command(command, dot, last)?;
            // Go unwraps an interface here, and a nil one becomes no value at all.
            last = Some(if matches!(value, Value::Nil) { Value::Missing } else { value });
        }
        Ok(last.unwrap_or(Value::Missing))
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, Fault> {
        let first = &command.words[0];
        if let What::Function(name) = &first.what {
            return self.call(name, command, dot, last);
        }
        if command.words.len() > 1 || last.is_some() {
            return match self.method(command, dot, last)? {
                Some(value) => Ok(value),
                None => Err(self.not_a_function(first, command)),
            };
        }
        if matches!(first.what, What::Nil) {
            return Err(self.fault(first.at, "nil", "nil is not a command"));
        }
        self.operand(first, dot)
    }

    /// `.Label "name"`: the one method with an argument that docker's rows have, and the titles above them.
    fn method(
        &mut self,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Option<Value>, Fault> {
        let What::Field(path) = &command.words[0].what else { return Ok(None) };
        let ([name], words) = (&path[..], &command.words[1..]) else { return Ok(None) };
        let argument = match (words, last) {
            ([word], None) => self.operand(word, dot)?,
            ([], Some(value)) => value,
            _ => return Ok(None),
        };
        let Some(argument) = argument.as_text() else { return Ok(None) };
        Ok(match dot {
            Value::Object(row) => row.call(name, argument),
            Value::Map(_) if self.options.header && name == "Label" => {
                let last = argument.rsplit('.').next().unwrap_or(argument);
                Some(last.replace(['-', '_'], " ").into())
            }
            _ => None,
        })
    }

    fn not_a_function(&self, first: &Operand, command: &Command) -> Fault {
        match &first.what {
            What::Field(path) | What::Chain(_, path) => {
                let name = path.last().map_or("", String::as_str);
                let message = format!("{name} is not a method but has arguments");
                self.fault(first.at, &first.what.to_string(), message)
            }
            what => {
                let message = format!("can't give argument to non-function {what}");
                self.fault(command.at, &what.to_string(), message)
            }
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Fault> {
        match &operand.what {
            What::Dot => Ok(dot.clone()),
            What::Nil => Ok(Value::Nil),
            What::Literal { value, .. } => Ok(value.clone()),
            What::Field(path) => self.path(operand, dot, path),
            What::Variable(path) => {
                let found = self.variables.iter().rev().find(|(name, _)| *name == path[0]);
                let value = found.map_or(Value::Missing, |(_, value)| value.clone());
                self.path(operand, &value, &path[1..])
            }
            What::Function(name) => {
                let alone = Command { at: operand.at, words: vec![operand.clone()] };
                self.call(name, &alone, dot, None)
            }
            What::Pipeline(pipeline) => self.pipeline(pipeline, dot),
            What::Chain(base, path) => {
                let value = self.operand(base, dot)?;
                self.path(operand, &value, path)
            }
        }
    }

    fn path(&self, operand: &Operand, start: &Value, path: &[String]) -> Result<Value, Fault> {
        let mut value = start.clone();
        let mut dynamic = false;
        let mut before: Option<&String> = None;
        for name in path {
            let next = match (&value, before) {
                // Docker looks into the JSON then, where there is no such entry at all.
                (Value::NilPointer, Some(absent)) => Err(no_entry(absent)),
                _ => self.field(&value, name, dynamic),
            };
            let next = next.map_err(|message| self.fault(operand.at, &operand.what.to_string(), message))?;
            before = Some(name);
            dynamic = match &value {
                Value::Map(_) => true,
                Value::Object(object) => object.type_name().is_none(),
                _ => false,
            };
            value = next;
        }
        Ok(value)
    }

    /// `dynamic`: the value came out of a `map[string]interface {}`, so that is its static type to Go.
    fn field(&self, value: &Value, name: &str, dynamic: bool) -> Result<Value, String> {
        match value {
            Value::Missing if self.options.missing_is_error => {
                Err(format!("nil data; no entry for key {}", print::quoted(name)))
            }
            Value::Missing => Ok(Value::Missing),
            Value::Nil => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            Value::NilPointer => Err(no_entry(name)),
            Value::Map(map) => match map.entries.get(name) {
                Some(value) => Ok(value.clone()),
                None if self.options.missing_is_error => Err(no_entry(name)),
                None => Ok(Value::Missing),
            },
            Value::Object(object) => match (object.field(name), object.type_name()) {
                (Some(value), _) => Ok(value),
                (None, Some(kind)) => Err(format!("can't evaluate field {name} in type {kind}")),
                (None, None) => Err(no_entry(name)),
            },
            _ if dynamic => Err(format!("can't evaluate field {name} in type interface {{}}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let at = command.words[0].at;
        let text = command.to_string();
        let count = command.words.len() - 1 + usize::from(last.is_some());
        if let Some(message) = functions::wrong_count(name, count) {
            return Err(self.fault(at, &text, message));
        }
        let mut arguments = Vec::with_capacity(count);
        for (index, word) in command.words[1..].iter().enumerate() {
            let value = self.operand(word, dot)?;
            if let Some(message) = functions::wrong_type(name, index, &value, &word.what.to_string()) {
                return Err(self.fault(word.at, &word.what.to_string(), message));
            }
            let decided = functions::decides(name, &value);
            arguments.push(value);
            // `and` and `or` look no further than they must.
            if decided {
                return Ok(arguments.pop().unwrap_or(Value::Missing));
            }
        }
        if let Some(value) = last {
            if let Some(message) = functions::wrong_type(name, arguments.len(), &value, "") {
                return Err(self.fault(at, &text, message));
            }
            arguments.push(value);
        }
        functions::call(name, &arguments, self.options.header)
            .map_err(|Failure(why)| self.fault(at, &text, format!("error calling {name}: {why}")))
    }
}

/// `{{.Name}}` of a row, where that is a text: nearly all that listings consist of, for which the way through the
/// pipeline costs more than the value.
fn field_of_row(pipeline: &Pipeline, dot: &Value) -> Option<Rc<str>> {
    let ([command], [], Value::Object(row)) = (&pipeline.commands[..], &pipeline.variables[..], dot) else {
        return None;
    };
    let [Operand { what: What::Field(path), .. }] = &command.words[..] else { return None };
    let [name] = &path[..] else { return None };
    match row.field(name)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn no_entry(name: &str) -> String {
    format!("map has no entry for key {}", print::quoted(name))
}
