//! The functions a template may call: Go's built-in ones and docker's.

use super::print;
use super::value::{GoMap, Value};
use std::cmp::Ordering;
use std::rc::Rc;

/// Why a function failed, without its name.
pub(super) struct Failure(pub(super) String);

/// What a function takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Any,
    Text,
    Int,
    Texts,
}

struct Signature {
    name: &'static str,
    takes: &'static [Takes],
    /// The last may be repeated or left out.
    variadic: bool,
}

const fn fixed(name: &'static str, takes: &'static [Takes]) -> Signature {
    Signature { name, takes, variadic: false }
}

const fn variadic(name: &'static str, takes: &'static [Takes]) -> Signature {
    Signature { name, takes, variadic: true }
}

const FUNCTIONS: [Signature; 26] = {
    use Takes::{Any, Int, Text, Texts};
    [
        variadic("and", &[Any, Any]),
        variadic("or", &[Any, Any]),
        fixed("not", &[Any]),
        fixed("len", &[Any]),
        variadic("index", &[Any, Any]),
        variadic("slice", &[Any, Any]),
        variadic("print", &[Any]),
        variadic("println", &[Any]),
        variadic("printf", &[Text, Any]),
        variadic("eq", &[Any, Any]),
        fixed("ne", &[Any, Any]),
        fixed("lt", &[Any, Any]),
        fixed("le", &[Any, Any]),
        fixed("gt", &[Any, Any]),
        fixed("ge", &[Any, Any]),
        variadic("html", &[Any]),
        variadic("js", &[Any]),
        variadic("urlquery", &[Any]),
        fixed("json", &[Any]),
        fixed("split", &[Text, Text]),
        fixed("join", &[Texts, Text]),
        fixed("title", &[Text]),
        fixed("lower", &[Text]),
        fixed("upper", &[Text]),
        fixed("pad", &[Text, Int, Int]),
        fixed("truncate", &[Text, Int]),
    ]
};

fn signature(name: &str) -> Option<&'static Signature> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    signature(name).is_some()
}

/// Go's message where the number of arguments is wrong.
pub(super) fn wrong_count(name: &str, count: usize) -> Option<String> {
    let signature = signature(name)?;
    let least = signature.takes.len() - usize::from(signature.variadic);
    match signature.variadic {
        true if count < least => {
            Some(format!("wrong number of args for {name}: want at least {least} got {count}"))
        }
        false if count != least => Some(format!("wrong number of args for {name}: want {least} got {count}")),
        _ => None,
    }
}

/// Go's message where argument `index` has the wrong type.
pub(super) fn wrong_type(name: &str, index: usize, value: &Value, source: &str) -> Option<String> {
    let signature = signature(name)?;
    let takes = signature.takes.get(index).or(signature.takes.last())?;
    let is_literal = source.starts_with(['"', '`', '\'']) || source.starts_with(|c: char| c.is_ascii_digit());
    let (fits, go) = match (takes, value) {
        (Takes::Any, _) => return None,
        (Takes::Text, value) => (matches!(value, Value::Text(_)), "string"),
        (Takes::Int, value) => (matches!(value, Value::Int(_)), "int"),
        (Takes::Texts, Value::List(items)) => (items.iter().all(|item| item.as_text().is_some()), "[]string"),
        (Takes::Texts, value) => (matches!(value, Value::NilList), "[]string"),
    };
    match (fits, value) {
        (true, _) => None,
        (false, _) if is_literal && *takes == Takes::Int => Some(format!("expected integer; found {source}")),
        (false, _) if is_literal && *takes == Takes::Text => Some(format!("expected string; found {source}")),
        (false, Value::Missing | Value::Nil | Value::NilPointer) => {
            Some(format!("invalid value; expected {go}"))
        }
        (false, value) => Some(format!("wrong type for value; expected {go}; got {}", value.type_name())),
    }
}

/// Whether `and` or `or` needs no further argument.
pub(super) fn decides(name: &str, value: &Value) -> bool {
    matches!((name, value.is_true()), ("and", false) | ("or", true))
}

/// Calls a function whose arguments have been checked. `header`: the text is a column's title, which docker's
/// functions leave alone.
pub(super) fn call(name: &str, arguments: &[Value], header: bool) -> Result<Value, Failure> {
    let text = |index: usize| arguments[index].as_text().unwrap_or_default();
    let int = |index: usize| match &arguments[index] {
        Value::Int(value) => usize::try_from(*value).unwrap_or(0),
        _ => 0,
    };
    Ok(match name {
        "json" | "title" | "lower" | "upper" | "truncate" if header => arguments[0].clone(),
        "and" | "or" => arguments[arguments.len() - 1].clone(),
        "not" => Value::Bool(!arguments[0].is_true()),
        "len" => length(&arguments[0])?,
        "index" => arguments[1..].iter().try_fold(arguments[0].clone(), |value, key| index(&value, key))?,
        "slice" => slice(&arguments[0], &arguments[1..])?,
        "print" => spaced(arguments).into(),
        "println" => (arguments.iter().map(fmt_plain).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => print::printf(text(0), &arguments[1..]).into(),
        "eq" => equal(arguments)?,
        "ne" => match equal(arguments)? {
            Value::Bool(same) => Value::Bool(!same),
            other => other,
        },
        "lt" => Value::Bool(order(arguments)? == Ordering::Less),
        "le" => Value::Bool(order(arguments)? != Ordering::Greater),
        "gt" => Value::Bool(order(arguments)? == Ordering::Greater),
        "ge" => Value::Bool(order(arguments)? != Ordering::Less),
        "html" => escape(&spaced(arguments), html).into(),
        "js" => escape(&spaced(arguments), js).into(),
        "urlquery" => urlquery(&spaced(arguments)).into(),
        "json" => print::json(&arguments[0]).into(),
        "split" => split(text(0), text(1)),
        "join" => match &arguments[0] {
            Value::List(items) => {
                items.iter().filter_map(Value::as_text).collect::<Vec<_>>().join(text(1)).into()
            }
            _ => Value::from(""),
        },
        "title" => title(text(0)).into(),
        "lower" => text(0).to_lowercase().into(),
        "upper" => text(0).to_uppercase().into(),
        "pad" if text(0).is_empty() => Value::from(""),
        "pad" => format!("{}{}{}", " ".repeat(int(1)), text(0), " ".repeat(int(2))).into(),
        "truncate" => truncated(text(0), int(1)).into(),
        other => return Err(Failure(format!("{other} is not a function"))),
    })
}

fn fmt_plain(value: &Value) -> String {
    print::plain(if matches!(value, Value::Missing) { &Value::Nil } else { value })
}

/// `fmt.Sprint`: a space between two operands when neither is text.
fn spaced(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        let both = index > 0 && value.as_text().is_none() && values[index - 1].as_text().is_none();
        if both {
            out.push(' ');
        }
        out.push_str(&fmt_plain(value));
    }
    out
}

fn length(value: &Value) -> Result<Value, Failure> {
    let count = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Object(object) if object.type_name().is_none() => object.names().len(),
        Value::NilList => 0,
        Value::Missing | Value::Nil | Value::NilPointer => {
            return Err(Failure("len of nil pointer".to_owned()));
        }
        other => return Err(Failure(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::Int(count as i64))
}

fn index(value: &Value, key: &Value) -> Result<Value, Failure> {
    let at = |length: usize| match key {
        Value::Int(index) => match usize::try_from(*index).ok().filter(|index| *index < length) {
            Some(index) => Ok(index),
            None => Err(Failure(format!("index out of range: {index}"))),
        },
        Value::Missing | Value::Nil => Err(Failure("cannot index slice/array with nil".to_owned())),
        other => Err(Failure(format!("cannot index slice/array with type {}", other.type_name()))),
    };
    let name = || match key {
        Value::Text(name) => Ok(name.as_ref()),
        Value::Missing | Value::Nil => Err(Failure("value is nil; should be of type string".to_owned())),
        other => Err(Failure(format!("value has type {}; should be string", other.type_name()))),
    };
    match value {
        Value::List(items) => Ok(items[at(items.len())?].clone()),
        Value::NilList => Err(Failure(format!("reflect: slice index out of range: {}", print::plain(key)))),
        Value::Text(text) => Ok(Value::Int(text.as_bytes()[at(text.len())?].into())),
        Value::Map(map) => Ok(map.entries.get(name()?).cloned().unwrap_or_else(|| zero(map))),
        Value::Object(object) if object.type_name().is_none() => {
            Ok(object.field(name()?).unwrap_or(Value::Missing))
        }
        Value::Missing | Value::Nil => Err(Failure("index of untyped nil".to_owned())),
        other => Err(Failure(format!("can't index item of type {}", other.type_name()))),
    }
}

fn zero(map: &GoMap) -> Value {
    match map.of_text {
        true => Value::from(""),
        false => Value::Missing,
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, Failure> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::NilList => 0,
        Value::Missing | Value::Nil => return Err(Failure("slice of untyped nil".to_owned())),
        other => return Err(Failure(format!("can't slice item of type {}", other.type_name()))),
    };
    if bounds.len() > 2 {
        return Err(Failure(format!("too many slice indexes: {}", bounds.len())));
    }
    let bound = |index: usize, default: usize| match bounds.get(index) {
        None => Ok(default),
        Some(Value::Int(at)) => match usize::try_from(*at).ok().filter(|at| *at <= length) {
            Some(at) => Ok(at),
            None => Err(Failure(format!("index out of range: {at}"))),
        },
        Some(other) => Err(Failure(format!("cannot index slice/array with type {}", other.type_name()))),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(Failure(format!("invalid slice index: {from} > {to}")));
    }
    Ok(match value {
        Value::List(items) => Value::List(Rc::new(items[from..to].to_vec())),
        value => {
            let text = value.as_text().unwrap_or_default();
            Value::from(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())
        }
    })
}

fn incomparable() -> Failure {
    Failure("incompatible types for comparison".to_owned())
}

/// `eq a b c…`: whether `a` equals any of the others.
fn equal(arguments: &[Value]) -> Result<Value, Failure> {
    let [first, others @ ..] = arguments else {
        return Err(Failure("missing argument for comparison".into()));
    };
    if others.is_empty() {
        return Err(Failure("missing argument for comparison".to_owned()));
    }
    for other in others {
        let same = match (first, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
            (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => false,
            (Value::List(_) | Value::Map(_) | Value::Object(_), _) => {
                return Err(Failure(format!(
                    "non-comparable type {}: {}",
                    print::plain(first),
                    first.type_name()
                )));
            }
            _ => return Err(incomparable()),
        };
        if same {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn order(arguments: &[Value]) -> Result<Ordering, Failure> {
    match (&arguments[0], &arguments[1]) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).ok_or_else(incomparable),
        (Value::Bool(_), Value::Bool(_)) => Err(Failure("invalid type for comparison".to_owned())),
        _ => Err(incomparable()),
    }
}

fn split(text: &str, separator: &str) -> Value {
    match separator {
        "" => Value::List(Rc::new(text.chars().map(|c| Value::from(c.to_string())).collect())),
        separator => Value::texts(text.split(separator)),
    }
}

/// `strings.Title`: the first letter of every word in upper case.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let starts = !(before.is_alphanumeric() || before == '_' || before == '\'');
        match starts {
            true => out.extend(c.to_uppercase()),
            false => out.push(c),
        }
        before = c;
    }
    out
}

fn truncated(text: &str, length: usize) -> String {
    match text.len() <= length {
        true => text.to_owned(),
        false => String::from_utf8_lossy(&text.as_bytes()[..length]).into_owned(),
    }
}

fn escape(text: &str, with: fn(char) -> Option<&'static str>) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match with(c) {
            Some(escaped) => out.push_str(escaped),
            None => out.push(c),
        }
        out
    })
}

fn html(c: char) -> Option<&'static str> {
    match c {
        '"' => Some("&#34;"),
        '\'' => Some("&#39;"),
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '\0' => Some("\u{fffd}"),
        _ => None,
    }
}

fn js(c: char) -> Option<&'static str> {
    match c {
        '\\' => Some("\\\\"),
        '\'' => Some("\\'"),
        '"' => Some("\\\""),
        '<' => Some("\\u003C"),
        '>' => Some("\\u003E"),
        '&' => Some("\\u0026"),
        '=' => Some("\\u003D"),
        '\n' => Some("\\u000A"),
        '\r' => Some("\\u000D"),
        '\t' => Some("\\u0009"),
        _ => None,
    }
}

/// `url.QueryEscape`.
fn urlquery(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        match b {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => out.push(b as char),
            b => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}
