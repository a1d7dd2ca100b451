//! A file as the S-expressions of BuildKit's parser tests, to compare trees.
//!
//! Invariant: it uses the same splitting as the parser, and nothing of its own but the parentheses.

use super::super::operand::{Parts, Token, json, parts, split_blanks, split_once_blank, split_quoted};
use super::super::{Source, SyntaxError, statement};
use std::fmt::Write as _;
use std::sync::Arc;

pub(super) fn dump(bytes: &[u8]) -> Result<String, SyntaxError> {
    let source = Arc::new(Source::new("Dockerfile", bytes));
    let statements = statement::split(&source, bytes)?;
    let mut text = String::new();
    for statement in &statements.all {
        let _ = writeln!(text, "({})", node(&parts(&statement.text), statements.escape));
    }
    Ok(text)
}

fn node(parts: &Parts, escape: char) -> String {
    let name = parts.name.text.to_uppercase();
    let mut text = parts.name.text.to_lowercase();
    if !parts.flags.is_empty() {
        let flags: Vec<String> = parts.flags.iter().map(|f| format!("{:?}", f.text)).collect();
        let _ = write!(text, " [{}]", flags.join(" "));
    }
    let rest = &parts.rest;
    let words: Vec<String> = match name.as_str() {
        "ONBUILD" => return format!("{text} ({})", node(&super::super::operand::parts(&rest.text), escape)),
        "ADD" | "COPY" | "VOLUME" => match json(rest) {
            Ok(Some(words)) => words,
            _ => texts(split_blanks(rest)),
        },
        "EXPOSE" | "FROM" => texts(split_blanks(rest)),
        "ARG" => texts(split_quoted(rest, escape)),
        "ENV" | "LABEL" => pairs(rest, escape),
        "HEALTHCHECK" if rest.text.is_empty() => Vec::new(),
        "HEALTHCHECK" => {
            let (kind, line) = rest.text.split_once(char::is_whitespace).unwrap_or((&rest.text, ""));
            let line = Token { text: line.trim_start().to_owned(), at: 0 };
            [vec![kind.to_owned()], one(&line)].concat()
        }
        _ => one(rest),
    };
    for word in words {
        let _ = write!(text, " {}", quoted(&word));
    }
    text
}

fn texts(tokens: Vec<Token>) -> Vec<String> {
    tokens.into_iter().map(|token| token.text).collect()
}

fn one(token: &Token) -> Vec<String> {
    match json(token) {
        Ok(Some(words)) => words,
        _ if token.text.is_empty() => Vec::new(),
        _ => vec![token.text.clone()],
    }
}

/// Name, value and what stood between.
fn pairs(rest: &Token, escape: char) -> Vec<String> {
    let words = texts(split_quoted(rest, escape));
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (key, value) = split_once_blank(rest).expect("the cases are good");
        return vec![key.text, value.text, String::new()];
    }
    let pair = |word: &String| {
        let (key, value) = word.split_once('=').expect("the cases are good");
        [key.to_owned(), value.to_owned(), "=".to_owned()]
    };
    words.iter().flat_map(pair).collect()
}

/// As Go quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\0' => quoted.push_str("\\x00"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
