//! Fields with commas between them, as Go's `encoding/csv` reads one line.

use berth_oci::{Error, Result};

/// One line of CSV: a field in quotes may have commas.
pub(crate) fn csv(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let field = fields.last_mut().expect("there is always one");
        match (c, quoted) {
            ('"', false) if field.is_empty() => quoted = true,
            ('"', true) if characters.peek() == Some(&'"') => field.extend(characters.next()),
            ('"', true) => quoted = false,
            ('"', false) => {
                return Err(Error::invalid(format!("`{text}` has a quote inside a field"))
                    .hint("the whole field is to be in quotes: \"key=a,b\""));
            }
            (',', false) => fields.push(String::new()),
            (c, _) => field.push(c),
        }
    }
    match (quoted, text.is_empty()) {
        (true, _) => Err(Error::invalid(format!("`{text}` has a quote that does not end"))),
        (_, true) => Err(Error::invalid("EOF")),
        _ => Ok(fields),
    }
}
