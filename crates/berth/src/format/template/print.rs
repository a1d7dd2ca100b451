//! How values become text: Go's `fmt` verbs, and docker's `json`.

use super::value::Value;
use std::fmt::Write as _;

/// `%v`.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Missing => "<no value>".to_owned(),
        Value::Nil | Value::NilPointer => "<nil>".to_owned(),
        Value::NilList => "[]".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float(*value),
        Value::Text(text) => text.to_string(),
        Value::List(items) => format!("[{}]", joined(items.iter().map(plain))),
        Value::Map(map) => {
            format!("map[{}]", joined(map.entries.iter().map(|(k, v)| format!("{k}:{}", plain(v)))))
        }
        Value::Object(object) => {
            let fields = object.names();
            let values = fields.iter().map(|name| object.field(name).map_or(String::new(), |v| plain(&v)));
            match object.type_name() {
                Some(_) => format!("{{{}}}", joined(values)),
                None => {
                    format!("map[{}]", joined(fields.iter().zip(values).map(|(k, v)| format!("{k}:{v}"))))
                }
            }
        }
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

/// `%v` of a float: the shortest form, with an exponent where Go's `%g` has one.
fn float(value: f64) -> String {
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    match value.is_finite() && !(-4..21).contains(&exponent) {
        true => {
            let text = format!("{value:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let number: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if number < 0 { '-' } else { '+' }, number.abs())
        }
        false => match value {
            v if v.is_nan() => "NaN".to_owned(),
            v if v.is_infinite() => if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
            v => format!("{v}"),
        },
    }
}

/// Compact JSON without HTML escapes; a map's keys sorted, a struct's in their order.
pub(crate) fn json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    out
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Missing | Value::Nil | Value::NilList | Value::NilPointer => out.push_str("null"),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => out.push_str(&plain(value)),
        Value::Text(text) => out.push_str(&serde_json::Value::from(text.as_ref()).to_string()),
        Value::List(items) => {
            write_sequence(out, ['[', ']'], items.iter(), write_json);
        }
        Value::Map(map) => {
            write_sequence(out, ['{', '}'], map.entries.iter(), |(k, v), out| write_pair(k, v, out))
        }
        Value::Object(object) => {
            let start = out.len();
            write_sequence(out, ['{', '}'], object.names().iter(), |name, out| {
                write_pair(name, &object.field(name).unwrap_or(Value::Nil), out);
            });
            // Docker marshals its rows with Go's HTML escapes, and nothing else.
            if object.type_name().is_some() {
                let escaped =
                    out[start..].replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
                out.replace_range(start.., &escaped);
            }
        }
    }
}

fn write_sequence<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

fn write_pair(key: &str, value: &Value, out: &mut String) {
    out.push_str(&serde_json::Value::from(key).to_string());
    out.push(':');
    write_json(value, out);
}

/// `strconv.Quote`.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The flags, width and precision of one verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(crate) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let spec = read_spec(&mut chars, &mut arguments);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                None => {
                    let _ = write!(out, "%!{verb}(MISSING)");
                }
                Some(value) => out.push_str(&padded(&spec, verb, formatted(&spec, verb, value), value)),
            },
        }
    }
    let extra: Vec<String> = arguments.map(|v| format!("{}={}", v.type_name(), plain(v))).collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn read_spec<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    arguments: &mut impl Iterator<Item = &'a Value>,
) -> Spec {
    let mut spec = Spec::default();
    while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
        match flag {
            '-' => spec.minus = true,
            '+' => spec.plus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            _ => spec.zero = true,
        }
    }
    let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Option<usize> {
        if chars.next_if_eq(&'*').is_some() {
            return match arguments.next() {
                Some(Value::Int(width)) => Some((*width).clamp(0, NUMBER_LIMIT as i64) as usize),
                _ => None,
            };
        }
        let mut digits = None;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            chars.next();
            digits = Some((digits.unwrap_or(0) * 10 + digit as usize).min(NUMBER_LIMIT));
        }
        digits
    };
    spec.width = number(chars);
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = Some(number(chars).unwrap_or(0));
    }
    spec
}

/// Go refuses wider fields, too.
const NUMBER_LIMIT: usize = 100_000;

fn formatted(spec: &Spec, verb: char, value: &Value) -> String {
    match (verb, value) {
        ('v', Value::Missing) => "<nil>".to_owned(),
        ('v', Value::Text(text)) if spec.sharp => quoted(text),
        ('v', Value::Int(number)) => signed(spec, number.to_string(), *number >= 0),
        ('v', value) => cut(spec, &plain(value)),
        ('T', value) => value.type_name(),
        ('t', Value::Bool(value)) => value.to_string(),
        ('s', Value::Text(text)) => cut(spec, text),
        ('q', Value::Text(text)) => quoted(&cut(spec, text)),
        ('x', Value::Text(text)) => text.bytes().fold(String::new(), |hex, b| hex + &format!("{b:02x}")),
        ('X', Value::Text(text)) => text.bytes().fold(String::new(), |hex, b| hex + &format!("{b:02X}")),
        ('s' | 'q' | 'x' | 'X' | 'd', Value::List(items)) => {
            format!("[{}]", joined(items.iter().map(|item| formatted(spec, verb, item))))
        }
        ('d', Value::Int(number)) => signed(spec, number.to_string(), *number >= 0),
        ('x', Value::Int(number)) => based(spec, "0x", format!("{:x}", number.unsigned_abs()), *number),
        ('X', Value::Int(number)) => based(spec, "0X", format!("{:X}", number.unsigned_abs()), *number),
        ('o', Value::Int(number)) => based(spec, "0", format!("{:o}", number.unsigned_abs()), *number),
        ('b', Value::Int(number)) => based(spec, "0b", format!("{:b}", number.unsigned_abs()), *number),
        ('c', Value::Int(number)) => {
            u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('U', Value::Int(number)) => format!("U+{number:04X}"),
        ('q', Value::Int(number)) => {
            format!("'{}'", u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'))
        }
        ('f' | 'F', Value::Float(number)) => {
            signed(spec, format!("{number:.*}", spec.precision.unwrap_or(6)), *number >= 0.0)
        }
        ('e', Value::Float(number)) => exponent(&format!("{number:.*e}", spec.precision.unwrap_or(6))),
        ('g', Value::Float(number)) => float(*number),
        (verb, Value::Missing | Value::Nil | Value::NilPointer) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", value.type_name(), plain(value)),
    }
}

/// Rust writes `1e3` where Go writes `1e+03`.
fn exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let number: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if number < 0 { '-' } else { '+' }, number.abs())
}

fn signed(spec: &Spec, text: String, positive: bool) -> String {
    match (positive, spec.plus, spec.space) {
        (true, true, _) => format!("+{text}"),
        (true, false, true) => format!(" {text}"),
        _ => text,
    }
}

fn based(spec: &Spec, prefix: &str, digits: String, number: i64) -> String {
    let prefix = if spec.sharp { prefix } else { "" };
    match number < 0 {
        true => format!("-{prefix}{digits}"),
        false => signed(spec, format!("{prefix}{digits}"), true),
    }
}

fn cut(spec: &Spec, text: &str) -> String {
    match spec.precision {
        Some(count) => text.chars().take(count).collect(),
        None => text.to_owned(),
    }
}

fn padded(spec: &Spec, verb: char, text: String, value: &Value) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    let is_number = matches!(value, Value::Int(_) | Value::Float(_)) && verb != 'c';
    match (spec.minus, spec.zero && is_number) {
        (true, _) => text + &" ".repeat(missing),
        (false, true) => match text.strip_prefix(['-', '+']) {
            Some(digits) => format!("{}{}{digits}", &text[..1], "0".repeat(missing)),
            None => "0".repeat(missing) + &text,
        },
        (false, false) => " ".repeat(missing) + &text,
    }
}
