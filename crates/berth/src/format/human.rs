//! Sizes, durations and ages as docker writes them (the words of its `go-units`).

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// `1.084MB`: powers of 1000, four significant digits; for totals.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &DECIMAL, 4)
}

/// `1.08MB`: powers of 1000, three significant digits; for columns.
pub(crate) fn short_size(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &DECIMAL, 3)
}

/// `1.034MiB`: powers of 1024, four significant digits; for memory.
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &BINARY, 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit < units.len() - 1 {
        value /= base;
        unit += 1;
    }
    significant(value, digits) + units[unit]
}

/// Go's `%.Ng`, which falls back to an exponent where the rounded number has more digits than N.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let with_fraction = |whole: &str, fraction: &str| match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => [whole, ".", fraction].concat(),
    };
    match exponent {
        // The digits are rounded; what is left is to put the point between them.
        0.. if exponent < digits as i32 => {
            let (whole, fraction) = rest.split_at(exponent as usize);
            with_fraction(&[first, whole].concat(), fraction)
        }
        -4..0 => with_fraction("0", &["0".repeat(-exponent as usize - 1).as_str(), first, rest].concat()),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", with_fraction(first, rest), exponent.abs())
        }
    }
}

/// `2 hours`, `About a minute`, `Less than a second`.
pub(crate) fn duration(seconds: i64) -> String {
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// At most `width` characters; an ellipsis says that there were more.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, long, short, binary) in [
            (0, "0B", "0B", "0B"),
            (999, "999B", "999B", "999B"),
            (1000, "1kB", "1kB", "1000B"),
            (1_084_491, "1.084MB", "1.08MB", "1.034MiB"),
            (32_930, "32.93kB", "32.9kB", "32.16KiB"),
            (999_999, "1000kB", "1e+03kB", "976.6KiB"),
            (3_112_011, "3.112MB", "3.11MB", "2.968MiB"),
            (1_500_000_000, "1.5GB", "1.5GB", "1.397GiB"),
            (u64::MAX, "18.45EB", "18.4EB", "16EiB"),
        ] {
            assert_eq!(
                (size(bytes).as_str(), short_size(bytes).as_str(), binary_size(bytes).as_str()),
                (long, short, binary)
            );
        }
    }

    #[test]
    fn durations_read_as_dockers() {
        const HOUR: i64 = 3600;
        for (seconds, expected) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 1799, "About an hour"),
            (HOUR + 1800, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (14 * 24 * HOUR, "2 weeks"),
            (60 * 24 * HOUR, "2 months"),
            (730 * 24 * HOUR, "2 years"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
