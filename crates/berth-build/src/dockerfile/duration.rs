//! Durations as Go writes them: `1h2m3.5s`, `-4ms`, `0`.
//!
//! Invariant: no duration overflows; one below zero is `None`.

use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration; `None` for one below zero.
///
/// # Errors
/// The text is no duration.
pub(super) fn parse(text: &str) -> Result<Option<Duration>, String> {
    let bad = || format!("time: invalid duration {text:?}");
    let (unsigned, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if unsigned == "0" {
        return Ok(Some(Duration::ZERO));
    }
    let mut rest = unsigned;
    let mut total = 0f64;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, after) = rest.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let scale = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanoseconds) =
            scale.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total += number * *nanoseconds as f64;
        rest = after;
    }
    if total >= i64::MAX as f64 {
        return Err(bad());
    }
    let duration = Duration::from_nanos(total.round() as u64);
    Ok(if negative && !duration.is_zero() { None } else { Some(duration) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("0", Ok(Some(0))),
            ("1s", Ok(Some(1_000_000_000))),
            ("1m30s", Ok(Some(90_000_000_000))),
            ("1.5ms", Ok(Some(1_500_000))),
            (".5s", Ok(Some(500_000_000))),
            ("-1s", Ok(None)),
            ("1", Err("time: missing unit in duration \"1\"")),
            ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
            ("", Err("time: invalid duration \"\"")),
            ("x", Err("time: invalid duration \"x\"")),
            ("9999999999h", Err("time: invalid duration \"9999999999h\"")),
        ] {
            let found = parse(text).map(|d| d.map(|d| d.as_nanos()));
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
    }
}
