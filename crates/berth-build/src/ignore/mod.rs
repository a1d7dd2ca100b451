//! What a build context leaves out: `.dockerignore`, and `--exclude` patterns, which read the same.
//!
//! Not here: walking a directory. Invariant: the last pattern that matches a path or one of its parents decides.

mod clean;
mod file;
mod pattern;

pub use clean::clean;
pub use file::{IgnoreFile, Rule};

use berth_oci::{Error, Result};
use pattern::Pattern;

/// Patterns that can be asked about paths.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// What the patterns say about a directory; its children start from that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Which patterns matched it or a directory above it; empty for the root.
    matched: Vec<bool>,
}

impl Ignore {
    /// Compiles the rules of a file.
    ///
    /// # Errors
    /// A pattern is malformed, or a lone `!`.
    pub fn new(file: &IgnoreFile) -> Result<Self> {
        let place = |rule: &Rule| format!("{}:{}", file.name, rule.line);
        let compiled = file.rules.iter().map(|rule| {
            Pattern::new(&rule.pattern, rule.line).map_err(|message| {
                Error::invalid(format!("{message} ({})", place(rule)))
                    .hint("`[` opens a class that needs a `]`, and `!` must be followed by a pattern")
            })
        });
        Ok(Self { patterns: compiled.filter_map(Result::transpose).collect::<Result<_>>()? })
    }

    /// Compiles patterns that stand in no file.
    ///
    /// # Errors
    /// A pattern is malformed, or a lone `!`.
    pub fn of_patterns<S: AsRef<str>>(patterns: &[S]) -> Result<Self> {
        let compiled =
            patterns.iter().map(|pattern| Pattern::new(pattern.as_ref(), 0).map_err(Error::invalid));
        Ok(Self { patterns: compiled.filter_map(Result::transpose).collect::<Result<_>>()? })
    }

    /// The patterns as text, `!` before those that bring back.
    #[must_use]
    pub fn rules(&self) -> Vec<String> {
        self.patterns.iter().map(Pattern::rule).collect()
    }

    /// Line, text and effect of each pattern.
    pub(crate) fn lines(&self) -> Vec<(usize, String, bool)> {
        self.patterns.iter().map(|pattern| (pattern.line, pattern.rule(), pattern.exception)).collect()
    }

    /// Which pattern decides about `path`: the last one that changes what those before it said.
    pub(crate) fn deciding(&self, path: &str) -> Option<usize> {
        let decided = self.decided_by(path)?;
        self.patterns.iter().position(|pattern| std::ptr::eq(pattern, decided))
    }

    /// Whether no pattern is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern with `!` is there.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether `path`, relative and with `/`, is left out.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.decided_by(path).is_some_and(|pattern| !pattern.exception)
    }

    /// The line of the ignore file that leaves `path` out, if it is left out.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<usize> {
        self.decided_by(path).filter(|pattern| !pattern.exception).map(|pattern| pattern.line)
    }

    /// Whether every name is left out: a pattern is `*` or `**`.
    #[must_use]
    pub fn leaves_out_everything(&self) -> bool {
        self.patterns.iter().any(|pattern| !pattern.exception && pattern.is_everything())
    }

    /// The last pattern that matches and changes what those before it said.
    fn decided_by(&self, path: &str) -> Option<&Pattern> {
        let mut decision = None;
        let mut ignored = false;
        for pattern in &self.patterns {
            if pattern.exception == ignored && pattern.matches_with_parents(path) {
                ignored = !pattern.exception;
                decision = Some(pattern);
            }
        }
        decision
    }

    /// Whether `path` is left out, given what is known about its directory; and what its children inherit.
    #[must_use]
    pub fn step(&self, parent: &Inherited, path: &str) -> (bool, Inherited) {
        let mut ignored = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.matched.get(index).copied().unwrap_or_default();
            matched[index] = inherited || pattern.matches(path);
            if matched[index] && pattern.exception == ignored {
                ignored = !pattern.exception;
            }
        }
        (ignored, Inherited { matched })
    }

    /// Whether an exception can bring back something below a directory that is left out. If not, nobody needs to
    /// look into it.
    #[must_use]
    pub fn may_bring_back_below(&self, directory: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception && pattern.can_match_below(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json;

    fn ignore(text: &str) -> Ignore {
        Ignore::new(&IgnoreFile::parse(".dockerignore", text.as_bytes())).expect("good patterns")
    }

    #[test]
    fn the_last_match_decides() {
        for (text, path, line) in [
            ("a", "a", Some(1)),
            ("a", "a/b/c", Some(1)),
            ("a", "b/a", None),
            ("**/a", "b/a/c", Some(1)),
            ("/a/", "a", Some(1)),
            ("*\n!a", "a", None),
            ("*\n!a/b\n*.c", "a/b", None),
            ("*\n!a\n# x\na/*.c", "a/x.c", Some(4)),
            ("*\n!a\na/*.c", "a/x.d", None),
            ("a*b", "a/b", None),
            ("a**b", "a/x/b", Some(1)),
            ("**", "x/y", Some(1)),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", Some(3)),
            ("a/**/c", "a/c", Some(1)),
            ("a/**", "a", None),
            ("a/**", "a/b", Some(1)),
            ("f.go", "fxgo", None),
            ("\\#x", "#x", Some(1)),
            ("[a-c]?", "b\u{e9}", Some(1)),
            ("[.]x", ".x", Some(1)),
        ] {
            assert_eq!(ignore(text).line(path), line, "{text:?} {path}");
        }
    }

    #[test]
    fn walking_down_says_the_same_as_asking() {
        let texts = ["*\n!a/b\na/b/*.c", "**/x\n!a/**/x", "a\n!a/b\na/b/c", "!a\na", "**\n!a"];
        let paths = ["a", "a/b", "a/b/x", "a/b/y.c", "x/y", "a/b/c/d", "a/x"];
        for text in texts {
            let ignore = ignore(text);
            for path in paths {
                let mut state = (false, Inherited::default());
                for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
                    state = ignore.step(&state.1, &path[..at]);
                }
                assert_eq!(state.0, ignore.matches(path), "{text:?} {path}");
            }
        }
    }

    #[test]
    fn a_directory_is_skipped_when_nothing_comes_back() {
        for (text, directory, expected) in [
            ("a", "a", false),
            ("a\n!a/b", "a", true),
            ("a\n!a/b", "a/c", false),
            ("a\n!a/b", "a/b", true),
            ("a\n!b", "a", false),
            ("a\n!**/x", "a", true),
            ("a\n!*/x", "a", true),
            ("a\n!b*/x", "a", false),
            ("abc\n!abd/x", "abc", false),
        ] {
            assert_eq!(ignore(text).may_bring_back_below(directory), expected, "{text:?} {directory}");
        }
    }

    #[test]
    fn malformed_patterns_name_their_line() {
        for (text, message) in [
            ("a\n!", "illegal exclusion pattern: \"!\" (.dockerignore:2)"),
            ("[", "syntax error in pattern: \"[\" (.dockerignore:1)"),
            ("[b-a]", "syntax error in pattern: \"[b-a]\" (.dockerignore:1)"),
        ] {
            let file = IgnoreFile::parse(".dockerignore", text.as_bytes());
            assert_eq!(Ignore::new(&file).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn the_tables_are_met() {
        let Some(cases) = json("dockerignore/cases.json") else { return };
        for case in cases.as_array().expect("a list") {
            let patterns: Vec<&str> =
                case["patterns"].as_array().expect("a list").iter().filter_map(|p| p.as_str()).collect();
            let found = Ignore::of_patterns(&patterns);
            if case["error"] == true {
                assert!(found.is_err(), "{case}");
                continue;
            }
            let path = case["path"].as_str().expect("text");
            assert_eq!(Some(found.expect("good").matches(path)), case["ignored"].as_bool(), "{case}");
        }
    }
}
