//! What bake files say, before anything is evaluated.
//!
//! Not here: compose files, which have nothing to evaluate but variables. Invariant: an expression knows its file and
//! line, for whoever has to complain about it.

use super::BakeFile;
use crate::dockerfile::{Source, Span as Lines, did_you_mean, nearest};
use berth_oci::{Error, Result};
use hcl_edit::Span;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Attribute as HclAttribute, Body, Structure};
use serde_json::Value;
use std::sync::Arc;

/// An expression of either language.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Hcl(Expression),
    /// Strings in it are templates.
    Json(Value),
}

/// A name and its expression.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) expr: Expr,
    source: Arc<Source>,
    line: usize,
}

impl Attribute {
    /// A complaint about it.
    pub(super) fn fault(&self, message: impl Into<String>) -> Error {
        let error = Error::invalid(format!("{}:{}: {}", self.source.name, self.line, message.into()));
        error.hint(self.source.excerpt(&[Lines::line(self.line)]))
    }

    /// Its name is none of those that are known here.
    pub(super) fn unsupported(&self, name: &str, known: &[&str]) -> Error {
        let suggestion = did_you_mean(nearest(name, known.iter().copied(), false).as_deref());
        self.fault(format!(
            "Unsupported argument; An argument named {name:?} is not expected here.{suggestion}"
        ))
    }
}

/// `target "x" { … }` or `group "x" { … }`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) label: String,
    pub(super) attributes: Vec<Attribute>,
}

impl Block {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// `variable "X" { … }`.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
    /// Each `validation { condition = …, error_message = … }`.
    pub(super) validations: Vec<Vec<Attribute>>,
}

/// `function "f" { … }`.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) params: Vec<String>,
    pub(super) variadic: Option<String>,
    pub(super) result: Attribute,
}

/// All files together.
#[derive(Clone, Debug, Default)]
pub(super) struct Definitions {
    pub(super) variables: Vec<Variable>,
    pub(super) functions: Vec<Function>,
    /// `X = …` outside blocks.
    pub(super) globals: Vec<Attribute>,
    pub(super) blocks: Vec<Block>,
}

impl Definitions {
    /// Adds a file in HCL.
    pub(super) fn add_hcl(&mut self, file: &BakeFile) -> Result<()> {
        let source = Arc::new(Source::new(&file.name, file.text.as_bytes()));
        let body: Body = file.text.parse().map_err(|error: hcl_edit::parser::Error| {
            let line = error.location().line();
            Error::invalid(format!("{}:{line}: {}", file.name, error.message()))
                .hint(source.excerpt(&[Lines::line(line)]))
        })?;
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    let attribute = hcl_attribute(&attribute, &source);
                    self.globals.retain(|known| known.name != attribute.name);
                    self.globals.push(attribute);
                }
                Structure::Block(block) => {
                    let line = line_of(&source, block.span());
                    let labels: Vec<&str> = block.labels.iter().map(|label| label.as_str()).collect();
                    self.add_block(block.ident.as_str(), &labels, &block.body, &source, line)?;
                }
            }
        }
        Ok(())
    }

    fn add_block(
        &mut self,
        kind: &str,
        labels: &[&str],
        body: &Body,
        source: &Arc<Source>,
        line: usize,
    ) -> Result<()> {
        let fault = |message: String| {
            Error::invalid(format!("{}:{line}: {message}", source.name))
                .hint(source.excerpt(&[Lines::line(line)]))
        };
        let [label] = labels else {
            return Err(fault(format!("{kind} needs exactly one name")));
        };
        let mut attributes = Vec::new();
        let mut validations = Vec::new();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => attributes.push(hcl_attribute(attribute, source)),
                Structure::Block(inner) if kind == "variable" && inner.ident.as_str() == "validation" => {
                    let inside = inner.body.attributes().map(|a| hcl_attribute(a, source));
                    validations.push(inside.collect());
                }
                Structure::Block(inner) => {
                    return Err(fault(format!(
                        "Unsupported block type; Blocks of type {:?} are not expected here.",
                        inner.ident.as_str()
                    )));
                }
            }
        }
        self.add(kind, label, attributes, validations).map_err(fault)
    }

    fn add(
        &mut self,
        kind: &str,
        label: &str,
        attributes: Vec<Attribute>,
        validations: Vec<Vec<Attribute>>,
    ) -> Result<(), String> {
        match kind {
            "variable" => {
                self.variables.retain(|known| known.name != label);
                self.variables.push(Variable { name: label.to_owned(), attributes, validations });
            }
            "function" => {
                let function = function(label, attributes)?;
                self.functions.retain(|known| known.name != label);
                self.functions.push(function);
            }
            "target" | "group" => {
                if !is_target_name(label) && !attributes.iter().any(|a| a.name == "matrix") {
                    return Err(format!("Invalid name; only \"[a-zA-Z0-9_-]+\" are allowed: {label:?}"));
                }
                self.blocks.push(Block { kind: kind.to_owned(), label: label.to_owned(), attributes });
            }
            _ => {
                let known = ["variable", "function", "target", "group"];
                let suggestion = did_you_mean(nearest(kind, known, false).as_deref());
                return Err(format!(
                    "Unsupported block type; Blocks of type {kind:?} are not expected here.{suggestion}"
                ));
            }
        }
        Ok(())
    }

    /// Adds a file in HCL's JSON form.
    pub(super) fn add_json(&mut self, file: &BakeFile) -> Result<()> {
        let source = Arc::new(Source::new(&file.name, file.text.as_bytes()));
        let value: Value = serde_json::from_str(&file.text).map_err(|error| {
            Error::invalid(format!("{}:{}: {error}", file.name, error.line()))
                .hint(source.excerpt(&[Lines::line(error.line())]))
        })?;
        let whole = |message: String| Error::invalid(format!("{}: {message}", file.name));
        let Value::Object(root) = value else {
            return Err(whole("the file is no JSON object".to_owned()));
        };
        for (key, value) in root {
            if !matches!(key.as_str(), "variable" | "function" | "target" | "group") {
                self.globals.retain(|known| known.name != key);
                self.globals.push(json_attribute(key, value, &source));
                continue;
            }
            let blocks = object(&value).ok_or_else(|| whole(format!("{key:?} is no object")))?;
            for (label, body) in blocks {
                let body = object(body).ok_or_else(|| whole(format!("{key} {label:?} is no object")))?;
                let attributes = body
                    .iter()
                    .filter(|(name, _)| *name != "validation")
                    .map(|(name, value)| json_attribute(name.clone(), value.clone(), &source))
                    .collect();
                let validations = body.get("validation").map(list).unwrap_or_default();
                let validations = validations.iter().filter_map(object).map(|validation| {
                    let pairs = validation.iter();
                    pairs.map(|(n, v)| json_attribute(n.clone(), v.clone(), &source)).collect()
                });
                self.add(&key, label, attributes, validations.collect()).map_err(whole)?;
            }
        }
        Ok(())
    }
}

/// An object, or a list of exactly one: HCL's JSON form allows both for a block.
fn object(value: &Value) -> Option<&serde_json::Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Array(list) => match list.as_slice() {
            [Value::Object(object)] => Some(object),
            _ => None,
        },
        _ => None,
    }
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list.clone(),
        other => vec![other.clone()],
    }
}

fn hcl_attribute(attribute: &HclAttribute, source: &Arc<Source>) -> Attribute {
    Attribute {
        name: attribute.key.as_str().to_owned(),
        expr: Expr::Hcl(attribute.value.clone()),
        source: Arc::clone(source),
        line: line_of(source, attribute.key.span().or(attribute.span())),
    }
}

fn json_attribute(name: String, value: Value, source: &Arc<Source>) -> Attribute {
    // JSON values carry no place; the first line with the name is where people look.
    let quoted = format!("{name:?}");
    let line = source.text.lines().position(|line| line.contains(&quoted)).unwrap_or(0) + 1;
    Attribute { name, expr: Expr::Json(value), source: Arc::clone(source), line }
}

fn line_of(source: &Source, span: Option<std::ops::Range<usize>>) -> usize {
    let before = span.and_then(|span| source.text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}

fn function(name: &str, attributes: Vec<Attribute>) -> Result<Function, String> {
    let mut params = Vec::new();
    let mut variadic = None;
    let mut result = None;
    for attribute in attributes {
        match attribute.name.as_str() {
            "params" => {
                params = names(&attribute.expr).ok_or("Each parameter name must be an identifier.")?
            }
            "variadic_params" => {
                variadic =
                    Some(name_of(&attribute.expr).ok_or("Each parameter name must be an identifier.")?);
            }
            "result" => result = Some(attribute),
            other => return Err(format!("function {name:?} has no attribute {other:?}")),
        }
    }
    let result = result.ok_or_else(|| format!("function {name:?} has no result"))?;
    Ok(Function { name: name.to_owned(), params, variadic, result })
}

/// `[a, b]`, or `["a", "b"]` in JSON.
fn names(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Hcl(Expression::Array(array)) => array.iter().map(|e| name_of(&Expr::Hcl(e.clone()))).collect(),
        Expr::Json(Value::Array(list)) => list.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Hcl(Expression::Variable(name)) => Some(name.as_str().to_owned()),
        Expr::Json(Value::String(name)) => Some(name.clone()),
        _ => None,
    }
}

/// Whether a target may be called so.
pub(super) fn is_target_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
