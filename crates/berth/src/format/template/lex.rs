//! Template text into tokens, as Go's `text/template/parse` cuts it.
//!
//! Invariant: a token's position is a byte offset into the text, on a character border.

use super::Fault;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Open,
    Close,
    Space,
    Dot,
    Field,
    Variable,
    Word,
    Bool,
    Nil,
    Number,
    Char,
    Quoted,
    Raw,
    Pipe,
    Declare,
    Assign,
    Comma,
    LeftParen,
    RightParen,
    End,
}

/// A piece of the text.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    pub(super) text: String,
}

/// Cuts the whole text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    lexer.run()?;
    lexer.push(Kind::End, lexer.at, "");
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, at: usize, text: &str) {
        self.tokens.push(Token { kind, at, text: text.to_owned() });
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at_line(self.text, self.at, message)
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut trim_next = false;
        loop {
            let open = self.rest().find("{{");
            let mut plain = &self.rest()[..open.unwrap_or(self.rest().len())];
            let start = self.at;
            self.at += plain.len();
            if trim_next {
                plain = plain.trim_start_matches(SPACES);
            }
            let trims = open.is_some() && has_left_trim(&self.rest()[2..]);
            if trims {
                plain = plain.trim_end_matches(SPACES);
            }
            if !plain.is_empty() {
                self.push(Kind::Text, start, plain);
            }
            if open.is_none() {
                return Ok(());
            }
            let at = self.at;
            self.at += if trims { 4 } else { 2 };
            trim_next = match self.rest().starts_with("/*") {
                true => self.comment()?,
                false => {
                    self.push(Kind::Open, at, "{{");
                    self.action()?
                }
            };
        }
    }

    fn comment(&mut self) -> Result<bool, Fault> {
        let end = self.rest().find("*/").ok_or_else(|| self.fault("unclosed comment"))?;
        self.at += end + 2;
        match self.rest() {
            rest if rest.starts_with("}}") => {
                self.at += 2;
                Ok(false)
            }
            rest if has_right_trim(rest) => {
                self.at += 4;
                Ok(true)
            }
            _ => Err(self.fault("comment ends before closing delimiter")),
        }
    }

    /// Everything up to and with `}}`; answers whether it trims the text behind.
    fn action(&mut self) -> Result<bool, Fault> {
        let mut depth = 0usize;
        loop {
            let rest = self.rest();
            let trims = has_right_trim(rest);
            if trims || rest.starts_with("}}") {
                if depth > 0 {
                    return Err(self.fault("unclosed left paren"));
                }
                self.at += if trims { 4 } else { 2 };
                self.push(Kind::Close, self.at - 2, "}}");
                return Ok(trims);
            }
            let Some(c) = rest.chars().next() else { return Err(self.fault("unclosed action")) };
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return Err(self.fault("unexpected right paren")),
                ')' => depth -= 1,
                _ => {}
            }
            self.token(c)?;
        }
    }

    fn token(&mut self, first: char) -> Result<(), Fault> {
        let rest = self.rest();
        let next = rest[first.len_utf8()..].chars().next().unwrap_or(' ');
        match first {
            ' ' | '\t' | '\r' | '\n' => {
                let mut length = rest.len() - rest.trim_start_matches(SPACES).len();
                // The space before a trim marker belongs to the marker.
                if has_right_trim(&rest[length - 1..]) && length > 1 {
                    length -= 1;
                }
                self.take(Kind::Space, length);
            }
            '|' => self.take(Kind::Pipe, 1),
            ',' => self.take(Kind::Comma, 1),
            '(' => self.take(Kind::LeftParen, 1),
            ')' => self.take(Kind::RightParen, 1),
            ':' if next == '=' => self.take(Kind::Declare, 2),
            ':' => return Err(self.fault("expected :=")),
            '=' => self.take(Kind::Assign, 1),
            '"' => return self.quote('"', Kind::Quoted, "unterminated quoted string"),
            '\'' => return self.quote('\'', Kind::Char, "unterminated character constant"),
            '`' => match rest[1..].find('`') {
                Some(end) => self.take(Kind::Raw, end + 2),
                None => return Err(self.fault("unterminated raw quoted string")),
            },
            '.' if !next.is_ascii_digit() => {
                let length = 1 + word(&rest[1..]);
                self.take(if length == 1 { Kind::Dot } else { Kind::Field }, length);
                return self.terminated();
            }
            '$' => {
                self.take(Kind::Variable, 1 + word(&rest[1..]));
                return self.terminated();
            }
            c if c == '.' || c == '+' || c == '-' || c.is_ascii_digit() => return self.number(),
            c if c == '_' || c.is_alphabetic() => {
                let length = word(rest);
                let kind = match &rest[..length] {
                    "true" | "false" => Kind::Bool,
                    "nil" => Kind::Nil,
                    _ => Kind::Word,
                };
                self.take(kind, length);
                return self.terminated();
            }
            c => {
                return Err(self.fault(format!("unexpected {} in command", printable(c))));
            }
        }
        Ok(())
    }

    fn take(&mut self, kind: Kind, length: usize) {
        let text = &self.rest()[..length];
        self.push(kind, self.at, text);
        self.at += length;
    }

    /// After a word comes a delimiter, nothing else.
    fn terminated(&self) -> Result<(), Fault> {
        match self.rest().chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(' | '=') => Ok(()),
            Some('}') if self.rest().starts_with("}}") => Ok(()),
            Some(c) => Err(self.fault(format!("bad character {}", printable(c)))),
        }
    }

    fn quote(&mut self, quote: char, kind: Kind, message: &str) -> Result<(), Fault> {
        let mut escaped = false;
        for (index, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.take(kind, index + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.fault(message))
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let length = sign
            + rest[sign..]
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                .unwrap_or(rest.len() - sign);
        if super::parse::number(&rest[..length]).is_none() {
            return Err(self.fault(format!("bad number syntax: {}", super::print::quoted(&rest[..length]))));
        }
        self.take(Kind::Number, length);
        Ok(())
    }
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

fn has_left_trim(after_open: &str) -> bool {
    after_open.starts_with('-') && after_open[1..].starts_with(SPACES)
}

fn has_right_trim(rest: &str) -> bool {
    rest.starts_with(SPACES) && rest[1..].starts_with("-}}")
}

/// The length of the identifier at the start.
fn word(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

/// Go's `%#U`.
fn printable(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}
