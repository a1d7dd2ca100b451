//! Paths without `.`, `..` and doubled slashes, by their text alone (Go's `path.Clean`).
//!
//! Invariant: no file is looked at.

/// The shortest path that says the same; `.` for an empty one.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            component => kept.push(component),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.as_str()) {
        (true, _) => format!("/{joined}"),
        (false, "") => ".".to_owned(),
        (false, _) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, expected) in [
            ("", "."),
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("../a/..", ".."),
            ("/../a", "/a"),
            ("/", "/"),
            ("a/..", "."),
            ("../../a", "../../a"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
