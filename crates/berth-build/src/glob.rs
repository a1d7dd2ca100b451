//! Wildcards as Go's `filepath.Match` has them: `*` and `?` inside one path component, `[a-z]`, `[^a-z]`, `\` escapes.
//!
//! Not here: `**`, which only ignore patterns know ([`crate::ignore`]). Invariant: a pattern that this refuses is
//! one that Go refuses.

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `[…]`: the ranges, and whether they are excluded.
    Class {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

/// A pattern that was malformed: a class that is not closed, a `\` at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

impl std::fmt::Display for BadPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("syntax error in pattern")
    }
}

impl std::error::Error for BadPattern {}

/// A pattern for paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    elements: Vec<Element>,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is malformed.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        elements(pattern).map(|elements| Self { elements })
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let text: Vec<char> = path.chars().collect();
        // Where to go on when a guess about the last `*` was wrong: only the last one needs to be tried again,
        // because `*` cannot step over a `/` and an earlier one would only repeat the same.
        let (mut at, mut next) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.elements.get(next) {
                Some(Element::Many) => {
                    retry = Some((at, next));
                    next += 1;
                    continue;
                }
                Some(element) if text.get(at).is_some_and(|&c| element.matches(c)) => {
                    at += 1;
                    next += 1;
                    continue;
                }
                None if at == text.len() => return true,
                _ => {}
            }
            match retry {
                Some((start, star)) if text.get(start).is_some_and(|&c| c != '/') => {
                    retry = Some((start + 1, star));
                    (at, next) = (start + 1, star + 1);
                }
                _ => return false,
            }
        }
    }
}

/// Whether `text` has a character that is special in a pattern.
#[must_use]
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

impl Element {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::One => c != '/',
            Self::Many => false,
            Self::Class { ranges, negated } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != *negated
            }
        }
    }
}

/// Takes a pattern apart.
pub(crate) fn elements(pattern: &str) -> Result<Vec<Element>, BadPattern> {
    let mut chars = pattern.chars().peekable();
    let mut elements = Vec::new();
    while let Some(c) = chars.next() {
        elements.push(match c {
            '*' => Element::Many,
            '?' => Element::One,
            '\\' => Element::Literal(chars.next().ok_or(BadPattern)?),
            '[' => class(&mut chars)?,
            c => Element::Literal(c),
        });
    }
    Ok(elements)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn class(chars: &mut Chars<'_>) -> Result<Element, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Element::Class { ranges, negated });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut Chars<'_>) -> Result<char, BadPattern> {
    match chars.next().ok_or(BadPattern)? {
        '-' | ']' => Err(BadPattern),
        '\\' => chars.next().ok_or(BadPattern),
        c => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_in_their_component() {
        for (pattern, path, expected) in [
            ("a*", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("*/b", "a/b", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b*c*d*e*", "axbxcxdxd", false),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[\\]a]", "]", true),
            ("?", "é", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*/x/*.c", "a/x/.c", true),
        ] {
            assert_eq!(Glob::new(pattern).expect(pattern).matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in ["[", "[a", "[]a]", "[-]", "[a-]", "\\", "a[", "[^", "[a-b-c]"] {
            assert_eq!(Glob::new(pattern), Err(BadPattern), "{pattern}");
        }
    }
}
