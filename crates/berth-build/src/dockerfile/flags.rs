//! The flags of instructions: `--link`, `--chown=…`, `--mount=… --mount=…`.
//!
//! Not here: what their values mean. Invariant: a flag that the instruction does not know is an error.

use super::error::Fault;
use super::operand::Token;
use super::suggest::nearest;

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None, `true` or `false`.
    Bool,
    /// One.
    Text,
    /// One each time it is given.
    List,
}

/// The flags an instruction has been given.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<(String, Token)>,
}

impl Flags {
    /// Reads `tokens` as the flags in `known`.
    pub(super) fn read(tokens: &[Token], known: &[(&str, Kind)]) -> Result<Self, Fault> {
        let mut given: Vec<(String, Token)> = Vec::new();
        for token in tokens {
            let flag = token.text.strip_prefix("--").unwrap_or(&token.text);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let fault = |message: String| Fault::new(message).at(token.at, token.text.len());
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let suggestion = nearest(name, known.iter().map(|(known, _)| *known), false);
                return Err(fault(format!("unknown flag: --{name}")).suggest(suggestion));
            };
            if *kind != Kind::List && given.iter().any(|(other, _)| other == name) {
                return Err(fault(format!("duplicate flag specified: --{name}")));
            }
            let value = match (kind, value) {
                (Kind::Bool, None) => "true".to_owned(),
                (_, None) | (Kind::Bool, Some("")) => {
                    return Err(fault(format!("missing a value on flag: --{name}")));
                }
                (Kind::Bool, Some(value)) => {
                    let lower = value.to_lowercase();
                    if lower != "true" && lower != "false" {
                        return Err(fault(format!(
                            "expecting boolean value for flag --{name}, not: {value}"
                        )));
                    }
                    lower
                }
                (_, Some(value)) => value.to_owned(),
            };
            given.push((name.to_owned(), Token { text: value, at: token.at }));
        }
        Ok(Self { given })
    }

    /// The value of a flag; an empty one is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&Token> {
        self.all(name).next().filter(|token| !token.text.is_empty())
    }

    /// The value of a flag, if it is given.
    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        self.all(name).next().map(|token| token.text == "true")
    }

    /// The values of a flag.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Token> {
        self.given.iter().filter(move |(given, _)| given == name).map(|(_, token)| token)
    }
}
