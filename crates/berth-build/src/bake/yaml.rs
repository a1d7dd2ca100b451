//! YAML as JSON values, with anchors, aliases and `<<` merges.
//!
//! Invariant: aliases that multiply a small file into a large one are refused.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::TScalarStyle;

/// How many values a file may come to.
const NODES: usize = 100_000;
/// How deep they may nest.
const DEPTH: usize = 64;

/// Reads the first document of a file.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    loop {
        match reader.event()? {
            Event::StreamEnd => return Ok(Value::Null),
            Event::StreamStart | Event::DocumentStart | Event::DocumentEnd | Event::Nothing => {}
            event => return reader.node(event, 0),
        }
    }
}

struct Reader<'t> {
    parser: Parser<std::str::Chars<'t>>,
    /// Values by anchor, and how many values each holds.
    anchors: BTreeMap<usize, (Value, usize)>,
    nodes: usize,
}

impl Reader<'_> {
    fn event(&mut self) -> Result<Event, String> {
        self.parser.next_token().map(|(event, _)| event).map_err(|error| error.to_string())
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > NODES { Err(format!("more than {NODES} values")) } else { Ok(()) }
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<Value, String> {
        if depth > DEPTH {
            return Err("values are nested too deeply".to_owned());
        }
        let before = self.nodes;
        self.count(1)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let (value, size) = self.anchors.get(&anchor).cloned().ok_or("an alias leads to itself")?;
                self.count(size)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(text, style, tag)),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            event => return Err(format!("unexpected {event:?}")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, String> {
        let mut list = Vec::new();
        loop {
            match self.event()? {
                Event::SequenceEnd => return Ok(Value::Array(list)),
                event => list.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, String> {
        let mut map = Map::new();
        let mut merged: Vec<Map<String, Value>> = Vec::new();
        loop {
            let key = match self.event()? {
                Event::MappingEnd => break,
                event => self.node(event, depth + 1)?,
            };
            let event = self.event()?;
            let value = self.node(event, depth + 1)?;
            let key = match key {
                Value::String(key) => key,
                Value::Null => "null".to_owned(),
                Value::Bool(_) | Value::Number(_) => key.to_string(),
                _ => return Err("a key is a list or a map".to_owned()),
            };
            match (key.as_str(), value) {
                ("<<", Value::Object(base)) => merged.push(base),
                ("<<", Value::Array(bases)) => {
                    merged.extend(bases.into_iter().filter_map(|base| base.as_object().cloned()));
                }
                (_, value) => drop(map.insert(key, value)),
            }
        }
        for base in merged {
            for (key, value) in base {
                map.entry(key).or_insert(value);
            }
        }
        Ok(Value::Object(map))
    }
}

/// Plain words may be numbers, truths or nothing; quoted ones are strings.
fn scalar(text: String, style: TScalarStyle, tag: Option<Tag>) -> Value {
    let is_string = tag.is_some_and(|tag| tag.suffix == "str");
    if style != TScalarStyle::Plain || is_string {
        return Value::String(text);
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            // `007` and `+1` stay as they are written.
            Ok(number) if number.to_string() == text => Value::from(number),
            _ => Value::String(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_jsons() {
        for (text, expected) in [
            ("a: 1\nb: [x, true, ~, '1', 007]\n", json!({"a": 1, "b": ["x", true, null, "1", "007"]})),
            (
                "x: &a {k: 1, l: 2}\ny: {<<: *a, k: 3}\nz: *a",
                json!({
                    "x": {"k": 1, "l": 2}, "y": {"k": 3, "l": 2}, "z": {"k": 1, "l": 2}
                }),
            ),
            ("a: |\n  x\n  y\n1: b\n", json!({"a": "x\ny\n", "1": "b"})),
            ("", json!(null)),
            ("--- \na: 1\n---\nb: 2\n", json!({"a": 1})),
            ("a: !!str 1", json!({"a": "1"})),
        ] {
            assert_eq!(parse(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x]\n");
        for level in 1..40 {
            bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1));
        }
        assert!(parse(&bomb).unwrap_err().contains("more than"));
        assert!(parse(&"[".repeat(1000)).is_err());
        assert!(parse("a: *b").is_err() && parse("a: [").is_err());
    }
}
