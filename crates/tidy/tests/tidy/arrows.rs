//! Which crate may know which: the table in ARCHITECTURE.md is the law, the manifests must match it exactly.

use std::collections::BTreeMap;
use tidy::{Package, Packages, Tree, table_after};

/// What a heavy or dangerous dependency is for, and the one crate that may ask for it.
const KEPT_IN: &[(&str, &str)] = &[
    ("clap", "berth"),
    // Old logs, which are compressed and read where nothing is known of stores.
    ("flate2", "berth-runtime"),
    ("flate2", "berth-store"),
    ("rusqlite", "berth-store"),
    ("rustls", "berth-distribution"),
    ("ureq", "berth-distribution"),
    ("zstd", "berth-store"),
];

fn table() -> BTreeMap<String, Vec<String>> {
    let rows = table_after(&Tree::here().read("ARCHITECTURE.md"), "crate");
    assert!(!rows.is_empty(), "ARCHITECTURE.md has no table that starts with `crate`");
    let full = |word: &str| if word == "berth" { word.to_owned() } else { format!("berth-{word}") };
    rows.iter()
        .map(|row| {
            let uses = row[1].split(',').map(str::trim).filter(|w| !w.is_empty() && *w != "–");
            (row[0].trim_matches('`').to_owned(), uses.map(full).collect())
        })
        .collect()
}

fn asked_for(package: &Package, dev: bool) -> Vec<String> {
    let ours = package.dependencies.iter().filter(|d| d.name.starts_with("berth"));
    let mut names: Vec<_> = ours.filter(|d| dev || !d.is_dev).map(|d| d.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn arrows_are_those_of_the_table() {
    let (table, packages) = (table(), Packages::of(Tree::here().root()));
    let mut found = BTreeMap::new();
    for package in packages.ours().filter(|p| p.name != "tidy") {
        found.insert(package.name.clone(), asked_for(package, false));
    }
    for (name, uses) in &found {
        let mut allowed =
            table.get(name).unwrap_or_else(|| panic!("ARCHITECTURE.md does not know {name}")).clone();
        allowed.sort();
        assert_eq!(uses, &allowed, "{name}: Cargo.toml (left) and ARCHITECTURE.md (right) differ");
    }
    for name in table.keys() {
        assert!(found.contains_key(name), "ARCHITECTURE.md describes {name}, which is not there");
    }
}

#[test]
fn tests_do_not_look_up_either() {
    let table = table();
    for package in Packages::of(Tree::here().root()).ours().filter(|p| p.name != "tidy") {
        let allowed = below(&package.name, &table);
        for name in asked_for(package, true) {
            assert!(
                allowed.contains(&name),
                "the tests of {} use {name}, which is not below it",
                package.name
            );
        }
    }
}

/// Everything that can be reached from `name` along the arrows.
fn below(name: &str, table: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut reached = table[name].clone();
    let mut next = 0;
    while next < reached.len() {
        for further in table[&reached[next]].clone() {
            if !reached.contains(&further) {
                reached.push(further);
            }
        }
        next += 1;
    }
    assert!(!reached.contains(&name.to_owned()), "the arrows from {name} lead back to it");
    reached
}

#[test]
fn heavy_dependencies_stay_in_their_room() {
    for package in Packages::of(Tree::here().root()).ours() {
        for dependency in package.dependencies.iter().filter(|d| !d.is_dev) {
            let heavy = &dependency.name;
            let homes: Vec<_> =
                KEPT_IN.iter().filter(|(kept, _)| kept == heavy).map(|(_, home)| *home).collect();
            let is_at_home = homes.is_empty() || homes.contains(&package.name.as_str());
            assert!(is_at_home, "{heavy} belongs to {} alone", homes.join(" and "));
        }
    }
}
