//! "Did you mean": the nearest of some words.
//!
//! Invariant: a word that is one of them gets no suggestion, and nothing three or more edits away is one.

/// The nearest of `options` within two edits. With `any_case`, case does not count and the answer takes the
/// case of `word`.
#[must_use]
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>, any_case: bool) -> Option<String> {
    let fold = |text: &str| if any_case { text.to_lowercase() } else { text.to_owned() };
    let folded = fold(word);
    let mut best = None;
    let mut least = 3;
    for option in options {
        let candidate = fold(option);
        if candidate == folded {
            return None;
        }
        let distance = edits(&folded, &candidate);
        if distance < least {
            (least, best) = (distance, Some(if any_case { in_case_of(word, &candidate) } else { candidate }));
        }
    }
    best
}

/// ` (did you mean x?)`, or nothing.
#[must_use]
pub fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|word| format!(" (did you mean {word}?)")).unwrap_or_default()
}

fn in_case_of(model: &str, word: &str) -> String {
    if model == model.to_lowercase() {
        word.to_lowercase()
    } else if model == model.to_uppercase() {
        word.to_uppercase()
    } else {
        word.to_owned()
    }
}

/// How many insertions, deletions and replacements lead from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // Longer words are never within two edits of a name that we know; the row below stays short.
    if a.len().abs_diff(b.len()) > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        let words = ["RUN", "COPY", "WORKDIR", "build"];
        for (word, any_case, expected) in [
            ("RUNN", true, Some("RUN")),
            ("runn", true, Some("run")),
            ("RUN", true, None),
            ("run", false, None),
            ("COPPPPY", true, None),
            ("biuld", false, Some("build")),
            ("WROKDIR", true, Some("WORKDIR")),
            ("", true, None),
        ] {
            assert_eq!(nearest(word, words, any_case).as_deref(), expected, "{word}");
        }
    }
}
