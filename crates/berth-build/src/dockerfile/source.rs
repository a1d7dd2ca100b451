//! The text of a Dockerfile and places in it: where an instruction stands, and the excerpt that shows it.
//!
//! Not here: what the text means. Invariant: lines and columns count from 1, as editors do.

use std::fmt::Write as _;

/// The lines of an instruction in its file, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first line.
    pub first: usize,
    /// The last line.
    pub last: usize,
}

impl Span {
    /// One line.
    #[must_use]
    pub fn line(line: usize) -> Self {
        Self { first: line, last: line }
    }

    fn contains(self, line: usize) -> bool {
        (self.first..=self.last).contains(&line)
    }
}

/// A place inside a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character of the line.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
}

/// A file's name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name as the user gave it.
    pub name: String,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Where each line begins: a file with many mistakes is asked for many excerpts.
    starts: Vec<usize>,
}

impl Source {
    /// A file called `name` with these bytes.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.to_owned(), text, starts }
    }

    /// A line without its end.
    fn line(&self, number: usize) -> &str {
        let start = self.starts[number - 1];
        let end = self.starts.get(number).map_or(self.text.len(), |next| next - 1);
        &self.text[start..end]
    }

    /// The lines around `spans`, those inside marked, as BuildKit shows them; empty where no line is meant.
    #[must_use]
    pub fn excerpt(&self, spans: &[Span]) -> String {
        self.excerpt_with(spans, None)
    }

    /// The same, with a line of `^` below the place inside.
    #[must_use]
    pub fn excerpt_at(&self, spans: &[Span], position: Position) -> String {
        self.excerpt_with(spans, Some(position))
    }

    fn excerpt_with(&self, spans: &[Span], position: Option<Position>) -> String {
        const RULE: &str = "--------------------\n";
        let Some((first, last)) = shown(spans, self.starts.len()) else { return String::new() };
        let start = spans.iter().map(|s| s.first).min().unwrap_or(first);
        let mut text = format!("{}:{start}", self.name);
        if let Some(place) = position {
            let _ = write!(text, ":{}", place.column);
        }
        text.push('\n');
        text.push_str(RULE);
        for number in first..=last {
            let line = self.line(number);
            let mark = if spans.iter().any(|s| s.contains(number)) { ">>>" } else { "   " };
            let _ = writeln!(text, "{number:4} | {mark} {}", line.trim_end_matches('\r'));
            if let Some(place) = position.filter(|p| p.line == number) {
                let _ = writeln!(text, "     |     {}", underline(line, place));
            }
        }
        text + RULE
    }
}

/// The first and the last line to show: the spans and a few lines around, more around a single line.
fn shown(spans: &[Span], count: usize) -> Option<(usize, usize)> {
    let mut first = spans.iter().map(|s| s.first).min().filter(|f| (1..=count).contains(f))?;
    let mut last = spans.iter().map(|s| s.last).max()?.clamp(first, count);
    let wanted = if first == last { 4 } else { 2 };
    let mut added = 0;
    while added < wanted {
        if first > 1 {
            first -= 1;
            added += 1;
        }
        if last < count {
            last += 1;
            added += 1;
        }
        added += 1;
    }
    Some((first, last))
}

/// Blanks (tabs stay tabs, so that the marks stand right), then the marks.
fn underline(line: &str, place: Position) -> String {
    let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
    let mut marks: String = line.chars().take(place.column - 1).map(blank).collect();
    marks.extend(std::iter::repeat_n('^', place.width.max(1)));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, spans: &[(usize, usize)], expected: &str) {
        let spans: Vec<Span> = spans.iter().map(|&(first, last)| Span { first, last }).collect();
        assert_eq!(Source::new("Dockerfile", text.as_bytes()).excerpt(&spans), expected);
    }

    #[test]
    fn an_excerpt_shows_the_neighbours() {
        check(
            "FROM a\nRUNN true\n",
            &[(2, 2)],
            "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUNN true\n   3 |     \n--------------------\n",
        );
        check(
            "FROM a\nRUN x \\\n  y\nCMD z\n",
            &[(2, 3)],
            "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN x \\\n   3 | >>>   y\n   4 |     CMD z\n--------------------\n",
        );
        check("FROM a", &[], "");
        check("FROM a", &[(7, 7)], "");
    }

    #[test]
    fn the_place_is_underlined() {
        let source = Source::new("x", b"\tFROM a b c");
        let place = Position { line: 1, column: 7, width: 3 };
        let shown = source.excerpt_at(&[Span::line(1)], place);
        assert_eq!(
            shown,
            "x:1:7\n--------------------\n   1 | >>> \tFROM a b c\n     |     \t     ^^^\n--------------------\n"
        );
    }
}
