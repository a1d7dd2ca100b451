//! What filters of every listing have in common: globs and labels.

use berth_oci::{Error, Result};
use regex::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// Conditions on labels: all of `wanted`, none of `unwanted`; each is `name` or `name=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFilter {
    /// Every one of these must be there.
    pub wanted: Vec<String>,
    /// None of these may be there.
    pub unwanted: Vec<String>,
}

impl LabelFilter {
    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// Whether `labels` satisfy it.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |condition: &String| match condition.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(condition),
        };
        self.wanted.iter().all(has) && !self.unwanted.iter().any(has)
    }
}

/// Docker's patterns for names and ids: regular expressions, as large as a name may be.
///
/// # Errors
/// One is none.
pub(crate) fn patterns(key: &str, texts: &[String]) -> Result<Vec<Regex>> {
    let compile = |text: &String| {
        let pattern = RegexBuilder::new(text).size_limit(1 << 20).build();
        pattern.map_err(|_| {
            Error::invalid(format!("invalid filter '{key}={text}'")).hint("it is a regular expression")
        })
    };
    texts.iter().map(compile).collect()
}

/// Patterns of which one must fit; without any, everything does.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Regex>);

impl Patterns {
    /// Those of the filter `key`.
    ///
    /// # Errors
    /// One is no regular expression.
    pub fn new(key: &str, texts: &[String]) -> Result<Self> {
        patterns(key, texts).map(Self)
    }

    /// Whether `text` is wanted.
    #[must_use]
    pub fn fit(&self, text: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.is_match(text))
    }
}

/// Whether `text` matches a glob of Go's `path.Match`: `*` and `?` do not cross a slash, `[a-z]` is a class.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    glob_chars(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

fn glob_chars(pattern: &[char], text: &[char]) -> bool {
    // One place to come back to is enough: a later `*` makes the earlier one's choice irrelevant.
    let (mut p, mut t, mut back) = (0, 0, None);
    loop {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            Some(_) if t < text.len() => {
                if let Some(length) = one(&pattern[p..], text[t]) {
                    p += length;
                    t += 1;
                    continue;
                }
            }
            _ => {}
        }
        match back {
            Some((star, from)) if from < text.len() && text[from] != '/' => {
                back = Some((star, from + 1));
                (p, t) = (star, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern matches this one character.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern[0] {
        '?' => (c != '/').then_some(1),
        '\\' => (pattern.get(1) == Some(&c)).then_some(2),
        '[' => {
            let end = 1 + pattern[1..].iter().position(|c| *c == ']')?;
            let negated = pattern.get(1) == Some(&'^');
            let class = &pattern[1 + usize::from(negated)..end];
            let mut found = false;
            let mut at = 0;
            while at < class.len() {
                let range = class.get(at + 1) == Some(&'-') && at + 2 < class.len();
                let high = if range { class[at + 2] } else { class[at] };
                found |= (class[at]..=high).contains(&c);
                at += if range { 3 } else { 1 };
            }
            (found != negated && c != '/').then_some(end + 1)
        }
        exact => (exact == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_anded() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        for (wanted, unwanted, expected) in [
            (&["a"][..], &[][..], true),
            (&["a", "b=2"], &[], true),
            (&["a=2"], &[], false),
            (&["a", "c"], &[], false),
            (&[], &["c"], true),
            (&[], &["a"], false),
            (&[], &["a=2"], true),
        ] {
            let filter = LabelFilter { wanted: owned(wanted), unwanted: owned(unwanted) };
            assert_eq!(filter.matches(&labels), expected, "{filter:?}");
        }
    }

    #[test]
    fn globs_match_as_gos_path_match() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?sybox", "busybox", true),
            ("[a-c]usybox", "busybox", true),
            ("[^a-c]usybox", "busybox", false),
            ("*x*y", "axbxy", true),
            ("*x*y", "axbxyz", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("[", "[", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
        let slow = "*a".repeat(40);
        assert!(!glob(&slow, &"a".repeat(30)));
    }
}
