//! Operands before and after substitution.
//!
//! An operand stays a [`Word`] until the builder knows the variables. Invariant: all words of one instruction see
//! the variables as they were before it, so one [`Expander`] serves one instruction.

use super::shell::{Lookup, Mode, lex};
use std::collections::BTreeSet;
use std::fmt;

/// An operand as written: quotes, escapes and variables still in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Word {
    /// The text.
    pub text: String,
    /// The file's escape character.
    pub escape: char,
}

impl Word {
    pub(crate) fn new(text: impl Into<String>, escape: char) -> Self {
        Self { text: text.into(), escape }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A substitution that failed: `${x:?why}`, a brace or quote that is not closed, a size without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandError(pub String);

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExpandError {}

impl From<ExpandError> for berth_oci::Error {
    fn from(error: ExpandError) -> Self {
        Self::invalid(error.0)
    }
}

/// Expands the words of one instruction, and remembers which variables they asked for.
pub struct Expander<'v> {
    variables: &'v dyn Lookup,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

impl<'v> Expander<'v> {
    /// Expands with these variables.
    pub fn new(variables: &'v dyn Lookup) -> Self {
        Self { variables, matched: BTreeSet::new(), unmatched: BTreeSet::new() }
    }

    /// The word without quotes and escapes, its variables replaced.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn word(&mut self, word: &Word) -> Result<String, ExpandError> {
        self.run(&word.text, Mode::new(word.escape)).map(|(text, _)| text)
    }

    /// The same for a word that may not be there.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn optional(&mut self, word: Option<&Word>) -> Result<Option<String>, ExpandError> {
        word.map(|word| self.word(word)).transpose()
    }

    /// The same for several words.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn words(&mut self, words: &[Word]) -> Result<Vec<String>, ExpandError> {
        words.iter().map(|word| self.word(word)).collect()
    }

    /// The expansion split at blanks that are not quoted: `EXPOSE $PORTS`.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn split(&mut self, word: &Word) -> Result<Vec<String>, ExpandError> {
        self.run(&word.text, Mode::new(word.escape)).map(|(_, words)| words)
    }

    /// The body of a heredoc: variables are replaced, quotes mean nothing, `\` is the escape whatever the file says.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub fn body(&mut self, text: &str) -> Result<String, ExpandError> {
        self.run(text, Mode { plain_quotes: true, ..Mode::new('\\') }).map(|(text, _)| text)
    }

    /// A text of another language: variables are replaced, and nothing else means anything.
    ///
    /// # Errors
    /// See [`ExpandError`].
    pub(crate) fn raw(&mut self, text: &str) -> Result<String, ExpandError> {
        self.run(text, Mode { plain_quotes: true, ..Mode::new('\0') }).map(|(text, _)| text)
    }

    /// A text to show: variables that are set are replaced, quotes stay, and what is malformed is shown as it is.
    #[must_use]
    pub fn shown(&self, text: &str, escape: char) -> String {
        let mode = Mode { keep_quotes: true, keep_unset: true, ..Mode::new(escape) };
        lex(text, mode, self.variables).map_or_else(|_| text.to_owned(), |lexed| lexed.text)
    }

    /// The variables that were asked for and set.
    #[must_use]
    pub fn matched(&self) -> &BTreeSet<String> {
        &self.matched
    }

    /// The variables that were asked for and not set.
    #[must_use]
    pub fn unmatched(&self) -> &BTreeSet<String> {
        &self.unmatched
    }

    fn run(&mut self, text: &str, mode: Mode) -> Result<(String, Vec<String>), ExpandError> {
        let (seen, result) = match lex(text, mode, self.variables) {
            Ok(lexed) => {
                let result = Ok((lexed.text.clone(), lexed.words.clone()));
                (lexed, result)
            }
            Err((message, seen)) => (seen, Err(ExpandError(message))),
        };
        self.matched.extend(seen.matched);
        self.unmatched.extend(seen.unmatched);
        result
    }
}
