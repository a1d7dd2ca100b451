//! From lines to statements: comments go, continued lines are joined, heredoc bodies are taken.
//!
//! Not here: what a statement means. Invariant: every byte of a statement's text knows the line and column that it
//! came from.

use super::directive::{Directives, Reader};
use super::error::{Fault, SyntaxError};
use super::heredoc::{Heredoc, opened_in};
use super::operand::may_have_heredocs;
use super::source::{Position, Source, Span};
use std::sync::Arc;

/// The longest line, one less than the buffer BuildKit reads lines with.
const LINE_LIMIT: usize = 65_535;

/// One instruction, joined to a line.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) span: Span,
    pub(crate) heredocs: Vec<Heredoc>,
    /// The comment lines directly above, without their `#`.
    pub(crate) comments: Vec<String>,
    /// Where each piece of the text begins: its offset in the text, and where that stands in the file.
    pieces: Vec<(usize, usize, usize)>,
}

impl Statement {
    /// Where `length` bytes from `offset` on stand in the file.
    pub(crate) fn position(&self, offset: usize, length: usize) -> Option<Position> {
        let (start, line, column) = self.pieces.iter().rev().find(|(start, ..)| *start <= offset)?;
        let before = self.text.get(*start..offset)?;
        let meant = self.text.get(offset..)?.get(..length).unwrap_or_default();
        let width = meant.trim_end().chars().count();
        Some(Position { line: *line, column: column + before.chars().count(), width })
    }
}

/// A file as statements.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) all: Vec<Statement>,
    pub(crate) directives: Directives,
    pub(crate) escape: char,
    /// The last lines of statements that have an empty line inside.
    pub(crate) empty_continuations: Vec<usize>,
}

/// Splits a file into statements.
///
/// # Errors
/// A line that is too long or not UTF-8, a heredoc without an end, a wrong directive, no instruction at all.
pub(crate) fn split(source: &Arc<Source>, bytes: &[u8]) -> Result<Statements, SyntaxError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut lines = Lines { source, rest: bytes, number: 0 };
    let mut reader = Reader::default();
    let mut all = Vec::new();
    let mut comments = Vec::new();
    let mut empty_continuations = Vec::new();
    while let Some(line) = lines.next()? {
        let text = line.trim_start().trim_end_matches(['\r', '\n']);
        if let Some(comment) = text.strip_prefix('#') {
            let is_directive = reader.line(text, lines.number).map_err(|m| lines.fault(m))?;
            match comment.trim() {
                _ if is_directive => {}
                "" => comments.clear(),
                comment => comments.push(comment.to_owned()),
            }
            continue;
        }
        reader.line(text, lines.number).map_err(|m| lines.fault(m))?;
        if text.is_empty() {
            continue;
        }
        let (mut statement, has_gap) = lines.joined(line, reader.escape())?;
        if has_gap {
            empty_continuations.push(statement.span.last);
        }
        lines.heredocs(&mut statement)?;
        statement.comments = std::mem::take(&mut comments);
        all.push(statement);
    }
    if all.is_empty() {
        return Err(lines.fault("file with no instructions".to_owned()));
    }
    let escape = reader.escape();
    Ok(Statements { all, directives: reader.found, escape, empty_continuations })
}

struct Lines<'a> {
    source: &'a Arc<Source>,
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    /// The next line with its line end. A comment may be in any encoding; nothing is made of it.
    fn next(&mut self) -> Result<Option<&'a str>, SyntaxError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.rest.iter().position(|&b| b == b'\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.number += 1;
        if line.len() > LINE_LIMIT {
            return Err(self.fault(format!("dockerfile line greater than max allowed size of {LINE_LIMIT}")));
        }
        match std::str::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            Err(_) if line.trim_ascii_start().starts_with(b"#") => Ok(Some("#\n")),
            Err(_) => Err(self.fault(format!("line {} is not UTF-8", self.number))),
        }
    }

    fn fault(&self, message: String) -> SyntaxError {
        SyntaxError {
            source: Arc::clone(self.source),
            spans: vec![Span::line(self.number)],
            position: None,
            message,
            suggestion: None,
        }
    }

    /// The statement that begins with `first`, with the lines that continue it; whether one of those was empty.
    fn joined(&mut self, first: &str, escape: char) -> Result<(Statement, bool), SyntaxError> {
        let start = self.number;
        let indented = first.chars().take_while(|c| c.is_whitespace()).count();
        let mut text = String::new();
        let mut pieces = vec![(0, start, indented + 1)];
        let (piece, mut continues) = continued(first.trim_start(), escape);
        text.push_str(piece);
        let mut has_gap = false;
        while continues {
            let Some(line) = self.next()? else { break };
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                has_gap = true;
                continue;
            }
            let piece;
            (piece, continues) = continued(line, escape);
            pieces.push((text.len(), self.number, 1));
            text.push_str(piece);
        }
        let span = Span { first: start, last: self.number };
        let statement = Statement { text, span, heredocs: Vec::new(), comments: Vec::new(), pieces };
        Ok((statement, has_gap))
    }

    /// Takes the bodies of the heredocs that `statement` opens.
    fn heredocs(&mut self, statement: &mut Statement) -> Result<(), SyntaxError> {
        if !may_have_heredocs(&statement.text) {
            return Ok(());
        }
        let opened = opened_in(&statement.text)
            .map_err(|message| located(self.source, statement, Fault::new(message), false))?;
        for mut heredoc in opened {
            loop {
                let Some(line) = self.next()? else {
                    statement.span.last = self.number;
                    let fault = Fault::new("unterminated heredoc");
                    return Err(located(self.source, statement, fault, false));
                };
                if heredoc.ends_with(line.trim_end_matches(['\r', '\n'])) {
                    break;
                }
                heredoc.body.push_str(line);
            }
            statement.heredocs.push(heredoc);
        }
        statement.span.last = self.number;
        Ok(())
    }
}

/// Gives a fault its place; `counted` puts the line into the message, too.
pub(crate) fn located(
    source: &Arc<Source>,
    statement: &Statement,
    fault: Fault,
    counted: bool,
) -> SyntaxError {
    let line = statement.span.first;
    let message = if counted && !fault.bare {
        format!("dockerfile parse error on line {line}: {}", fault.message)
    } else {
        fault.message
    };
    SyntaxError {
        source: Arc::clone(source),
        spans: vec![statement.span],
        position: fault.range.and_then(|(offset, length)| statement.position(offset, length)),
        message,
        suggestion: fault.suggestion,
    }
}

/// A line without its end, and without the escape character that continues it; whether there was one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let line = line.trim_end_matches(['\r', '\n']);
    let Some(rest) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else { return (line, false) };
    // An escape character that is itself escaped continues nothing.
    if rest.ends_with(escape) { (line, false) } else { (rest, true) }
}
