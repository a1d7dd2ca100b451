//! The functions that bake files may call, and what numbers and types are to them.
//!
//! Most of buildx's are here; those that are not (hashes for passwords, network arithmetic, random ids, the clock) say
//! so when called. Invariant: a function is pure, and its result bounded.

mod lists;
mod texts;

use super::definitions::Expr;
use super::entries::text;
use super::eval::SIZE;
use hcl_edit::expr::Expression;
use serde_json::{Number, Value};

pub(super) type Outcome = Result<Value, String>;

/// The functions of buildx that are left out, because an image should not depend on chance or the clock, or because
/// nobody bakes with them.
const LEFT_OUT: [&str; 15] = [
    "bcrypt",
    "cidrhost",
    "cidrnetmask",
    "cidrsubnet",
    "cidrsubnets",
    "convert",
    "csvdecode",
    "formatdate",
    "md5",
    "rsadecrypt",
    "sha1",
    "timeadd",
    "timestamp",
    "uuidv4",
    "uuidv5",
];

/// Calls a built-in function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Outcome {
    let found = arithmetic(name, arguments)
        .or_else(|| texts::call(name, arguments))
        .or_else(|| lists::call(name, arguments));
    let value = match found {
        Some(result) => result.map_err(|message| format!("{name}: {message}"))?,
        None if LEFT_OUT.contains(&name) => {
            return Err(format!("the function {name} is not supported by berth"));
        }
        None => return Err(format!("undefined function {name}")),
    };
    if size(&value) > SIZE {
        return Err(format!("{name}: the result would be larger than 1 MiB"));
    }
    Ok(value)
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|value| size(value) + 1).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value) + 1).sum(),
        _ => 1,
    }
}

/// A number as JSON has it: whole ones without a point.
pub(super) fn number(number: f64) -> Value {
    // 2^53: up to there every whole number has its own float.
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// A number, also one written as a string.
pub(super) fn as_number(value: &Value) -> Result<f64, String> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    };
    found.ok_or_else(|| "a number is required".to_owned())
}

/// A whole number that counts something.
pub(super) fn as_count(value: &Value) -> Result<usize, String> {
    let number = as_number(value)?;
    if number.fract() != 0.0 || !(0.0..=4_294_967_295.0).contains(&number) {
        return Err("a whole number from 0 on is required".to_owned());
    }
    Ok(number as usize)
}

pub(super) fn divided((left, right): (f64, f64)) -> Outcome {
    if right == 0.0 { Err("division by zero".to_owned()) } else { Ok(number(left / right)) }
}

pub(super) fn remainder((left, right): (f64, f64)) -> Outcome {
    if right == 0.0 { Err("division by zero".to_owned()) } else { Ok(number(left % right)) }
}

/// Equality; whole numbers and their floats are the same.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (left, right) => left == right,
    }
}

/// `value[index]` or `value.index`.
pub(super) fn element(value: &Value, index: &Value) -> Outcome {
    match value {
        Value::Array(list) => {
            let at = as_count(index).map_err(|_| "a list is indexed by whole numbers".to_owned())?;
            list.get(at).cloned().ok_or_else(|| format!("Invalid index; there is no element {at}"))
        }
        Value::Object(map) => {
            let key = text(index)?;
            map.get(&key).cloned().ok_or_else(|| format!("Unsupported attribute; there is no {key:?}"))
        }
        _ => Err("Unsupported attribute; only lists and maps have elements".to_owned()),
    }
}

/// The words of a type: `string`, `number`, `bool`, `list(string)`.
pub(super) fn type_name(expr: &Expr) -> Result<String, String> {
    match expr {
        Expr::Hcl(Expression::Variable(name)) => Ok(name.as_str().to_owned()),
        Expr::Hcl(Expression::FuncCall(call)) => {
            let inner = call.args.iter().map(|a| type_name(&Expr::Hcl(a.clone())));
            let inner = inner.collect::<Result<Vec<_>, _>>()?.join(",");
            Ok(format!("{}({inner})", call.name.name.as_str()))
        }
        Expr::Hcl(Expression::String(text)) => Ok(text.value().clone()),
        Expr::Json(Value::String(text)) => Ok(text.clone()),
        _ => Err("a type is a word such as string or list(number)".to_owned()),
    }
}

/// The value of a variable that was given as text.
pub(super) fn from_environment(
    name: &str,
    given: &str,
    kind: Option<&str>,
    default: Option<&Value>,
) -> Outcome {
    let of_default = match default {
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(_)) => "number",
        Some(Value::Array(_)) => "list(string)",
        Some(Value::Object(_)) => "object",
        Some(Value::String(_) | Value::Null) | None => "string",
    };
    typed(name, given, kind.unwrap_or(of_default))
}

fn typed(name: &str, given: &str, kind: &str) -> Outcome {
    if let Some(inner) = inner_type(kind) {
        let fields = crate::dockerfile::csv_fields(given)?;
        return fields.iter().filter(|_| !given.is_empty()).map(|field| typed(name, field, inner)).collect();
    }
    match kind {
        "string" | "any" => Ok(Value::String(given.to_owned())),
        "bool" => match given {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(format!("failed to parse {name} as bool: {given:?}")),
        },
        "number" => as_number(&Value::String(given.to_owned()))
            .map(number)
            .map_err(|_| format!("failed to parse {name} as number: {given:?}")),
        _ => Err(format!("unsupported type {kind} for variable {name}")),
    }
}

fn inner_type(kind: &str) -> Option<&str> {
    ["list(", "set("].iter().find_map(|start| kind.strip_prefix(start)?.strip_suffix(')'))
}

/// A default that must be of a type.
pub(super) fn checked(name: &str, value: Value, kind: &str) -> Outcome {
    let fits = match (&value, inner_type(kind)) {
        (Value::Null, _) => true,
        (Value::Array(list), Some(inner)) => {
            list.iter().all(|value| checked(name, value.clone(), inner).is_ok())
        }
        (Value::Object(_), None) => kind.starts_with("map(") || kind.starts_with("object(") || kind == "any",
        (value, None) => matches!(
            (value, kind),
            (Value::String(_), "string" | "any")
                | (Value::Bool(_), "bool" | "any")
                | (Value::Number(_), "number" | "any")
                | (Value::Array(_), "any")
        ),
        _ => false,
    };
    if fits { Ok(value) } else { Err(format!("the default of variable {name} is no {kind}")) }
}

/// The first `N` arguments; more or fewer are an error.
pub(super) fn exactly<const N: usize>(arguments: &[Value]) -> Result<&[Value; N], String> {
    arguments.try_into().map_err(|_| format!("{N} arguments are required, {} are given", arguments.len()))
}

fn arithmetic(name: &str, arguments: &[Value]) -> Option<Outcome> {
    let one = || exactly::<1>(arguments).and_then(|[a]| as_number(a));
    let two = || exactly::<2>(arguments).and_then(|[a, b]| Ok((as_number(a)?, as_number(b)?)));
    let truths = || {
        exactly::<2>(arguments).and_then(|[a, b]| match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Ok((*a, *b)),
            _ => Err("two bools are required".to_owned()),
        })
    };
    let all = || arguments.iter().map(as_number).collect::<Result<Vec<_>, _>>();
    let extreme = |pick: fn(f64, f64) -> f64| {
        all().and_then(|all| {
            all.into_iter().reduce(pick).map(number).ok_or_else(|| "an argument is required".to_owned())
        })
    };
    Some(match name {
        "absolute" => one().map(|a| number(a.abs())),
        "negate" => one().map(|a| number(-a)),
        "ceil" => one().map(|a| number(a.ceil())),
        "floor" => one().map(|a| number(a.floor())),
        "int" => one().map(|a| number(a.trunc())),
        "signum" => one().map(|a| number(if a == 0.0 { 0.0 } else { a.signum() })),
        "add" => two().map(|(a, b)| number(a + b)),
        "subtract" => two().map(|(a, b)| number(a - b)),
        "multiply" => two().map(|(a, b)| number(a * b)),
        "divide" => two().and_then(divided),
        "modulo" => two().and_then(remainder),
        "pow" => two().map(|(a, b)| number(a.powf(b))),
        "log" => two().map(|(a, b)| number(a.log(b))),
        "max" => extreme(f64::max),
        "min" => extreme(f64::min),
        "greaterthan" => two().map(|(a, b)| Value::Bool(a > b)),
        "greaterthanorequalto" => two().map(|(a, b)| Value::Bool(a >= b)),
        "lessthan" => two().map(|(a, b)| Value::Bool(a < b)),
        "lessthanorequalto" => two().map(|(a, b)| Value::Bool(a <= b)),
        "equal" => exactly::<2>(arguments).map(|[a, b]| Value::Bool(equal(a, b))),
        "notequal" => exactly::<2>(arguments).map(|[a, b]| Value::Bool(!equal(a, b))),
        "and" => truths().map(|(a, b)| Value::Bool(a && b)),
        "or" => truths().map(|(a, b)| Value::Bool(a || b)),
        "not" => exactly::<1>(arguments).and_then(|[a]| match a {
            Value::Bool(truth) => Ok(Value::Bool(!truth)),
            _ => Err("a bool is required".to_owned()),
        }),
        "parseint" => exactly::<2>(arguments).and_then(|[digits, base]| {
            let base = u32::try_from(as_count(base)?).ok().filter(|base| (2..=36).contains(base));
            let base = base.ok_or("the base must be from 2 to 36")?;
            i64::from_str_radix(&text(digits)?, base).map(Value::from).map_err(|e| e.to_string())
        }),
        _ => return None,
    })
}
