//! `--filter KEY=VALUE`: which keys a command knows, and what docker says about the others.
//!
//! Invariant: whoever reads a value knows that its key is one the command understands.

use crate::format::time;
use berth_oci::{Error, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One `--filter` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    key: String,
    value: String,
}

/// For clap: `name=value`.
pub(crate) fn parse(text: &str) -> std::result::Result<Filter, String> {
    match text.split_once('=') {
        // Docker reads `label!=x` as the key `label!`.
        Some((key, value)) => Ok(Filter { key: key.trim().to_lowercase(), value: value.trim().to_owned() }),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// All filters of a command, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Collects them.
    ///
    /// # Errors
    /// A key that is not in `known`.
    pub(crate) fn new(filters: &[Filter], known: &[&str]) -> Result<Self> {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Filter { key, value } in filters {
            if !known.contains(&key.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{key}'"))
                    .hint(format!("the filters here are: {}", known.join(", "))));
            }
            map.entry(key.clone()).or_default().push(value.clone());
        }
        Ok(Self(map))
    }

    /// The values of a key, in the order given.
    pub(crate) fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A filter that is true or false; `None` where it was not given.
    ///
    /// # Errors
    /// Another value, or both at once.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let mut found = None;
        for value in self.values(key) {
            let flag = match value.as_str() {
                "1" | "true" | "t" | "T" | "True" | "TRUE" => true,
                "0" | "false" | "f" | "F" | "False" | "FALSE" => false,
                _ => return Err(wrong(key, value)),
            };
            if found.is_some_and(|earlier| earlier != flag) {
                return Err(wrong(key, value));
            }
            found = Some(flag);
        }
        Ok(found)
    }

    /// The moment that `until=` (or the like) names; the last of several.
    ///
    /// # Errors
    /// Not a moment.
    pub(crate) fn moment(&self, key: &str, now: Timestamp) -> Result<Option<Timestamp>> {
        self.values(key).last().map(|text| time::parse_moment(text, now)).transpose()
    }

    /// Numbers, as `stars=100`.
    ///
    /// # Errors
    /// Not a number.
    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<u64>> {
        self.values(key).iter().map(|value| value.parse().map_err(|_| wrong(key, value))).collect()
    }
}

fn wrong(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid filter '{key}={value}'"))
}

/// Whether labels satisfy every `label=` (`name` or `name=value`) and none of `label!=`.
pub(crate) fn labels_match(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    let has = |wanted: &String| match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    };
    filters.values("label").iter().all(has) && !filters.values("label!").iter().any(has)
}

/// Whether `text` matches a glob of Go's `path.Match`: `*` and `?` do not cross a slash, `[a-z]` is a class.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
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

    fn filters(texts: &[&str]) -> Filters {
        let parsed: Vec<Filter> = texts.iter().map(|text| parse(text).unwrap()).collect();
        Filters::new(&parsed, &["label", "label!", "dangling", "stars", "until"]).unwrap()
    }

    #[test]
    fn filters_know_their_keys() {
        assert_eq!(parse("bad").unwrap_err(), "bad format of filter (expected name=value)");
        let bad = Filters::new(&[parse("bad=1").unwrap()], &["label"]).unwrap_err();
        assert_eq!(bad.message(), "invalid filter 'bad'");
        assert_eq!(filters(&["dangling=true"]).flag("dangling").unwrap(), Some(true));
        assert_eq!(filters(&[]).flag("dangling").unwrap(), None);
        for wrong in [&["dangling=maybe"][..], &["dangling=1", "dangling=0"]] {
            assert!(filters(wrong).flag("dangling").is_err());
        }
        assert_eq!(filters(&["stars=3", "stars=5"]).numbers("stars").unwrap(), [3, 5]);
        assert_eq!(filters(&["stars=x"]).numbers("stars").unwrap_err().message(), "invalid filter 'stars=x'");
    }

    #[test]
    fn labels_are_anded() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        for (texts, expected) in [
            (&["label=a"][..], true),
            (&["label=a", "label=b=2"], true),
            (&["label=a=2"], false),
            (&["label=a", "label=c"], false),
            (&["label!=c"], true),
            (&["label!=a"], false),
            (&["label!=a=2"], true),
        ] {
            assert_eq!(labels_match(&filters(texts), &labels), expected, "{texts:?}");
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
