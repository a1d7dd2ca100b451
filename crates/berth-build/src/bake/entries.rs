//! Values as flags take them: `type=registry,ref=x` from an object, lists of strings, and back.
//!
//! Invariant: what a file writes as an object and what it writes as text come to the same.

use serde_json::{Map, Value};

/// A list of strings.
pub(super) fn strings(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(list) => list.iter().filter(|v| !v.is_null()).map(text).collect(),
        Value::Null => Ok(Vec::new()),
        _ => Err("Unsuitable value type; a list of strings is required".to_owned()),
    }
}

/// A string; numbers and truths are written out.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err("Unsuitable value; a string is required, null is none".to_owned()),
        _ => Err("Unsuitable value type; a string is required".to_owned()),
    }
}

/// Names and strings; a null is left out, as it was not said.
pub(super) fn pairs(value: &Value) -> Result<Vec<(String, String)>, String> {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| Ok((name.clone(), text(value)?)))
            .collect(),
        Value::Null => Ok(Vec::new()),
        _ => Err("Unsuitable value type; a map of strings is required".to_owned()),
    }
}

/// Entries of a flag: strings as they are, objects as `key=value,…`.
pub(super) fn flags(value: &Value) -> Result<Vec<String>, String> {
    let Value::Array(list) = value else { return strings(value) };
    let entries = list.iter().map(|entry| match entry {
        Value::Object(map) => flag(map).map(Some),
        // An empty entry says nothing; conditions in files leave such.
        Value::Null => Ok(None),
        other => text(other).map(|text| Some(text).filter(|text| !text.is_empty())),
    });
    entries.filter_map(Result::transpose).collect()
}

fn flag(map: &Map<String, Value>) -> Result<String, String> {
    let mut fields = Vec::new();
    for (key, value) in map {
        // `paths` of an agent is the one list.
        let value = match value {
            Value::Array(list) => list.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(","),
            Value::Null => continue,
            other => text(other)?,
        };
        let field = format!("{key}={value}");
        let needs_quotes = field.contains([',', '"']);
        fields.push(if needs_quotes { format!("\"{}\"", field.replace('"', "\"\"")) } else { field });
    }
    Ok(fields.join(","))
}

/// An agent's entry: `default`, `id=path,path`, or the object form of it.
pub(super) fn agents(value: &Value) -> Result<Vec<String>, String> {
    let Value::Array(list) = value else { return strings(value) };
    list.iter()
        .map(|entry| {
            let Value::Object(map) = entry else { return text(entry) };
            let id = map.get("id").map(text).transpose()?.unwrap_or_else(|| "default".to_owned());
            let paths = map.get("paths").map(strings).transpose()?.unwrap_or_default();
            Ok(if paths.is_empty() { id } else { format!("{id}={}", paths.join(",")) })
        })
        .collect()
}

/// An entry as an object, for `--print`; `single` names what an entry without `=` says.
pub(super) fn object(entry: &str, single: &str) -> Value {
    let fields = crate::dockerfile::csv_fields(entry).unwrap_or_else(|_| vec![entry.to_owned()]);
    let mut map = std::collections::BTreeMap::new();
    for field in fields {
        match field.split_once('=') {
            Some((key, value)) => map.insert(key.trim().to_owned(), value.to_owned()),
            None => map.insert(single.to_owned(), field),
        };
    }
    // In the order of the names, as buildx prints them.
    map.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_texts_come_to_the_same() {
        let value = json!([{"type": "registry", "ref": "a/b"}, "type=local,dest=x", "", null, {"a": "x,y"}]);
        let found = flags(&value).expect("good");
        assert_eq!(found, ["type=registry,ref=a/b", "type=local,dest=x", "\"a=x,y\""]);
        assert_eq!(object(&found[0], "ref"), json!({"type": "registry", "ref": "a/b"}));
        assert_eq!(object("a/b", "ref"), json!({"ref": "a/b"}));
        assert_eq!(
            agents(&json!(["default", {"id": "k", "paths": ["p", "q"]}])).unwrap(),
            ["default", "k=p,q"]
        );
        assert!(flags(&json!([["x"]])).is_err() && pairs(&json!([])).is_err());
    }
}
