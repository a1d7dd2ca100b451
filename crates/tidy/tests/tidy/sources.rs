//! What every Rust file keeps to, beyond what the compiler and clippy see.

use tidy::{File, Tree};

/// Longer than this, a file holds two rooms. Tests count, too.
const LINE_LIMIT: usize = 600;

/// Files that may be longer, each with the reason.
const LONGER: &[(&str, usize, &str)] = &[];

/// What must not appear, and why. Split so that this file does not hold them itself.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished code does not land"),
    (concat!("unimpl", "emented!("), "unfinished code does not land"),
    (concat!("#[ig", "nore"), "a test that does not run is no test"),
    (concat!("db", "g!("), "left over from debugging"),
];

fn check(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn a_file_starts_by_saying_what_it_is() {
    let has_head = |file: &File| file.text.starts_with("//! ");
    check(
        Tree::here()
            .rust()
            .iter()
            .filter(|f| !has_head(f))
            .map(|f| format!("{}: no `//!` head", f.path))
            .collect(),
    );
}

#[test]
fn a_file_is_one_room() {
    let limit =
        |path: &str| LONGER.iter().find(|(p, ..)| *p == path).map_or(LINE_LIMIT, |(_, limit, _)| *limit);
    let files = Tree::here().rust();
    let long = |f: &&File| f.text.lines().count() > limit(&f.path);
    let mut broken: Vec<_> =
        files.iter().filter(long).map(|f| format!("{}: {} lines", f.path, f.text.lines().count())).collect();
    for (path, ..) in LONGER {
        let needed = files.iter().any(|f| f.path == *path && f.text.lines().count() > LINE_LIMIT);
        broken.extend((!needed).then(|| format!("{path}: needs no exception any more")));
    }
    check(broken);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut broken = Vec::new();
    for file in Tree::here().rust() {
        for (number, line) in file.text.lines().enumerate() {
            let found = FORBIDDEN.iter().find(|(word, _)| line.contains(word));
            broken.extend(found.map(|(word, why)| format!("{}:{}: {word}: {why}", file.path, number + 1)));
        }
    }
    check(broken);
}

/// Tests wait for events; where only time itself will do, the line or the one above says why.
#[test]
fn a_sleep_explains_itself() {
    let mut broken = Vec::new();
    for file in Tree::here().rust() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in
            lines.iter().enumerate().filter(|(_, l)| l.contains(concat!("thread::sl", "eep(")))
        {
            let above = number.checked_sub(1).map_or("", |n| lines[n]);
            if !line.contains("//") && !above.contains("//") {
                broken.push(format!("{}:{}: sleeps without a reason", file.path, number + 1));
            }
        }
    }
    check(broken);
}

#[test]
fn unsafe_code_has_one_room() {
    let word = concat!("uns", "afe");
    let is_code = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word) && !code.contains('"')
    };
    let elsewhere = |f: &File| !f.path.starts_with("crates/berth-sys/src/") && f.text.lines().any(is_code);
    check(Tree::here().rust().into_iter().filter(elsewhere).map(|f| format!("{}: {word}", f.path)).collect());
}
