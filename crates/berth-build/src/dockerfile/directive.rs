//! Parser directives: `# syntax=…`, `# escape=…`, `# check=…` before anything else in the file.
//!
//! `syntax` names a frontend image; ours is built in, so the value is kept and changes nothing. Invariant: the
//! first line that is no directive ends the area.

use super::source::Span;

/// A directive and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// What stands behind the `=`.
    pub value: String,
    /// Where.
    pub span: Span,
}

/// The directives of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// The frontend image that the file asks for.
    pub syntax: Option<Directive>,
    /// Which checks are left out, and whether the others are errors.
    pub check: Option<Directive>,
    /// The escape character.
    pub escape: Option<Directive>,
}

/// Reads the directive area, line by line.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    done: bool,
    pub(crate) found: Directives,
}

impl Reader {
    /// Looks at a line; true when it was a directive.
    ///
    /// # Errors
    /// A directive that is there already, or an escape character that cannot be one.
    pub(crate) fn line(&mut self, line: &str, number: usize) -> Result<bool, String> {
        let directive = if self.done { None } else { parse(line) };
        let Some((key, value)) = directive else {
            self.done = true;
            return Ok(false);
        };
        let slot = match key.as_str() {
            "syntax" => &mut self.found.syntax,
            "check" => &mut self.found.check,
            "escape" => &mut self.found.escape,
            _ => {
                self.done = true;
                return Ok(false);
            }
        };
        if slot.is_some() {
            return Err(format!("only one {key} parser directive can be used"));
        }
        if key == "escape" && !matches!(value.as_str(), "`" | "\\") {
            return Err(format!("invalid escape token '{value}' does not match ` or \\"));
        }
        *slot = Some(Directive { value, span: Span::line(number) });
        Ok(true)
    }

    pub(crate) fn escape(&self) -> char {
        self.found.escape.as_ref().and_then(|d| d.value.chars().next()).unwrap_or('\\')
    }
}

/// `# key = value` with the key in lower case.
fn parse(line: &str) -> Option<(String, String)> {
    let (key, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric())
        && !value.is_empty();
    is_name.then(|| (key.to_ascii_lowercase(), value.to_owned()))
}

/// The frontend that a file asks for, also in the forms for files that are no Dockerfile: behind a `#!` line, as
/// `// syntax=…`, or as `{"syntax": "…"}`.
#[must_use]
pub fn requested_syntax(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes));
    let text = match text.strip_prefix("#!") {
        Some(rest) => rest.split_once('\n').map_or("", |(_, rest)| rest),
        None => &text,
    };
    for comment in ["#", "//"] {
        let mut reader = Reader::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(comment) else { break };
            if !matches!(reader.line(&format!("#{rest}"), 1), Ok(true)) {
                break;
            }
        }
        if let Some(syntax) = reader.found.syntax {
            return syntax.value.split(' ').next().map(str::to_owned);
        }
    }
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    json.get("syntax")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_ends_at_the_first_other_line() {
        let read = |lines: &[&str]| {
            let mut reader = Reader::default();
            for (number, line) in lines.iter().enumerate() {
                reader.line(line, number + 1)?;
            }
            Ok::<_, String>(reader)
        };
        assert_eq!(read(&["#escape=`"]).unwrap().escape(), '`');
        assert_eq!(read(&["# Syntax = x y", "# ESCAPE=`"]).unwrap().escape(), '`');
        assert_eq!(read(&["# hello", "# escape=`"]).unwrap().escape(), '\\');
        assert_eq!(read(&["# other=1", "# escape=`"]).unwrap().escape(), '\\');
        assert_eq!(read(&["FROM a", "# escape=`"]).unwrap().escape(), '\\');
        assert!(read(&["# escape=x"]).unwrap_err().contains("invalid escape token 'x'"));
        assert!(read(&["# syntax=a", "# syntax=b"]).unwrap_err().contains("only one syntax"));
    }

    #[test]
    fn the_frontend_is_found_in_other_comments() {
        for (text, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM a", Some("docker/dockerfile:1")),
            ("\u{feff}#!/bin/x\n# syntax=a b\n", Some("a")),
            ("// syntax=me/mine\n{}", Some("me/mine")),
            ("{\"syntax\": \"x\"}", Some("x")),
            ("FROM a\n# syntax=x", None),
            ("", None),
        ] {
            assert_eq!(requested_syntax(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
