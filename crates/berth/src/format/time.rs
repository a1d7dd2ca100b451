//! Points in time: how docker's filters name them (`until=24h`) and how its listings show them.

use berth_oci::{Error, Result};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A Go duration: `24h`, `1h30m`, `-1.5s`, `300ms`.
///
/// # Errors
/// Go's words: not a duration, or too long.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration> {
    let quoted = super::template::print::quoted(text);
    let invalid = || Error::invalid(format!("time: invalid duration {quoted}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds = 0i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(Error::invalid(format!("time: missing unit in duration {quoted}"))),
            other => {
                let other = super::template::print::quoted(other);
                return Err(Error::invalid(format!("time: unknown unit {other} in duration {quoted}")));
            }
        };
        nanoseconds += scaled(number, scale).ok_or_else(invalid)?;
        rest = tail;
    }
    let signed = if negative { -nanoseconds } else { nanoseconds };
    match i64::try_from(signed) {
        Ok(signed) => Ok(SignedDuration::from_nanos(signed)),
        Err(_) => Err(invalid()),
    }
}

/// `1.5` times `scale`, exact for as many digits as a nanosecond has.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let fraction = fraction.get(..fraction.len().min(18))?;
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? };
    Some(whole * scale + part * scale / 10i128.pow(fraction.len() as u32))
}

/// What a `since`, `until` or `before` means: a Go duration before `now`, RFC 3339 with or without a zone (then
/// this machine's) and with or without a time, or seconds since 1970.
///
/// # Errors
/// None of these.
pub(crate) fn parse_moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    let invalid = || {
        Error::invalid(format!(
            "failed to parse value as time or duration: {}",
            super::template::print::quoted(text)
        ))
        .hint(
            "write a duration (24h, 1h30m), a date (2026-01-31, 2026-01-31T12:00:00Z) or seconds since 1970",
        )
    };
    if let Ok(duration) = parse_duration(text) {
        return now.checked_sub(duration).map_err(|_| invalid());
    }
    match text.contains('-') {
        true => parse_date(text).ok_or_else(invalid),
        false => parse_unix(text).ok_or_else(invalid),
    }
}

fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact);
    }
    let zone_at = text.get(10..)?.find(['Z', '+', '-']).map(|at| at + 10);
    let (local, zone) = text.split_at(zone_at.unwrap_or(text.len()));
    let complete = match local.len() {
        10 => format!("{local}T00:00:00"),
        13 => format!("{local}:00:00"),
        16 => format!("{local}:00"),
        _ => local.to_owned(),
    };
    match zone {
        "" => complete
            .parse::<DateTime>()
            .ok()?
            .to_zoned_datetime(TimeZone::system())
            .ok()
            .map(|z| z.timestamp()),
        zone => format!("{complete}{zone}").parse().ok(),
    }
}

fn parse_unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

/// Go's `time.String()` in this machine's zone: `2026-11-23 21:25:55 +0000 UTC`.
pub(crate) fn local(moment: Timestamp) -> String {
    local_zoned(moment).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// RFC 3339 to the second in this machine's zone: `2026-11-23T21:25:55Z`.
pub(crate) fn local_rfc3339(moment: Timestamp) -> String {
    let zoned = local_zoned(moment);
    match zoned.offset().is_zero() {
        true => zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        false => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}

/// The same to the nanosecond, always with nine digits.
pub(crate) fn local_rfc3339_nano(moment: Timestamp) -> String {
    let zoned = local_zoned(moment);
    let zone = if zoned.offset().is_zero() { "Z".to_owned() } else { zoned.strftime("%:z").to_string() };
    format!("{}{zone}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

fn local_zoned(moment: Timestamp) -> jiff::ZonedDateTime {
    // Finding the zone reads files; a listing asks a thousand times.
    static ZONE: std::sync::OnceLock<TimeZone> = std::sync::OnceLock::new();
    moment.to_zoned_datetime(ZONE.get_or_init(TimeZone::system).clone())
}

/// `3 hours ago`.
pub(crate) fn ago(moment: Timestamp, now: Timestamp) -> String {
    format!("{} ago", super::human::duration(now.duration_since(moment).as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_parse() {
        for (text, nanoseconds) in [
            ("24h", Some(86_400_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("300ms", Some(300_000_000)),
            ("2us", Some(2_000)),
            (".5m", Some(30_000_000_000)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("h", None),
            ("1d", None),
            ("1.2.3s", None),
            ("9999999h", None),
        ] {
            assert_eq!(parse_duration(text).ok().map(|d| d.as_nanos() as i64), nanoseconds, "{text}");
        }
        assert_eq!(parse_duration("5").unwrap_err().message(), "time: missing unit in duration \"5\"");
    }

    #[test]
    fn moments_parse() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2026-11-22T12:00:00Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.5Z"),
            ("2026-01-31Z", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:30+01:00", "2026-01-31T11:30:00Z"),
            ("1769860800", "2026-01-31T12:00:00Z"),
            ("1769860800.25", "2026-01-31T12:00:00.25Z"),
        ] {
            assert_eq!(parse_moment(text, now).unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "1.2.3", "12:00"] {
            assert!(parse_moment(bad, now).is_err(), "{bad}");
        }
        let here = "2026-01-31".parse::<jiff::civil::Date>().unwrap();
        let midnight = here.to_zoned_datetime(TimeZone::system()).unwrap().timestamp();
        assert_eq!(parse_moment("2026-01-31", now).unwrap(), midnight);
    }
}
