//! Amounts as docker writes them: bytes with binary units (`512m`), sizes with decimal ones (`10m` of a log
//! file), and processors (`1.5`).

use berth_oci::{Error, Result};

const KIB: f64 = 1024.0;
const KB: f64 = 1000.0;
/// A thousand-millionth of a processor is the unit docker counts in.
pub const NANO: i64 = 1_000_000_000;

/// `6m` is 6 MiB: what memory is given in.
///
/// # Errors
/// The text is not a number with at most a unit.
pub fn parse_ram(text: &str) -> Result<u64> {
    parse(text, KIB)
}

/// `10m` is 10,000,000 bytes: what log files are given in.
///
/// # Errors
/// The text is not a number with at most a unit.
pub fn parse_decimal(text: &str) -> Result<u64> {
    parse(text, KB)
}

/// As [`parse_ram`], and `-1` for no limit at all.
///
/// # Errors
/// The text is neither.
pub fn parse_swap(text: &str) -> Result<i64> {
    match text {
        "-1" => Ok(-1),
        _ => Ok(i64::try_from(parse_ram(text)?).unwrap_or(i64::MAX)),
    }
}

/// Reads `--storage-opt`: `size=10g` is all there is to say. Both the amount and how it was written.
///
/// # Errors
/// Another option, or no size.
pub fn parse_storage_option(text: &str) -> Result<(u64, String)> {
    let (key, value) = text.split_once('=').ok_or_else(|| Error::invalid("invalid storage option"))?;
    if key != "size" {
        return Err(
            Error::invalid(format!("unknown storage option: {key}")).hint("the one option is size=10g")
        );
    }
    match parse_ram(value)? {
        0 => Err(Error::invalid(format!("invalid size: '{value}'")).hint("nothing fits into nothing")),
        bytes => Ok((bytes, value.to_owned())),
    }
}

fn parse(text: &str, base: f64) -> Result<u64> {
    let invalid =
        || Error::invalid(format!("invalid size: '{text}'")).hint("write a number and b, k, m, g or t: 512m");
    let last_digit = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, unit) = text.split_at(last_digit + 1);
    let size: f64 = number.strip_suffix(' ').unwrap_or(number).parse().map_err(|_| invalid())?;
    if size < 0.0 || !size.is_finite() {
        return Err(invalid());
    }
    // A float keeps every byte up to 8 PiB; what is larger than a u64 saturates and is refused where it is used.
    Ok((size * base.powi(exponent(unit)?)) as u64)
}

/// `k`, `kb` and `kib` are the same to docker: the base alone tells binary from decimal.
fn exponent(unit: &str) -> Result<i32> {
    let lower = unit.to_ascii_lowercase();
    let letter =
        lower.strip_suffix("ib").filter(|l| !l.is_empty()).or(lower.strip_suffix('b')).unwrap_or(&lower);
    match (letter, lower.as_str()) {
        ("", "" | "b") => Ok(0),
        ("k", _) => Ok(1),
        ("m", _) => Ok(2),
        ("g", _) => Ok(3),
        ("t", _) => Ok(4),
        ("p", _) => Ok(5),
        _ => {
            Err(Error::invalid(format!("invalid suffix: '{lower}'"))
                .hint("the units are b, k, m, g, t and p"))
        }
    }
}

/// `1.5` processors in thousand-millionths.
///
/// # Errors
/// The text is not a decimal number, or has more than nine digits behind the point.
pub fn parse_cpus(text: &str) -> Result<i64> {
    let wrong = || Error::invalid(format!("failed to parse {text} as a rational number"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if !digits(unsigned) || !digits(fraction) || unsigned.len() + fraction.len() == 0 {
        return Err(wrong());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(Error::invalid("value is too precise").hint("at most nine digits behind the point"));
    }
    let whole: i64 = format!("{unsigned:0>1}").parse().map_err(|_| wrong())?;
    let nano: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    let sum = whole.checked_mul(NANO).and_then(|n| n.checked_add(nano)).ok_or_else(wrong)?;
    Ok(if text.starts_with('-') { -sum } else { sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show<T: ToString>(result: Result<T>) -> String {
        result.map_or_else(|e| e.to_string(), |value| value.to_string())
    }

    #[test]
    fn storage_options() {
        for (text, expected) in [
            ("size=1g", "1073741824 1g"),
            ("size=120000k", "122880000 120000k"),
            ("size=0", "invalid size: '0'"),
            ("size=x", "invalid size: 'x'"),
            ("foo=1", "unknown storage option: foo"),
            ("foo", "invalid storage option"),
        ] {
            let got = parse_storage_option(text).map(|(bytes, text)| format!("{bytes} {text}"));
            assert_eq!(got.unwrap_or_else(|error| error.to_string()), expected, "{text}");
        }
    }

    #[test]
    fn memory_has_binary_units() {
        for (text, expected) in [
            ("6m", "6291456"),
            ("6M", "6291456"),
            ("6mb", "6291456"),
            ("6MiB", "6291456"),
            ("1.5g", "1610612736"),
            ("64", "64"),
            ("64b", "64"),
            ("64 b", "64"),
            ("0", "0"),
            ("1t", "1099511627776"),
            ("", "invalid size: ''"),
            ("m", "invalid size: 'm'"),
            ("-6m", "invalid size: '-6m'"),
            ("1.2.3m", "invalid size: '1.2.3m'"),
            ("6x", "invalid suffix: 'x'"),
            ("6mm", "invalid suffix: 'mm'"),
            ("6bb", "invalid suffix: 'bb'"),
            ("6ib", "invalid suffix: 'ib'"),
        ] {
            assert_eq!(show(parse_ram(text)), expected, "{text}");
        }
        assert_eq!(show(parse_decimal("10m")), "10000000");
        assert_eq!((show(parse_swap("-1")), show(parse_swap("1k"))), ("-1".to_owned(), "1024".to_owned()));
        assert_eq!(show(parse_swap("-2")), "invalid size: '-2'");
    }

    #[test]
    fn processors_are_counted_in_thousand_millionths() {
        for (text, expected) in [
            ("1", "1000000000"),
            ("1.5", "1500000000"),
            (".5", "500000000"),
            ("0.000000001", "1"),
            ("0.0000000001", "value is too precise"),
            ("2.", "2000000000"),
            ("-1", "-1000000000"),
            ("x", "failed to parse x as a rational number"),
            ("", "failed to parse  as a rational number"),
            (".", "failed to parse . as a rational number"),
            ("1e3", "failed to parse 1e3 as a rational number"),
            ("99999999999", "failed to parse 99999999999 as a rational number"),
        ] {
            assert_eq!(show(parse_cpus(text)), expected, "{text}");
        }
    }
}
