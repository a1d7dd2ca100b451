//! Functions about strings.
//!
//! Invariant: lengths and places count characters, not bytes, where the name does not say bytes.

use super::super::entries::text;
use super::{Outcome, as_count, as_number, exactly};
use crate::ignore::clean;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_oci::{Algorithm, Hasher};
use regex::Regex;
use serde_json::{Map, Value};

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    let one = || exactly::<1>(arguments).and_then(|[a]| text(a));
    let two = || exactly::<2>(arguments).and_then(|[a, b]| Ok((text(a)?, text(b)?)));
    let three = || exactly::<3>(arguments).and_then(|[a, b, c]| Ok((text(a)?, text(b)?, text(c)?)));
    let string = |text: String| Value::String(text);
    Some(match name {
        "upper" => one().map(|t| string(t.to_uppercase())),
        "lower" => one().map(|t| string(t.to_lowercase())),
        "title" => one().map(|t| string(title(&t))),
        "chomp" => one().map(|t| string(t.trim_end_matches(['\r', '\n']).to_owned())),
        "trimspace" => one().map(|t| string(t.trim().to_owned())),
        "reverse" => one().map(|t| string(t.chars().rev().collect())),
        "strlen" => one().map(|t| t.chars().count().into()),
        "byteslen" => one().map(|t| t.len().into()),
        "trim" => two().map(|(t, set)| string(t.trim_matches(|c| set.contains(c)).to_owned())),
        "trimprefix" => two().map(|(t, p)| string(t.strip_prefix(&p).unwrap_or(&t).to_owned())),
        "trimsuffix" => two().map(|(t, p)| string(t.strip_suffix(&p).unwrap_or(&t).to_owned())),
        "split" => two().map(|(separator, t)| match t.as_str() {
            "" => Value::Array(Vec::new()),
            t => t.split(&separator).collect(),
        }),
        "join" => join(arguments),
        "replace" => three().and_then(|(t, from, to)| replaced(&t, &from, &to)),
        "regex_replace" => three().and_then(|(t, pattern, to)| {
            bounded(&t, &to)?;
            Ok(string(compiled(&pattern)?.replace_all(&t, to.as_str()).into_owned()))
        }),
        "regex" => two().and_then(|(pattern, t)| {
            let regex = compiled(&pattern)?;
            let found = regex.captures(&t).ok_or("pattern did not match any part of the given string")?;
            Ok(captured(&regex, &found))
        }),
        "regexall" => two().and_then(|(pattern, t)| {
            let regex = compiled(&pattern)?;
            Ok(regex.captures_iter(&t).map(|found| captured(&regex, &found)).collect())
        }),
        "substr" => exactly::<3>(arguments).and_then(|[t, offset, length]| {
            substring(&text(t)?, as_number(offset)?, as_number(length)?).map(string)
        }),
        "indent" => exactly::<2>(arguments).and_then(|[count, t]| {
            let blanks = " ".repeat(as_count(count)?.min(1024));
            Ok(string(text(t)?.replace('\n', &format!("\n{blanks}"))))
        }),
        "format" => format_values(arguments),
        "formatlist" => format_list(arguments),
        "sanitize" => one().map(|t| {
            let keep = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            string(t.chars().map(|c| if keep(c) { c } else { '_' }).collect())
        }),
        "basename" => one().map(|t| string(basename(&t))),
        "dirname" => one().map(|t| string(dirname(&t))),
        "urlencode" => one().map(|t| string(url_encoded(&t))),
        "base64encode" => one().map(|t| string(STANDARD.encode(t))),
        "base64decode" => one().and_then(|t| base64_decoded(&t).map(string)),
        "sha256" => one().map(|t| string(hex(Algorithm::Sha256, &t))),
        "sha512" => one().map(|t| string(hex(Algorithm::Sha512, &t))),
        "jsonencode" => exactly::<1>(arguments).map(|[value]| string(value.to_string())),
        "jsondecode" => one().and_then(|t| serde_json::from_str(&t).map_err(|e| e.to_string())),
        _ => return None,
    })
}

fn hex(algorithm: Algorithm, text: &str) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(text.as_bytes());
    hasher.finish().hex().to_owned()
}

fn title(text: &str) -> String {
    let mut starts = true;
    let letter = |c: char| {
        let upper = starts && c.is_alphabetic();
        starts = !c.is_alphanumeric() && c != '\'';
        if upper { c.to_uppercase().collect::<String>() } else { c.to_string() }
    };
    text.chars().map(letter).collect()
}

fn join(arguments: &[Value]) -> Outcome {
    let (separator, lists) = arguments.split_first().ok_or("a separator is required")?;
    let separator = text(separator)?;
    let mut words = Vec::new();
    for list in lists {
        let list = list.as_array().ok_or("lists are required")?;
        for word in list {
            words.push(text(word)?);
        }
    }
    let length: usize = words.iter().map(|word| word.len() + separator.len()).sum();
    if length > super::SIZE {
        return Err("the result would be larger than 1 MiB".to_owned());
    }
    Ok(Value::String(words.join(&separator)))
}

/// Every replacement may make a text longer by this much; more than the limit is not tried.
fn bounded(text: &str, by: &str) -> Result<(), String> {
    if (text.len() + 1).saturating_mul(by.len() + 1) > super::SIZE * 16 {
        return Err("the result would be larger than 1 MiB".to_owned());
    }
    Ok(())
}

fn replaced(text: &str, from: &str, to: &str) -> Outcome {
    bounded(text, to)?;
    // Slashes around make it a regular expression.
    let inner = from.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|_| from.len() > 1);
    Ok(Value::String(match inner {
        Some(pattern) => compiled(pattern)?.replace_all(text, to).into_owned(),
        None => text.replace(from, to),
    }))
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| error.to_string())
}

/// The match, its groups as a list, or its named groups as a map.
fn captured(regex: &Regex, found: &regex::Captures<'_>) -> Value {
    let group = |group: Option<regex::Match<'_>>| group.map_or(Value::Null, |m| m.as_str().into());
    if found.len() == 1 {
        return group(found.get(0));
    }
    let named: Map<String, Value> =
        regex.capture_names().flatten().map(|name| (name.to_owned(), group(found.name(name)))).collect();
    if named.is_empty() {
        (1..found.len()).map(|i| group(found.get(i))).collect()
    } else {
        Value::Object(named)
    }
}

/// Counts from the end where the offset is below zero; a length below zero means the rest.
fn substring(text: &str, offset: f64, length: f64) -> Result<String, String> {
    let count = text.chars().count();
    let start = if offset < 0.0 { count.saturating_sub((-offset) as usize) } else { offset as usize };
    let length = if length < 0.0 { count } else { length as usize };
    Ok(text.chars().skip(start).take(length).collect())
}

fn format_values(arguments: &[Value]) -> Outcome {
    let (pattern, values) = arguments.split_first().ok_or("a format is required")?;
    formatted(&text(pattern)?, values).map(Value::String)
}

/// `format` for each element of the lists among the arguments.
fn format_list(arguments: &[Value]) -> Outcome {
    let (pattern, values) = arguments.split_first().ok_or("a format is required")?;
    let pattern = text(pattern)?;
    let lengths: Vec<usize> = values.iter().filter_map(|v| v.as_array().map(Vec::len)).collect();
    let count = lengths.first().copied().unwrap_or(1);
    if lengths.iter().any(|length| *length != count) {
        return Err("the lists differ in length".to_owned());
    }
    let row = |index: usize| {
        let pick = |value: &Value| value.as_array().map_or_else(|| value.clone(), |list| list[index].clone());
        let row: Vec<Value> = values.iter().map(pick).collect();
        formatted(&pattern, &row).map(Value::String)
    };
    (0..count).map(row).collect()
}

/// The verbs `%s %d %f %q %t %v %x %%`, with width, `0`, `-` and precision.
fn formatted(pattern: &str, values: &[Value]) -> Result<String, String> {
    let mut result = String::new();
    let mut values = values.iter();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic() || c == '%').ok_or("a verb is missing")?;
        let (flags, verb) = (&after[..end], &after[end..=end]);
        rest = &after[end + 1..];
        if verb == "%" {
            result.push('%');
            continue;
        }
        let value = values.next().ok_or("not enough arguments")?;
        result.push_str(&padded(&verb_text(verb, flags, value)?, flags)?);
    }
    if values.next().is_some() {
        return Err("too many arguments".to_owned());
    }
    Ok(result + rest)
}

fn verb_text(verb: &str, flags: &str, value: &Value) -> Result<String, String> {
    let precision =
        flags.split_once('.').and_then(|(_, digits)| digits.parse::<usize>().ok()).map(|p| p.min(64));
    Ok(match verb {
        "s" => text(value)?,
        "d" => format!("{:.0}", as_number(value)?.trunc()),
        "f" => format!("{:.*}", precision.unwrap_or(6), as_number(value)?),
        "x" => format!("{:x}", as_number(value)? as i64),
        "q" => format!("{:?}", text(value)?),
        "t" => match value {
            Value::Bool(truth) => truth.to_string(),
            _ => return Err("a bool is required for %t".to_owned()),
        },
        "v" => text(value).unwrap_or_else(|_| value.to_string()),
        verb => return Err(format!("the verb %{verb} is not known")),
    })
}

fn padded(text: &str, flags: &str) -> Result<String, String> {
    let width = flags.split('.').next().unwrap_or_default();
    let left = width.starts_with('-');
    let width = width.trim_start_matches(['-', '+', ' ']);
    let zero = width.starts_with('0');
    let width: usize =
        if width.is_empty() { 0 } else { width.parse().map_err(|_| "the width is no number")? };
    let missing = width.min(1024).saturating_sub(text.chars().count());
    Ok(match (left, zero, text.strip_prefix('-')) {
        (true, ..) => format!("{text}{}", " ".repeat(missing)),
        (false, true, Some(digits)) => format!("-{}{digits}", "0".repeat(missing)),
        (false, true, None) => format!("{}{text}", "0".repeat(missing)),
        (false, false, _) => format!("{}{text}", " ".repeat(missing)),
    })
}

fn basename(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".".to_owned(),
        "" => "/".to_owned(),
        trimmed => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

fn dirname(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

fn url_encoded(text: &str) -> String {
    let mut result = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => result.push(byte as char),
            b' ' => result.push('+'),
            byte => result.push_str(&format!("%{byte:02X}")),
        }
    }
    result
}

fn base64_decoded(encoded: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "the decoded text is not UTF-8".to_owned())
}
