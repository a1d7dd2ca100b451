//! The text of an ignore file as rules.
//!
//! Invariant: a rule knows its line, so that whoever misses a file can be told.

use super::clean;

/// An ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    /// What messages call it.
    pub name: String,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A pattern and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The pattern, cleaned: relative, `!` in front where it brings back.
    pub pattern: String,
    /// The line, from 1.
    pub line: usize,
}

impl IgnoreFile {
    /// Reads the text. `#` at the very beginning of a line makes it a comment.
    #[must_use]
    pub fn parse(name: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes));
        let rules = text.split('\n').enumerate().filter(|(_, line)| !line.starts_with('#'));
        let rules = rules.filter_map(|(number, line)| {
            let pattern = rooted_here(line.trim())?;
            Some(Rule { pattern, line: number + 1 })
        });
        Self { name: name.to_owned(), rules: rules.collect() }
    }

    /// The names an ignore file may have for a Dockerfile at `dockerfile`: its own, then the context's.
    #[must_use]
    pub fn names_for(dockerfile: &str) -> [String; 2] {
        [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()]
    }
}

/// The pattern relative to the context's root.
fn rooted_here(line: &str) -> Option<String> {
    if line.is_empty() {
        return None;
    }
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return Some(mark.to_owned());
    }
    let cleaned = clean(pattern);
    let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    Some(format!("{mark}{relative}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json;

    #[test]
    fn patterns_are_cleaned() {
        let file = IgnoreFile::parse("x", b"\xEF\xBB\xBFa/\r\n\n # no comment\n#comment\n! /b/../c \n!\n/\n");
        let rules: Vec<_> = file.rules.iter().map(|r| (r.pattern.as_str(), r.line)).collect();
        assert_eq!(rules, [("a", 1), ("# no comment", 3), ("!c", 5), ("!", 6), ("/", 7)]);
        assert_eq!(IgnoreFile::names_for("b/Dockerfile")[0], "b/Dockerfile.dockerignore");
    }

    #[test]
    fn the_table_is_met() {
        let Some(case) = json("dockerignore/ignorefile.json") else { return };
        let file = IgnoreFile::parse("x", case["content"].as_str().expect("text").as_bytes());
        let found: Vec<_> = file.rules.iter().map(|r| r.pattern.as_str()).collect();
        let expected: Vec<_> =
            case["expected"].as_array().expect("a list").iter().filter_map(|v| v.as_str()).collect();
        assert_eq!(found, expected);
    }
}
