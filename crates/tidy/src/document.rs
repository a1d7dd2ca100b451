//! What a Markdown document states that can be checked: tables, commands, paths.

/// The cells of the first table whose heading row starts with `first_heading`, without heading and rule.
#[must_use]
pub fn table_after(text: &str, first_heading: &str) -> Vec<Vec<String>> {
    let rows = text.lines().map(cells).skip_while(|row| row.first().is_none_or(|cell| cell != first_heading));
    rows.take_while(|row| !row.is_empty()).skip(2).collect()
}

fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line.trim().strip_prefix('|').and_then(|l| l.strip_suffix('|')) else {
        return Vec::new();
    };
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The lines inside fences, without their comments (from ` #` on) and empty lines.
#[must_use]
pub fn code_lines(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside && !line.trim_start().starts_with('#') {
            let command = line.split(" #").next().unwrap_or_default().trim();
            lines.extend((!command.is_empty()).then(|| command.to_owned()));
        }
    }
    lines
}

/// Paths of this repository that the text names in backticks or links to: `crates/…`, `benches/…`, `./test`.
#[must_use]
pub fn named_paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_path = |word: &&str| {
        ["crates/", "benches/", "fuzz/", ".ci/", "./"].iter().any(|start| word.starts_with(start))
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
    };
    let is_link = |word: &&str| !word.contains("://") && !word.starts_with('#');
    let quoted = quoted.map(|q| q.split_whitespace().next().unwrap_or_default()).filter(is_path);
    quoted.chain(linked.filter(is_link)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_its_first_heading() {
        let text = "x\n| a | b |\n| - | - |\n| 0 | 0 |\n\n| crate | uses |\n| --- | --- |\n| oci | – |\n| sys | oci |\nend\n";
        assert_eq!(table_after(text, "crate"), [["oci", "–"], ["sys", "oci"]]);
        assert!(table_after(text, "nothing").is_empty());
    }

    #[test]
    fn commands_lose_their_comments() {
        let text = "say `x`\n```sh\n# first\nberth pull a   # why\n\nberth ps\n```\nberth not\n";
        assert_eq!(code_lines(text), ["berth pull a", "berth ps"]);
    }

    #[test]
    fn paths_are_those_of_this_repository() {
        let text =
            "see `crates/x/y.rs`, `./test fast`, `/etc/x`, [l](README.md) [w](https://a.b) `a/b` [s](#x)";
        assert_eq!(named_paths(text), ["crates/x/y.rs", "./test", "README.md"]);
    }
}
