//! One ignore pattern, compiled.
//!
//! Most patterns are a name, a `**/name` or a `name/**`; those are compared as text, all others by a regular
//! expression. Invariant: both ways say the same.

use super::clean;
use crate::glob::{Element, elements};
use regex::Regex;

/// A pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// It brings back what others left out.
    pub(super) exception: bool,
    /// Its line in the file.
    pub(super) line: usize,
    text: String,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Exact(String),
    /// `x**`: anything that begins so.
    Prefix(String),
    /// `**x`: anything that ends so; after `**/x`, `x` alone, too.
    Suffix(String),
    Regex(Regex),
}

impl Pattern {
    /// Compiles `text`; `None` for an empty one.
    pub(super) fn new(text: &str, line: usize) -> Result<Option<Self>, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(trimmed);
        let (text, exception) = cleaned.strip_prefix('!').map_or((cleaned.as_str(), false), |t| (t, true));
        if text.is_empty() {
            return Err("illegal exclusion pattern: \"!\"".to_owned());
        }
        let bad = || format!("syntax error in pattern: {text:?}");
        let matcher = compile(&elements(text).map_err(|_| bad())?).ok_or_else(bad)?;
        Ok(Some(Self { exception, line, text: text.to_owned(), matcher }))
    }

    /// As it was written, cleaned.
    pub(super) fn rule(&self) -> String {
        format!("{}{}", if self.exception { "!" } else { "" }, self.text)
    }

    /// Whether it matches every name in the root.
    pub(super) fn is_everything(&self) -> bool {
        matches!(self.text.as_str(), "*" | "**" | "**/*" | ".")
    }

    /// Whether it matches `path` itself.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact(text) => path == text,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }

    /// Whether it matches `path` or a directory above it.
    pub(super) fn matches_with_parents(&self, path: &str) -> bool {
        self.matches(path) || path.match_indices('/').any(|(at, _)| self.matches(&path[..at]))
    }

    /// Whether it can match something below `directory`; when in doubt, yes.
    pub(super) fn can_match_below(&self, directory: &str) -> bool {
        let fixed = self.text.split(['*', '?', '[', '\\']).next().unwrap_or_default();
        let below = format!("{directory}/");
        if fixed.len() == self.text.len() {
            // What matches the directory or one above it matches everything below.
            return fixed.starts_with(&below) || below.starts_with(&format!("{fixed}/"));
        }
        fixed.starts_with(&below) || below.starts_with(fixed)
    }
}

/// What the elements say, in the simplest form.
fn compile(elements: &[Element]) -> Option<Matcher> {
    let literal = |part: &[Element]| -> Option<String> {
        part.iter().map(|e| if let Element::Literal(c) = e { Some(*c) } else { None }).collect()
    };
    if let Some(text) = literal(elements) {
        return Some(Matcher::Exact(text));
    }
    if let [Element::Many, Element::Many, rest @ ..] = elements
        && let Some(text) = literal(rest)
    {
        return Some(Matcher::Suffix(text));
    }
    if let [rest @ .., Element::Many, Element::Many] = elements
        && let Some(text) = literal(rest)
    {
        return Some(Matcher::Prefix(text));
    }
    Regex::new(&expression(elements)?).ok().map(Matcher::Regex)
}

/// `*` and `?` stay inside a component, `**` does not; `**/` may stand for nothing at all.
fn expression(elements: &[Element]) -> Option<String> {
    let mut text = String::from("^");
    let mut rest = elements;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            Element::Many if after.first() == Some(&Element::Many) => {
                rest = after[1..].strip_prefix(&[Element::Literal('/')]).unwrap_or(&after[1..]);
                let slash = if rest.len() < after.len() - 1 { "/" } else { "" };
                match rest {
                    [] => text.push_str(".*"),
                    _ => text.push_str(&format!("(.*{slash})?")),
                }
            }
            Element::Many => text.push_str("[^/]*"),
            Element::One => text.push_str("[^/]"),
            Element::Literal(c) => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            Element::Class { ranges, negated } => {
                text.push_str(if *negated { "[^" } else { "[" });
                for &(low, high) in ranges {
                    if low > high {
                        return None;
                    }
                    text.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", low as u32, high as u32));
                }
                text.push(']');
            }
        }
    }
    text.push('$');
    Some(text)
}
