//! Functions about lists, sets and maps.
//!
//! Sets are lists without twins. Invariant: no function makes more than 1,024 elements out of numbers alone, nor more
//! than 65,536 out of lists.

use super::super::entries::text;
use super::{Outcome, as_count, as_number, equal, exactly, number};
use serde_json::{Map, Value};

/// How many numbers `range` makes, as in HCL.
const RANGE: f64 = 1024.0;
/// How many elements a product may have.
const PRODUCT: usize = 65_536;

pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Outcome> {
    Some(match name {
        "length" => exactly::<1>(arguments).and_then(|[value]| match value {
            Value::Array(list) => Ok(list.len().into()),
            Value::Object(map) => Ok(map.len().into()),
            Value::String(text) => Ok(text.chars().count().into()),
            _ => Err("a list, a map or a string is required".to_owned()),
        }),
        "concat" => lists(arguments).map(|lists| lists.into_iter().flatten().cloned().collect()),
        "coalesce" => first(arguments.iter().filter(|v| !v.is_null() && v.as_str() != Some(""))),
        "coalescelist" => first(arguments.iter().filter(|v| v.as_array().is_some_and(|l| !l.is_empty()))),
        "compact" => one(arguments)
            .map(|list| list.iter().filter(|v| !v.is_null() && v.as_str() != Some("")).cloned().collect()),
        "distinct" => one(arguments).map(|list| unique(list.iter())),
        "reverselist" => one(arguments).map(|list| list.iter().rev().cloned().collect()),
        "flatten" => one(arguments).map(|list| flattened(list).into()),
        "sort" => one(arguments).and_then(|list| {
            let mut words = list.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            words.sort();
            Ok(words.into())
        }),
        "contains" | "sethaselement" => exactly::<2>(arguments).and_then(|[list, wanted]| {
            Ok(Value::Bool(array(list)?.iter().any(|value| equal(value, wanted))))
        }),
        "index" => exactly::<2>(arguments).and_then(|[value, index]| super::element(value, index)),
        "indexof" => exactly::<2>(arguments).and_then(|[list, wanted]| {
            let place = array(list)?.iter().position(|value| equal(value, wanted));
            place.map(Value::from).ok_or_else(|| "item not found".to_owned())
        }),
        "element" => exactly::<2>(arguments).and_then(|[list, index]| {
            let list = array(list)?;
            let index = as_count(index)?;
            list.get(index % list.len().max(1)).cloned().ok_or_else(|| "the list is empty".to_owned())
        }),
        "hasindex" => exactly::<2>(arguments).map(|[value, i]| Value::Bool(super::element(value, i).is_ok())),
        "slice" => exactly::<3>(arguments).and_then(|[list, start, end]| {
            let found = array(list)?.get(as_count(start)?..as_count(end)?);
            found.map(|part| part.to_vec().into()).ok_or_else(|| "the places are not in the list".to_owned())
        }),
        "chunklist" => exactly::<2>(arguments).and_then(|[list, size]| {
            let size = as_count(size)?;
            let list = array(list)?;
            Ok(list.chunks(if size == 0 { list.len().max(1) } else { size }).map(<[Value]>::to_vec).collect())
        }),
        "range" => range(arguments),
        "keys" => map(arguments).map(|map| sorted(map).map(|(key, _)| key.as_str()).collect()),
        "values" => map(arguments).map(|map| sorted(map).map(|(_, value)| value.clone()).collect()),
        "lookup" => exactly::<3>(arguments).and_then(|[map, key, other]| {
            let map = map.as_object().ok_or("a map is required")?;
            Ok(map.get(&text(key)?).unwrap_or(other).clone())
        }),
        "merge" => arguments
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| value.as_object().cloned().ok_or_else(|| "maps are required".to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map(|maps| Value::Object(maps.into_iter().flatten().collect())),
        "zipmap" => exactly::<2>(arguments).and_then(|[keys, values]| {
            let (keys, values) = (array(keys)?, array(values)?);
            if keys.len() != values.len() {
                return Err("keys and values differ in number".to_owned());
            }
            let pairs = keys.iter().zip(values).map(|(key, value)| Ok((text(key)?, value.clone())));
            pairs.collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }),
        "setunion" => lists(arguments).map(|lists| unique(lists.into_iter().flatten())),
        "setintersection" => sets(arguments, |value, rest| rest.iter().all(|list| has(list, value))),
        "setsubtract" => sets(arguments, |value, rest| !rest.iter().any(|list| has(list, value))),
        "setsymmetricdifference" => symmetric(arguments),
        "setproduct" => product(arguments),
        _ => return None,
    })
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| "a list is required".to_owned())
}

fn one(arguments: &[Value]) -> Result<&Vec<Value>, String> {
    exactly::<1>(arguments).and_then(|[list]| array(list))
}

fn lists(arguments: &[Value]) -> Result<Vec<&Vec<Value>>, String> {
    arguments.iter().map(array).collect()
}

fn map(arguments: &[Value]) -> Result<&Map<String, Value>, String> {
    exactly::<1>(arguments).and_then(|[map]| map.as_object().ok_or_else(|| "a map is required".to_owned()))
}

fn sorted(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs.into_iter()
}

fn first<'v>(mut values: impl Iterator<Item = &'v Value>) -> Outcome {
    values.next().cloned().ok_or_else(|| "no argument has a value".to_owned())
}

fn has(list: &[Value], wanted: &Value) -> bool {
    list.iter().any(|value| equal(value, wanted))
}

fn unique<'v>(values: impl Iterator<Item = &'v Value>) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        if !has(&kept, value) {
            kept.push(value.clone());
        }
    }
    kept.into()
}

fn flattened(list: &[Value]) -> Vec<Value> {
    let inner = |value: &Value| match value {
        Value::Array(list) => flattened(list),
        other => vec![other.clone()],
    };
    list.iter().flat_map(inner).collect()
}

/// Those of the first list that `keep` likes, given the others.
fn sets(arguments: &[Value], keep: fn(&Value, &[&Vec<Value>]) -> bool) -> Outcome {
    let lists = lists(arguments)?;
    let (first, rest) = lists.split_first().ok_or("a set is required")?;
    Ok(unique(first.iter().filter(|value| keep(value, rest))))
}

fn symmetric(arguments: &[Value]) -> Outcome {
    let lists = lists(arguments)?;
    let all = lists.iter().flat_map(|list| list.iter());
    Ok(unique(all.filter(|value| lists.iter().filter(|list| has(list, value)).count() == 1)))
}

fn product(arguments: &[Value]) -> Outcome {
    let lists = lists(arguments)?;
    let count = lists.iter().try_fold(1usize, |count, list| count.checked_mul(list.len()));
    if count.is_none_or(|count| count > PRODUCT) {
        return Err(format!("the product has more than {PRODUCT} elements"));
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in lists {
        rows = rows
            .iter()
            .flat_map(|row| {
                list.iter().map(move |value| [row.as_slice(), std::slice::from_ref(value)].concat())
            })
            .collect();
    }
    Ok(rows.into())
}

/// `range(end)`, `range(start, end)`, `range(start, end, step)`.
fn range(arguments: &[Value]) -> Outcome {
    let numbers = arguments.iter().map(as_number).collect::<Result<Vec<_>, _>>()?;
    let (start, end, step) = match numbers.as_slice() {
        [end] => (0.0, *end, if *end < 0.0 { -1.0 } else { 1.0 }),
        [start, end] => (*start, *end, if end < start { -1.0 } else { 1.0 }),
        [start, end, step] => (*start, *end, *step),
        _ => return Err("one to three arguments are required".to_owned()),
    };
    if step == 0.0 || (end - start) * step < 0.0 {
        return Err("the step does not lead to the end".to_owned());
    }
    if ((end - start) / step) > RANGE {
        return Err(format!("more than {RANGE} numbers"));
    }
    let mut numbers = Vec::new();
    let mut at = start;
    while if step > 0.0 { at < end } else { at > end } {
        numbers.push(number(at));
        at += step;
    }
    Ok(numbers.into())
}
