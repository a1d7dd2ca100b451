//! Go's `text/template`, as docker's `--format` and `-f` use it, with Go's words in every error.
//!
//! Written here because the one crate that does this (`gtmpl`) had its last release in 2021, lacks `else if`
//! chains with variables, `break` and Go's messages, and scripts match on those messages.
//!
//! Not here: tables ([`super::table`]). Invariant: rendering neither panics nor runs without bound.

mod exec;
mod functions;
mod lex;
mod parse;
pub(crate) mod print;
mod value;

pub(crate) use value::{Fields, GoMap, Types, Value};

use berth_oci::{Error, Result};

/// Nothing sensible nests deeper.
const MAX_DEPTH: usize = 100;

/// How a template is rendered.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// A map without the entry is an error (`missingkey=error`), not `<no value>`.
    pub(crate) missing_is_error: bool,
    /// The data are the titles of columns.
    pub(crate) header: bool,
}

/// A parsed template.
pub(crate) struct Template {
    text: String,
    /// Go's name of it, which stands in its errors.
    name: &'static str,
    tree: parse::Tree,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Go's words, with docker's in front: `template parsing error: template: :1: …`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Self::named("", text)
    }

    /// Parses a template that has a name.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn named(name: &'static str, text: &str) -> Result<Self> {
        let tree = parse::parse(text).map_err(|fault| unparsed(&fault.of(name)))?;
        Ok(Self { text: text.to_owned(), name, tree })
    }

    /// Renders it over `data`.
    ///
    /// # Errors
    /// Go's words for an unknown field, a wrong argument and the like.
    pub(crate) fn render(&self, data: &Value, options: Options) -> Result<String> {
        let mut out = String::new();
        self.render_to(&mut out, data, options)?;
        Ok(out)
    }

    /// Appends to `out`, which holds a part of it after an error.
    ///
    /// # Errors
    /// Go's words for an unknown field, a wrong argument and the like.
    pub(crate) fn render_to(&self, out: &mut String, data: &Value, options: Options) -> Result<()> {
        self.execute(out, data, options).map_err(|words| unparsed(&words))
    }

    /// As [`Self::render_to`], with nothing but Go's own words for what is wrong, as a few of docker's commands have them.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub(crate) fn execute(&self, out: &mut String, data: &Value, options: Options) -> Result<(), String> {
        exec::run(&self.text, self.name, &self.tree, data, options, out).map_err(|fault| fault.of(self.name))
    }
}

fn unparsed(words: &str) -> Error {
    Error::invalid(format!("template parsing error: {words}"))
}

/// Where something is wrong with a template, and what, in Go's words.
struct Fault(String);

impl Fault {
    /// A fault of the text itself: Go names the line.
    fn at_line(text: &str, at: usize, message: impl Into<String>) -> Self {
        let line = 1 + text.get(..at).unwrap_or(text).matches('\n').count();
        Self(format!("{line}: {}", message.into()))
    }

    /// A fault while rendering: Go names line, column and the first twenty characters of the node.
    fn at_node(text: &str, at: usize, name: &str, node: &str, message: &str) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let short: String = match node.char_indices().nth(20) {
            Some((end, _)) => format!("{}...", &node[..end]),
            None => node.to_owned(),
        };
        Self(format!("{line}:{column}: executing {} at <{short}>: {message}", print::quoted(name)))
    }

    /// As Go says it of the template with this name.
    fn of(&self, name: &str) -> String {
        format!("template: {name}:{}", self.0)
    }
}

#[cfg(test)]
mod tests;
