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

pub(crate) use value::{Fields, GoMap, Value};

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
    tree: parse::Tree,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Go's words, with docker's in front: `template parsing error: template: :1: …`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let tree = parse::parse(text)?;
        Ok(Self { text: text.to_owned(), tree })
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
        Ok(exec::run(&self.text, &self.tree, data, options, out)?)
    }
}

/// What is wrong with a template, in Go's words.
struct Fault(String);

impl Fault {
    /// A fault of the text itself: Go names the line.
    fn at_line(text: &str, at: usize, message: impl Into<String>) -> Self {
        let line = 1 + text.get(..at).unwrap_or(text).matches('\n').count();
        Self(format!("template: :{line}: {}", message.into()))
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
        Self(format!("template: :{line}:{column}: executing {} at <{short}>: {message}", print::quoted(name)))
    }
}

impl From<Fault> for Error {
    fn from(Fault(message): Fault) -> Self {
        Error::invalid(format!("template parsing error: {message}"))
    }
}

#[cfg(test)]
mod tests;
