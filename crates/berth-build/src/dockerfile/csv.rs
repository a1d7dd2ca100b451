//! One line of comma-separated values, quoted with `"` where a value holds a comma.
//!
//! Invariant: every field of the line comes out, in order, without its quotes.

/// The fields of `line`.
///
/// # Errors
/// A quote that is not closed, or one inside a field.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return Err("bare \" in non-quoted field".to_owned());
            }
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("extraneous or missing \" in quoted field".to_owned()),
        }
    }
}

/// A field behind its opening quote, and what follows the closing one; `""` stands for a quote.
fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('"') {
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(next) => rest = next,
            None => return Ok((field, rest)),
        }
        field.push('"');
    }
    Err("extraneous or missing \" in quoted field".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_protect_commas() {
        for (line, expected) in [
            ("a,b", &["a", "b"][..]),
            ("a", &["a"]),
            ("", &[""]),
            ("a,", &["a", ""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"a\"\"b\"", &["a\"b"]),
        ] {
            assert_eq!(fields(line).expect(line), expected, "{line}");
        }
        for bad in ["a\"b", "\"a", "\"a\"b"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }
}
