//! `--filter KEY=VALUE`: which keys a command knows, and what docker says about the others.
//!
//! Invariant: whoever reads a value knows that its key is one the command understands.

use crate::format::time;
use berth_engine::LabelFilter;
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
    Error::invalid(format!("invalid filter '{key}=[{value}]'"))
}

/// The conditions of `label=` and `label!=`.
pub(crate) fn labels(filters: &Filters) -> LabelFilter {
    LabelFilter { wanted: filters.values("label").to_vec(), unwanted: filters.values("label!").to_vec() }
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
        assert_eq!(
            filters(&["stars=x"]).numbers("stars").unwrap_err().message(),
            "invalid filter 'stars=[x]'"
        );
    }
}
