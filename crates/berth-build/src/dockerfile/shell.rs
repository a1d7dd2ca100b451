//! Quotes, escapes and `$` substitution in a word, as Dockerfiles have them: near to a POSIX shell, not the same.
//!
//! Not here: which words are expanded, and with which variables. Invariant: depth and size of an expansion are
//! bounded, so no chain of variables exhausts the machine.

use super::pattern::{Reach, replaced, without_prefix, without_suffix};
use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// Variables by name.
pub trait Lookup {
    /// The value, if the variable is set.
    fn value(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn value(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// How a text is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// The character that takes the next one literally.
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) keep_quotes: bool,
    /// Escapes stay in the result.
    pub(crate) keep_escapes: bool,
    /// Variables that are not set stay in the result.
    pub(crate) keep_unset: bool,
    /// Quotes are characters like any other.
    pub(crate) plain_quotes: bool,
}

impl Mode {
    pub(crate) fn new(escape: char) -> Self {
        Self { escape, keep_quotes: false, keep_escapes: false, keep_unset: false, plain_quotes: false }
    }
}

/// What a text became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lexed {
    pub(crate) text: String,
    /// The same, split at blanks that are not quoted.
    pub(crate) words: Vec<String>,
    pub(crate) matched: BTreeSet<String>,
    pub(crate) unmatched: BTreeSet<String>,
}

/// How deep `${a:-${b:-…}}` may go.
const DEPTH: usize = 128;
/// How much longer than the text its expansion may be.
const GROWTH: usize = 1 << 20;

/// Reads `text`.
///
/// # Errors
/// A quote or brace that is not closed, a substitution that is malformed or fails; what was seen of variables
/// until then comes with it.
pub(crate) fn lex(text: &str, mode: Mode, variables: &dyn Lookup) -> Result<Lexed, (String, Lexed)> {
    let mut lexer = Lexer {
        chars: text.chars().peekable(),
        mode,
        variables,
        matched: BTreeSet::new(),
        unmatched: BTreeSet::new(),
        depth: 0,
        limit: text.len() + GROWTH,
    };
    let result = lexer.until(None, mode.keep_escapes);
    let seen = Lexed { matched: lexer.matched, unmatched: lexer.unmatched, ..Lexed::default() };
    match result {
        Ok((text, words)) => Ok(Lexed { text, words, ..seen }),
        Err(message) => Err((format!("failed to process {text:?}: {message}"), seen)),
    }
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    mode: Mode,
    variables: &'a dyn Lookup,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
    depth: usize,
    limit: usize,
}

/// The result so far, as text and as words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// A character that splits words if it is a blank.
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.split(c);
    }

    fn split(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// A character that belongs to the word whatever it is.
    fn push_quoted(&mut self, c: char) {
        self.text.push(c);
        self.word.push(c);
    }

    fn extend_quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn extend(&mut self, text: &str) {
        self.text.push_str(text);
        text.chars().for_each(|c| self.split(c));
    }

    fn finish(mut self) -> (String, Vec<String>) {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        (self.text, self.words)
    }
}

type Step<T> = Result<T, String>;

impl Lexer<'_> {
    /// Reads up to `stop`, which is taken and dropped, or to the end.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool) -> Step<(String, Vec<String>)> {
        let outer = std::mem::replace(&mut self.mode.keep_escapes, keep_escapes);
        let result = self.until_inner(stop);
        self.mode.keep_escapes = outer;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Step<(String, Vec<String>)> {
        let mut output = Output::default();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(output.finish());
            }
            match c {
                '$' => output.extend(&self.dollar()?),
                '\'' if !self.mode.plain_quotes => output.extend_quoted(&self.single_quoted()?),
                '"' if !self.mode.plain_quotes => output.extend_quoted(&self.double_quoted()?),
                '<' if !self.mode.plain_quotes => output.extend_quoted(&self.redirection()),
                _ => self.plain(&mut output),
            }
            if output.text.len() > self.limit {
                return Err("the result would be larger than 1 MiB".to_owned());
            }
        }
        match stop {
            None => Ok(output.finish()),
            Some(c) => Err(format!("unexpected end of statement while looking for matching {c}")),
        }
    }

    /// A character without a meaning, or an escape with the character it protects.
    fn plain(&mut self, output: &mut Output) {
        let Some(c) = self.chars.next() else { return };
        if c != self.mode.escape {
            return output.push(c);
        }
        if self.mode.keep_escapes {
            output.push_quoted(c);
        }
        if let Some(protected) = self.chars.next() {
            output.push_quoted(protected);
        }
    }

    fn single_quoted(&mut self) -> Step<String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.chars.peek() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote".to_owned()
                    );
                }
                Some('\'') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some(&c) => {
                    text.push(c);
                    self.chars.next();
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Step<String> {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.chars.peek().copied() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote".to_owned()
                    );
                }
                Some('"') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) => {
                    self.chars.next();
                    if c == self.mode.escape {
                        self.escaped_in_quotes(&mut text);
                    } else {
                        text.push(c);
                    }
                }
            }
            if text.len() > self.limit {
                return Err("the result would be larger than 1 MiB".to_owned());
            }
        }
    }

    /// Takes the quote, and keeps it where quotes are kept.
    fn quote(&mut self, text: &mut String) {
        if let Some(quote) = self.chars.next().filter(|_| self.mode.keep_quotes) {
            text.push(quote);
        }
    }

    /// Between double quotes an escape means something before `"`, `$` and itself only.
    fn escaped_in_quotes(&mut self, text: &mut String) {
        let escape = self.mode.escape;
        if self.mode.keep_escapes {
            text.push(escape);
        }
        match self.chars.next_if(|&c| c == '"' || c == '$' || c == escape) {
            Some(protected) => text.push(protected),
            None if self.chars.peek().is_some() => text.push(escape),
            None => {}
        }
    }

    /// `<<` takes the blanks behind it into its word, so that `<< EOF` is one.
    fn redirection(&mut self) -> String {
        let mut text = String::from("<");
        self.chars.next();
        if let Some(c) = self.chars.next_if_eq(&'<') {
            text.push(c);
            while let Some(blank) = self.chars.next_if(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
                text.push(blank);
            }
            // `<<-` does so, too.
            if let Some(minus) = self.chars.next_if(|&c| c == '-' && text == "<<") {
                text.push(minus);
                while let Some(blank) = self.chars.next_if(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
                    text.push(blank);
                }
            }
        }
        text
    }

    fn dollar(&mut self) -> Step<String> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.look_up(&name) {
                None if self.mode.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        if self.depth >= DEPTH {
            return Err("substitutions are nested too deeply".to_owned());
        }
        self.depth += 1;
        let result = self.braced();
        self.depth -= 1;
        result
    }

    fn braced(&mut self) -> Step<String> {
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let Some(c) = self.chars.next() else { return Err("syntax error: missing '}'".to_owned()) };
        match c {
            '}' => Ok(match self.look_up(&name) {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => match self.chars.next() {
                Some(operator @ ('+' | '-' | '?')) => self.alternative(&name, operator, true),
                Some(other) => Err(format!("unsupported modifier (:{other}) in substitution")),
                None => Err("syntax error: missing '}'".to_owned()),
            },
            '+' | '-' | '?' => self.alternative(&name, c, false),
            '#' | '%' => self.stripped(&name, c),
            '/' => self.replacement(&name),
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// `-w`, `+w`, `?w`, with `:` before them where an empty value counts as none.
    fn alternative(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Step<String> {
        let word = self.operand('}', false)?;
        let value = self.look_up(name);
        if value.is_none() && self.mode.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let usable = value.clone().filter(|v| !(empty_is_unset && v.is_empty()));
        match operator {
            '-' => Ok(usable.unwrap_or(word)),
            '+' => Ok(usable.map(|_| word).unwrap_or_default()),
            _ => usable.ok_or_else(|| {
                let reason = if value.is_none() { "unset" } else { "empty" };
                match word.as_str() {
                    "" => format!("{name}: is not allowed to be {reason}"),
                    message => format!("{name}: {message}"),
                }
            }),
        }
    }

    fn stripped(&mut self, name: &str, operator: char) -> Step<String> {
        let word = self.operand('}', true)?;
        let value = self.look_up(name);
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let (pattern, reach) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, Reach::Longest),
            None => (word.as_str(), Reach::Shortest),
        };
        let strip = if operator == '#' { without_prefix } else { without_suffix };
        strip(&value.unwrap_or_default(), pattern, reach)
            .map_err(|why| format!("invalid pattern ({pattern}) in substitution: {why}"))
    }

    fn replacement(&mut self, name: &str) -> Step<String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.operand('/', true)?;
        let by = self.operand('}', true)?;
        let value = self.look_up(name);
        if value.is_none() && self.mode.keep_unset {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{by}}}"));
        }
        let value = value.unwrap_or_default();
        if value.len().saturating_mul(by.len().max(1)) > self.limit.saturating_mul(64) {
            return Err("the result would be larger than 1 MiB".to_owned());
        }
        replaced(&value, &pattern, &by, all)
            .map_err(|why| format!("invalid pattern ({pattern}) in substitution: {why}"))
    }

    /// A part of a substitution, up to `stop`.
    fn operand(&mut self, stop: char, keep_escapes: bool) -> Step<String> {
        self.until(Some(stop), keep_escapes).map(|(text, _)| text).map_err(|error| {
            match (self.chars.peek(), stop) {
                (None, '/') => "syntax error: missing '/' in ${}".to_owned(),
                (None, _) => "syntax error: missing '}'".to_owned(),
                _ => error,
            }
        })
    }

    /// A name, a number, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(&first) = self.chars.peek() else { return name };
        if first.is_numeric() {
            while let Some(digit) = self.chars.next_if(|c| c.is_numeric()) {
                name.push(digit);
            }
        } else if "@*#?-$!".contains(first) {
            name.extend(self.chars.next());
        } else {
            while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(c);
            }
        }
        name
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let value = self.variables.value(name);
        let set = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        set.insert(name.to_owned());
        value
    }
}
