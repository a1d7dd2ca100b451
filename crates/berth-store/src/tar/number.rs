//! Numbers as archives write them: octal text, GNU's base 256, PAX's decimals. No field is trusted to be in range.

use super::ModificationTime;

/// A header field: octal digits between blanks and zero bytes, or base 256 if the first bit is set.
pub(super) fn field(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes),
    }
}

/// A header field that cannot be negative.
pub(super) fn unsigned_field(bytes: &[u8]) -> Option<u64> {
    u64::try_from(field(bytes)?).ok()
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((byte - b'0').into()),
        _ => None,
    })
}

/// Two's complement, big endian; the flag bit in front belongs to nobody.
fn base256(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, &byte) in bytes.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        value = (value << 8) | i128::from(byte);
        if i64::try_from(value).is_err() {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Decimal digits, nothing else.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |value, &byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add((byte - b'0').into()),
        _ => None,
    })
}

/// `[-]seconds[.fraction]`, as PAX writes times.
pub(super) fn time(bytes: &[u8]) -> Option<ModificationTime> {
    let (negative, rest) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, bytes),
    };
    let dot = rest.iter().position(|&b| b == b'.');
    let (whole, fraction) = match dot {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let nanoseconds = nanoseconds(fraction)?;
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => ModificationTime { seconds, nanoseconds },
        (true, 0) => ModificationTime { seconds: -seconds, nanoseconds: 0 },
        (true, fraction) => ModificationTime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - fraction },
    })
}

/// The first nine digits of a fraction.
fn nanoseconds(digits: &[u8]) -> Option<u32> {
    let mut value = 0;
    for index in 0..9 {
        let digit = match digits.get(index) {
            Some(byte) if byte.is_ascii_digit() => byte - b'0',
            Some(_) => return None,
            None => 0,
        };
        value = value * 10 + u32::from(digit);
    }
    digits.iter().skip(9).all(u8::is_ascii_digit).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields() {
        for (bytes, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"0000648\0", None),
            (b"-1\0", None),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(2 << 32)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(field(bytes), expected, "{bytes:?}");
        }
        assert_eq!(unsigned_field(b"\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn times() {
        let at = |seconds, nanoseconds| Some(ModificationTime { seconds, nanoseconds });
        for (text, expected) in [
            ("1700000000", at(1_700_000_000, 0)),
            ("1.5", at(1, 500_000_000)),
            ("1.1234567899", at(1, 123_456_789)),
            ("-1", at(-1, 0)),
            ("-1.25", at(-2, 750_000_000)),
            ("1.", at(1, 0)),
            ("", None),
            (".5", None),
            ("1.x", None),
            ("1.123456789x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }
}
