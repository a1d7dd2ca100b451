//! A statement taken apart: instruction, flags, operands.
//!
//! Not here: which flags and operands an instruction has. Invariant: a token knows its offset in the statement.

use super::error::Fault;
use super::heredoc;

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) at: usize,
}

impl Token {
    fn of(line: &str, start: usize, end: usize) -> Self {
        Self { text: line[start..end].to_owned(), at: start }
    }
}

/// Instruction, flags and the rest of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// As written.
    pub(crate) name: Token,
    /// With their `--`, without quotes and escapes.
    pub(crate) flags: Vec<Token>,
    /// Trimmed.
    pub(crate) rest: Token,
}

/// The blanks that separate words; no others do.
const BLANKS: [char; 5] = ['\t', '\x0b', '\x0c', '\r', ' '];

/// Takes `line` apart.
pub(crate) fn parts(line: &str) -> Parts {
    let start = line.len() - line.trim_start().len();
    let end = line.trim_end().len().max(start);
    let trimmed = &line[start..end];
    let name_end = trimmed.find(BLANKS).map_or(end, |at| start + at);
    let after = line[name_end..end].trim_start_matches(BLANKS);
    let (flags, rest) = flags(line, end - after.len(), end);
    Parts { name: Token::of(line, start, name_end), flags, rest: trimmed_token(line, rest, end) }
}

fn trimmed_token(line: &str, start: usize, end: usize) -> Token {
    let text = &line[start..end];
    let start = start + (text.len() - text.trim_start().len());
    Token::of(line, start, (start + text.trim().len()).min(end))
}

/// The words that start with `--`, and where the rest begins. A lone `--` ends them and is dropped.
fn flags(line: &str, start: usize, end: usize) -> (Vec<Token>, usize) {
    let mut flags = Vec::new();
    let mut at = start;
    loop {
        at += line[at..end].len() - line[at..end].trim_start().len();
        if !line[at..end].starts_with("--") {
            return (flags, at);
        }
        let (text, next) = flag_word(line, at, end);
        if text == "--" {
            return (flags, next);
        }
        flags.push(Token { text, at });
        at = next;
    }
}

/// A word with its quotes and escapes removed, and where it ends.
fn flag_word(line: &str, start: usize, end: usize) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line[start..end].char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, start + at),
            (c @ ('\'' | '"'), None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            // Whatever the file's escape character is.
            ('\\', _) => word.extend(chars.next().map(|(_, c)| c)),
            (c, _) => word.push(c),
        }
    }
    (word, end)
}

/// The words of `token`, split at blanks; at least one, maybe an empty one.
pub(crate) fn split_blanks(token: &Token) -> Vec<Token> {
    let mut words = Vec::new();
    let mut start = 0;
    while let Some(length) = token.text[start..].find(BLANKS) {
        words.push(Token::of(&token.text, start, start + length));
        let rest = &token.text[start + length..];
        start += length + (rest.len() - rest.trim_start_matches(BLANKS).len());
    }
    words.push(Token::of(&token.text, start, token.text.len()));
    for word in &mut words {
        word.at += token.at;
    }
    if token.text.is_empty() { Vec::new() } else { words }
}

/// The text before the first blanks and the text behind them.
pub(crate) fn split_once_blank(token: &Token) -> Option<(Token, Token)> {
    let length = token.text.find(BLANKS)?;
    let rest = token.text[length..].trim_start_matches(BLANKS);
    let start = token.text.len() - rest.len();
    Some((
        Token { text: token.text[..length].to_owned(), at: token.at },
        Token { text: rest.to_owned(), at: token.at + start },
    ))
}

/// Words as a shell splits them; quotes and escapes stay in.
pub(crate) fn split_quoted(token: &Token, escape: char) -> Vec<Token> {
    let mut words = Vec::new();
    let mut word: Option<Token> = None;
    let mut quote = None;
    let mut chars = token.text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c.is_whitespace() && quote.is_none() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Token { text: String::new(), at: token.at + at });
        if c == escape && quote != Some('\'') {
            // One at the very end protects nothing and goes.
            if let Some((_, protected)) = chars.next() {
                current.text.push(c);
                current.text.push(protected);
            }
            continue;
        }
        match quote {
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        current.text.push(c);
    }
    words.extend(word.filter(|word| !word.text.is_empty()));
    words
}

/// The strings of a JSON array, if the text is one.
///
/// # Errors
/// The array holds something else than strings.
pub(crate) fn json(token: &Token) -> Result<Option<Vec<String>>, Fault> {
    if !token.text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&token.text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    let message = "when using JSON array syntax, arrays must be comprised of strings only";
    strings
        .collect::<Option<Vec<_>>>()
        .map(Some)
        .ok_or_else(|| Fault::new(message).at(token.at, token.text.len()).bare())
}

/// Whether heredocs are looked for: ADD, COPY and RUN, behind ONBUILD too, unless in JSON form.
pub(crate) fn may_have_heredocs(line: &str) -> bool {
    let mut parts = parts(line);
    if parts.name.text.eq_ignore_ascii_case("ONBUILD") {
        parts = self::parts(&parts.rest.text);
    }
    let name = parts.name.text.to_ascii_uppercase();
    matches!(name.as_str(), "ADD" | "COPY" | "RUN") && !matches!(json(&parts.rest), Ok(Some(_)))
}

/// Whether an operand is the place of a heredoc.
pub(crate) fn heredoc_of(word: &str) -> Option<heredoc::Heredoc> {
    heredoc::opened_by(word).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token { text: text.to_owned(), at: 0 }
    }

    fn texts(tokens: Vec<Token>) -> Vec<String> {
        tokens.into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn a_statement_has_three_parts() {
        for (line, name, flags, rest) in [
            ("RUN a b", "RUN", &[][..], "a b"),
            ("  run\t--x  --y=1 a --z ", "run", &["--x", "--y=1"], "a --z"),
            ("COPY --a='b c'\"d\" e", "COPY", &["--a=b cd"], "e"),
            ("COPY --a=\\ b c", "COPY", &["--a= b"], "c"),
            ("RUN -- --x", "RUN", &[], "--x"),
            ("RUN --x", "RUN", &["--x"], ""),
            ("RUN --x --", "RUN", &["--x"], ""),
            ("RUN", "RUN", &[], ""),
            ("RUN - -x", "RUN", &[], "- -x"),
        ] {
            let parts = parts(line);
            assert_eq!(parts.name.text, name, "{line}");
            assert_eq!(texts(parts.flags), flags, "{line}");
            assert_eq!(parts.rest.text, rest, "{line}");
            assert!(line[parts.rest.at..].starts_with(rest), "{line}");
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        for (text, words) in [
            ("a b", &["a", "b"][..]),
            ("a\\ b", &["a\\ b"]),
            ("a='b c' d", &["a='b c'", "d"]),
            ("a=\"b \\\" c\" d", &["a=\"b \\\" c\"", "d"]),
            ("\"\" x", &["\"\"", "x"]),
            ("a\\", &["a"]),
            ("'a\\' b", &["'a\\'", "b"]),
            ("  ", &[]),
        ] {
            assert_eq!(texts(split_quoted(&token(text), '\\')), words, "{text}");
        }
    }

    #[test]
    fn json_is_an_array_of_strings() {
        assert_eq!(json(&token("[\"a\", \"b\"]")).unwrap(), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(json(&token("[]")).unwrap(), Some(Vec::new()));
        for shell in ["a", "['a']", "[\"a\"", "[\"a\"] b", "{}"] {
            assert_eq!(json(&token(shell)).unwrap(), None, "{shell}");
        }
        assert!(json(&token("[\"a\", 1]")).is_err());
    }
}
