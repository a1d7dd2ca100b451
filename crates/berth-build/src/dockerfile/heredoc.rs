//! Heredocs: `<<EOF` words in an instruction, and the bodies that follow it.
//!
//! Not here: which instructions may have them. Invariant: a body keeps its bytes, line ends included; only
//! [`Heredoc::content`] takes leading tabs away.

use super::shell::{Mode, lex};
use std::borrow::Cow;

/// A heredoc with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without its quotes: the name of the file that it makes.
    pub name: String,
    /// The lines between, as they stand.
    pub body: String,
    /// Whether variables in the body are replaced: no part of the delimiter was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs do not count.
    pub chomp: bool,
    /// `3<<EOF`: the descriptor a shell would open; 0 when none is named.
    pub descriptor: u32,
}

impl Heredoc {
    /// The body, without leading tabs where `<<-` asks for that.
    #[must_use]
    pub fn content(&self) -> Cow<'_, str> {
        if !self.chomp {
            return Cow::Borrowed(&self.body);
        }
        Cow::Owned(self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
    }

    /// Whether `line`, without its line end, closes the body.
    pub(crate) fn ends_with(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The heredoc that a word opens, with an empty body.
///
/// # Errors
/// A quote in the delimiter is not closed.
pub(crate) fn opened_by(word: &str) -> Result<Option<Heredoc>, String> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let Some(rest) = word[digits..].strip_prefix("<<") else { return Ok(None) };
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let unset = |_: &str| None;
    let mode = Mode { keep_unset: true, ..Mode::new('\\') };
    let plain = lex(rest, mode, &unset).map_err(|(message, _)| message)?.words;
    let raw = lex(rest, Mode { keep_quotes: true, ..mode }, &unset).map_err(|(message, _)| message)?.words;
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        body: String::new(),
        expand: quotes(name) == quotes(raw),
        chomp,
        descriptor: word[..digits].parse().unwrap_or(0),
    }))
}

/// The heredocs that an instruction opens, in order.
///
/// # Errors
/// A quote in a delimiter is not closed.
pub(crate) fn opened_in(line: &str) -> Result<Vec<Heredoc>, String> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let mode = Mode { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Mode::new('\\') };
    // A line that the lexer cannot read is the shell's business; then there is no heredoc in it.
    let words = lex(line, mode, &|_: &str| None).map(|lexed| lexed.words).unwrap_or_default();
    words.iter().filter_map(|word| opened_by(word).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_open_heredocs() {
        for (word, expected) in [
            ("<<EOF", Some(("EOF", true, false, 0))),
            ("<<-EOF", Some(("EOF", true, true, 0))),
            ("<<'EOF'", Some(("EOF", false, false, 0))),
            ("<<E\"O\"F", Some(("EOF", false, false, 0))),
            ("4<<- 'a b'", Some(("a b", false, true, 4))),
            ("<<$EOF", Some(("$EOF", true, false, 0))),
            ("<<\\'x", Some(("'x", true, false, 0))),
            ("<<<EOF", None),
            ("<<", None),
            ("<<-", None),
            ("<EOF", None),
            ("<<EOF sh", None),
            ("x<<EOF", None),
        ] {
            let found = opened_by(word).expect(word);
            let found = found.as_ref().map(|h| (h.name.as_str(), h.expand, h.chomp, h.descriptor));
            assert_eq!(found, expected, "{word}");
        }
        assert!(opened_by("<<'EOF").is_err());
    }

    #[test]
    fn quoted_words_open_none() {
        let names = |line| opened_in(line).expect(line).into_iter().map(|h| h.name).collect::<Vec<_>>();
        assert_eq!(names("RUN <<A <<B cat"), ["A", "B"]);
        assert_eq!(names("RUN << -A"), ["-A"]);
        assert_eq!(names("RUN <<- A"), ["A"]);
        assert!(names("RUN echo '<<A' \"<<B\"").is_empty());
        assert!(names("RUN echo \"it's <<A").is_empty());
    }

    #[test]
    fn chomping_takes_tabs_only() {
        let heredoc = Heredoc { body: "\t\ta\n\t b\n\tc".to_owned(), ..opened_by("<<-X").unwrap().unwrap() };
        assert_eq!(heredoc.content(), "a\n b\nc");
        assert!(heredoc.ends_with("\tX") && !heredoc.ends_with(" X"));
    }
}
