//! What a check found, as text and JSON: the forms of `docker build --check` and of progress output.
//!
//! Not here: colours, and printing. Invariant: every text ends its lines itself.

use super::{Report, Rule, Warning};
use crate::dockerfile::{Dockerfile, Source, Span};
use base64::Engine as _;
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Warning {
    /// `StageNameCasing: Stage name 'B' should be lowercase (line 1)`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {} (line {})", self.rule.name(), self.detail, self.span.first)
    }
}

impl Report {
    /// Whether `--check` ends with an error code.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.error.is_some() || !self.warnings.is_empty()
    }

    /// What `docker build --check` prints on its standard output, with our advice behind it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = match (self.warnings.len(), &self.error) {
            (0, Some(_)) => String::new(),
            (0, None) => "Check complete, no warnings found.\n".to_owned(),
            (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
            (count, _) => format!("Check complete, {count} warnings have been found!\n"),
        };
        let mut sorted: Vec<&Warning> = self.warnings.iter().collect();
        sorted.sort_by_key(|warning| warning.span.first);
        for warning in sorted {
            let url = warning.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
            let _ = write!(text, "\nWARNING: {}{url}\n{}\n", warning.rule.name(), warning.detail);
            text.push_str(&self.source.excerpt(&[warning.span]));
        }
        for advice in &self.advice {
            let _ = write!(text, "\nADVICE: {}\n{}\n", advice.rule.name(), advice.detail);
            text.push_str(&self.source.excerpt(&[advice.span]));
        }
        text
    }

    /// The error of `--check`, as it stands after `ERROR: `.
    #[must_use]
    pub fn error_text(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let excerpt = error.excerpt();
        Some(if excerpt.is_empty() { error.to_string() } else { format!("{error}\n{excerpt}") })
    }

    /// What follows a build: ` 2 warnings found (use docker --debug to expand):` and a line for each; with `program`
    /// as the word for who is asked.
    #[must_use]
    pub fn summary(&self, expanded: bool, program: &str) -> String {
        let mut text = match self.warnings.len() {
            0 => return String::new(),
            1 => " 1 warning found".to_owned(),
            count => format!(" {count} warnings found"),
        };
        if !expanded {
            let _ = write!(text, " (use {program} --debug to expand)");
        }
        text.push_str(":\n");
        for warning in &self.warnings {
            let _ = writeln!(text, " - {}", warning.line());
            if expanded {
                let _ = writeln!(text, "{}", warning.rule.description());
                if let Some(url) = warning.rule.url() {
                    let _ = writeln!(text, "More info: {url}");
                }
                text.push_str(&self.source.excerpt(&[warning.span]));
                text.push('\n');
            }
        }
        text
    }

    /// `--call=check,format=json`.
    #[must_use]
    pub fn json(&self) -> Value {
        let warning = |warning: &Warning| {
            let mut object = json!({
                "ruleName": warning.rule.name(),
                "description": warning.rule.description(),
            });
            if let Some(url) = warning.rule.url() {
                object["url"] = url.into();
            }
            object["detail"] = warning.detail.clone().into();
            object["location"] = location(&[warning.span]);
            object
        };
        let mut report = json!({
            "warnings": self.warnings.iter().map(warning).collect::<Vec<_>>(),
            "sources": [{
                "filename": self.source.name,
                "data": base64(self.source.text.as_bytes()),
                "language": "Dockerfile",
            }],
        });
        if let Some(error) = &self.error {
            report["buildError"] = json!({
                "message": error.to_string(),
                "location": location(&error.spans),
            });
        }
        if !self.advice.is_empty() {
            report["advice"] = self.advice.iter().map(warning).collect();
        }
        report
    }

    /// The rules that were broken, each once.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self.warnings.iter().map(|warning| warning.rule).collect();
        rules.sort();
        rules.dedup();
        rules
    }
}

fn location(spans: &[Span]) -> Value {
    let range = |span: &Span| json!({"start": {"line": span.first}, "end": {"line": span.last}});
    json!({"ranges": spans.iter().map(range).collect::<Vec<_>>()})
}

/// The sources travel in base64 in these answers.
fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// An answer in both forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// `--call=targets`: the stages.
#[must_use]
pub fn targets(file: &Dockerfile) -> Listing {
    let mut rows = vec![["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    let mut list = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let is_default = index + 1 == file.stages.len();
        let name = stage.name.clone().unwrap_or_default();
        let shown = match (name.as_str(), is_default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push([shown, stage.description().unwrap_or_default().to_owned()]);
        let mut object = serde_json::Map::new();
        if !name.is_empty() {
            object.insert("name".to_owned(), name.into());
        }
        if is_default {
            object.insert("default".to_owned(), true.into());
        }
        if let Some(description) = stage.description() {
            object.insert("description".to_owned(), description.into());
        }
        object.insert("base".to_owned(), stage.base.text.clone().into());
        if let Some(platform) = &stage.platform {
            object.insert("platform".to_owned(), platform.text.clone().into());
        }
        object.insert("location".to_owned(), location(&[stage.span]));
        list.push(Value::Object(object));
    }
    Listing { text: table(&rows, 1), json: json!({"targets": list, "sources": [source_data(&file.source)]}) }
}

pub(super) fn source_data(source: &Source) -> String {
    base64(source.text.as_bytes())
}

pub(super) fn source_location(span: Span) -> Value {
    location(&[span])
}

/// Columns padded to their widest cell and `gap` blanks.
pub(super) fn table<const N: usize>(rows: &[[String; N]], gap: usize) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = if column + 1 == N { 0 } else { widths[column] + gap - cell.chars().count() };
            let _ = write!(text, "{cell}{}", " ".repeat(pad));
        }
        text.push('\n');
    }
    text
}
