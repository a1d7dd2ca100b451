//! `key=value,key=value`: the form of many flags, with values in quotes where they hold commas.
//!
//! Invariant: a key that nobody took is an error, so that no word of a flag is lost in silence.

use berth_build::dockerfile::csv_fields;
use berth_oci::{Error, Result};
use std::collections::BTreeMap;

/// The fields of a flag's value.
pub(super) struct Fields<'a> {
    flag: &'static str,
    text: &'a str,
    values: BTreeMap<String, String>,
}

impl<'a> Fields<'a> {
    /// Reads them; keys come in any case.
    pub(super) fn read(flag: &'static str, text: &'a str) -> Result<Self> {
        let mut values = BTreeMap::new();
        for field in csv_fields(text).map_err(|why| Error::invalid(format!("{flag} {text}: {why}")))? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("invalid field '{field}' must be a key=value pair")))?;
            values.insert(key.trim().to_lowercase(), value.to_owned());
        }
        Ok(Self { flag, text, values })
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// Takes a field out that must be there.
    pub(super) fn required(&mut self, key: &str) -> Result<String> {
        self.take(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Error::invalid(format!("{} {}: {key} is required", self.flag, self.text)))
    }

    /// Takes a switch out.
    pub(super) fn switch(&mut self, key: &str) -> Result<Option<bool>> {
        self.take(key).map(|value| switch(key, &value)).transpose()
    }

    /// Takes those out whose key `wanted` knows.
    pub(super) fn take_all(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let keys: Vec<String> = self.values.keys().filter(|key| wanted(key)).cloned().collect();
        keys.into_iter().filter_map(|key| self.values.remove_entry(&key)).collect()
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<()> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => {
                Err(Error::unsupported(format!("{} {}: {key} is not supported", self.flag, self.text)))
            }
        }
    }
}

/// As Go reads booleans.
pub(super) fn switch(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid value {value:?} for {key}: it is true or false"))),
    }
}
