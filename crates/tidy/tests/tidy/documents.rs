//! What the documents say about the repository is true, in both languages.

use tidy::{Tree, code_lines, named_paths};

const DOCUMENTS: &[&str] =
    &["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

#[test]
fn paths_in_documents_exist() {
    let tree = Tree::here();
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        for path in named_paths(&tree.read(document)) {
            let is_there = tree.has(path.split('#').next().unwrap_or_default());
            missing.extend((!is_there).then(|| format!("{document}: {path}")));
        }
    }
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
}

#[test]
fn both_readmes_show_the_same_commands() {
    let tree = Tree::here();
    let english = code_lines(&tree.read("README.md"));
    assert!(english.len() > 10, "README.md shows hardly any command");
    assert_eq!(english, code_lines(&tree.read("README.zh-CN.md")));
}

#[test]
fn both_readmes_have_the_same_sections() {
    let sections = |path: &str| Tree::here().read(path).lines().filter(|l| l.starts_with('#')).count();
    assert_eq!(sections("README.md"), sections("README.zh-CN.md"));
}

#[test]
fn the_first_two_commands_are_there() {
    for script in ["quickstart", "test", ".ci/run", "benches/images"] {
        let path = Tree::here().root().join(script);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect(script).permissions());
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be executed");
    }
}
