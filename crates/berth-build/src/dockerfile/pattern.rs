//! The wildcards of `${v#p}`, `${v%p}` and `${v/p/r}`: `?` one character, `*` any number, `\` takes one literally.
//!
//! There are no `[]` classes, and no wildcard matches a line break. Invariant: matching takes time in proportion to
//! pattern and value, whatever they are.

use regex::Regex;

/// One element of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    One,
    Many,
}

/// How much `*` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

/// `value` without the prefix that `pattern` matches.
pub(super) fn without_prefix(value: &str, pattern: &str, reach: Reach) -> Result<String, String> {
    let regex = compile(&pieces(pattern)?, reach, true)?;
    Ok(regex.find(value).map_or(value, |found| &value[found.end()..]).to_owned())
}

/// `value` without the suffix that `pattern` matches.
pub(super) fn without_suffix(value: &str, pattern: &str, reach: Reach) -> Result<String, String> {
    // A regular expression finds leftmost matches only, so both are turned round.
    let mut turned = pieces(pattern)?;
    turned.reverse();
    let regex = compile(&turned, reach, true)?;
    let value: String = value.chars().rev().collect();
    let rest = regex.find(&value).map_or(value.as_str(), |found| &value[found.end()..]);
    Ok(rest.chars().rev().collect())
}

/// `value` with the first match of `pattern`, or all of them, replaced; each match as long as it can be.
pub(super) fn replaced(value: &str, pattern: &str, by: &str, all: bool) -> Result<String, String> {
    let regex = compile(&pieces(pattern)?, Reach::Longest, false)?;
    let limit = if all { 0 } else { 1 };
    Ok(regex.replacen(value, limit, regex::NoExpand(by)).into_owned())
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut chars = pattern.chars().peekable();
    let mut pieces = Vec::new();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::Many,
            '?' => Piece::One,
            '\\' => match chars.next() {
                // `}` and `/` end parts of the substitution; what protects them there is no part of the pattern.
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Piece::Literal(c),
                Some(c) => return Err(format!("invalid escape '\\{c}'")),
                None => return Err("invalid escape '\\'".to_owned()),
            },
            c => Piece::Literal(c),
        });
    }
    Ok(pieces)
}

fn compile(pieces: &[Piece], reach: Reach, anchored: bool) -> Result<Regex, String> {
    let many = if reach == Reach::Longest { ".*" } else { ".*?" };
    let mut expression = String::from(if anchored { "^" } else { "" });
    for piece in pieces {
        match piece {
            Piece::Literal(c) => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            Piece::One => expression.push('.'),
            Piece::Many => expression.push_str(many),
        }
    }
    Regex::new(&expression).map_err(|_| "it is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_suffixes_go() {
        for (value, pattern, reach, prefix, suffix) in [
            ("xxyy", "x", Reach::Shortest, "xyy", "xxyy"),
            ("xxyy", "*", Reach::Shortest, "xxyy", "xxyy"),
            ("xxyy", "*", Reach::Longest, "", ""),
            ("a.b.c", "*.", Reach::Shortest, "b.c", "a.b.c"),
            ("a.b.c", ".*", Reach::Longest, "a.b.c", "a"),
            ("a.b.c", ".*", Reach::Shortest, "a.b.c", "a.b"),
            ("**x", "\\*", Reach::Shortest, "*x", "**x"),
            ("ñandú", "?", Reach::Shortest, "andú", "ñand"),
        ] {
            assert_eq!(without_prefix(value, pattern, reach).expect(pattern), prefix, "{value}#{pattern}");
            assert_eq!(without_suffix(value, pattern, reach).expect(pattern), suffix, "{value}%{pattern}");
        }
    }

    #[test]
    fn matches_are_replaced_literally() {
        assert_eq!(replaced("a/b/c", "/", "-", false).as_deref(), Ok("a-b/c"));
        assert_eq!(replaced("a/b/c", "/", "$0", true).as_deref(), Ok("a$0b$0c"));
        assert_eq!(replaced("xxyy", "", "w", false).as_deref(), Ok("wxxyy"));
    }

    #[test]
    fn only_wildcards_can_be_escaped() {
        for bad in ["\\", "\\x", "\\\\\\"] {
            assert!(without_prefix("v", bad, Reach::Longest).is_err(), "{bad}");
        }
    }
}
