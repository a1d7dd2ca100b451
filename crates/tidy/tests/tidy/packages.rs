//! What we build on: how much of it, from where, under which licence.

use std::collections::BTreeMap;
use tidy::{Packages, Tree, is_allowed};

/// Packages in Cargo.lock, ours included. Raising it is a sentence in a commit message.
const PACKAGE_CAP: usize = 200;

/// The packages that deny.toml lets be there in two versions.
fn excused_twins() -> Vec<String> {
    let text = Tree::here().read("deny.toml");
    let list = text
        .split_once("\nskip = [")
        .and_then(|(_, rest)| rest.split_once("\n]"))
        .expect("deny.toml has a list");
    let name = |line: &str| line.split_once("crate = \"")?.1.split('"').next().map(str::to_owned);
    list.0.lines().filter_map(name).collect()
}

/// The licences that deny.toml allows.
fn allowed_licences() -> Vec<String> {
    let text = Tree::here().read("deny.toml");
    let list = text
        .split_once("allow = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .expect("deny.toml has a list");
    list.0.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_lock_file_stays_small() {
    let count = Tree::here().read("Cargo.lock").matches("[[package]]").count();
    assert!(count <= PACKAGE_CAP, "Cargo.lock has {count} packages, the cap is {PACKAGE_CAP}");
}

#[test]
fn everything_comes_from_one_registry() {
    for line in Tree::here().read("Cargo.lock").lines().filter(|l| l.starts_with("source = ")) {
        assert!(line.contains("registry+https://github.com/rust-lang/crates.io-index"), "{line}");
    }
}

#[test]
fn every_licence_is_on_the_list() {
    let allowed = allowed_licences();
    for package in Packages::of(Tree::here().root()).all() {
        let licence = package.license.as_deref().unwrap_or_default();
        assert!(
            is_allowed(licence, &allowed),
            "{} {}: `{licence}` is not allowed by deny.toml",
            package.name,
            package.version
        );
    }
}

#[test]
fn nothing_is_built_twice() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in Packages::of(Tree::here().root()).all() {
        versions.entry(package.name.clone()).or_default().push(package.version.clone());
    }
    let excused = excused_twins();
    for (name, versions) in &versions {
        let message = "deny.toml excuses exactly the packages that are there twice";
        assert_eq!(versions.len() > 1, excused.contains(name), "{name} {}: {message}", versions.join(", "));
    }
}

#[test]
fn every_crate_keeps_the_lints() {
    for package in Packages::of(Tree::here().root()).ours() {
        let manifest = std::fs::read_to_string(&package.manifest).expect("cargo has just read it");
        let own_table =
            package.name == "berth-sys" && manifest.contains("undocumented_unsafe_blocks = \"deny\"");
        assert!(
            own_table || manifest.contains("[lints]\nworkspace = true"),
            "{} opts out of the lints",
            package.name
        );
    }
}

#[test]
fn nobody_lists_a_dependency_that_is_not_used() {
    let root = Tree::here().read("Cargo.toml");
    let table = root.split_once("[workspace.dependencies]").expect("there is one").1;
    let table = table.split("\n[").next().unwrap_or_default();
    let packages = Packages::of(Tree::here().root());
    let used: Vec<&str> = packages.ours().flat_map(|p| &p.dependencies).map(|d| d.name.as_str()).collect();
    for name in table.lines().filter_map(|l| l.split_once(" = ")).map(|(name, _)| name.trim()) {
        assert!(used.contains(&name), "Cargo.toml lists {name}, which no crate uses");
    }
}
