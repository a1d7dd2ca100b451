//! Death at every durable step: whatever was under way, the store stays true and goes on.
//!
//! The test re-executes itself: the child finds a plan in its working directory, arms the fault and works until it
//! is killed.

use crate::sample::{Sample, pull};
use berth_oci::{CopyOptions, Platforms, Silent, copy};
use berth_store::fault::{self, Plan};
use berth_store::{CheckOptions, GcOptions, IngestOptions, KeepBlobs, Location, NewContainer, Store};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PLAN: &str = "crash-plan";
const ALL: GcOptions = GcOptions { grace: Duration::ZERO };

/// What a test does to a store. Each may be done again after it was broken off.
type Work = fn(&Store) -> berth_oci::Result<()>;

fn before(store: &Store) {
    pull(store, &Sample::image(&["base", "old"]), "old").unwrap();
    let container =
        NewContainer { id: "abc1", name: "old", image: None, document: "{}", volumes: &[], images: &[] };
    store.add_container(&container).unwrap();
}

const WORKS: [(&str, Work); 5] = [
    ("pull", |store| pull(store, &Sample::image(&["base", "new"]), "app").map(drop)),
    ("load", |store| {
        let lease = store.lease()?;
        let options = IngestOptions { keep_blobs: KeepBlobs::Always, origin: None };
        let sink = store.sink(Some(&"app".parse()?), options, &lease);
        let one = CopyOptions { platforms: Platforms::All, jobs: 1 };
        copy(&Sample::index(&["linux/amd64", "linux/arm64"]), &sink, &one, &Silent).map(drop)
    }),
    ("tag", |store| {
        let target = Sample::image(&["base", "old"]).target().clone();
        store.tag(&target, &"new".parse()?)?;
        store.untag(&"new".parse()?).map(drop)
    }),
    ("remove", |store| {
        store.remove_images(&[Sample::image(&["base", "old"]).target().clone()])?;
        store.gc_with(&ALL).map(drop)
    }),
    ("container", |store| {
        let new =
            NewContainer { id: "abd2", name: "new", image: None, document: "{}", volumes: &[], images: &[] };
        let _ = store.remove_container("new");
        store.add_container(&new)?;
        store.update_container("new", |_| Ok("1".to_owned()))?;
        store.remove_container("new").map(drop)
    }),
];

fn here(directory: &Path) -> Location {
    Location { root: directory.join("root"), runroot: directory.join("run") }
}

/// Runs in the child; does nothing in the parent, which has no plan.
#[test]
fn child() {
    let Ok(plan) = std::fs::read_to_string(PLAN) else { return };
    let (name, count) = plan.split_once(' ').unwrap();
    let store = Store::open(&here(Path::new("."))).unwrap();
    let (_, work) = WORKS.iter().find(|(work, _)| *work == name).unwrap();
    fault::arm(Plan { point: None, count: count.parse().unwrap() });
    work(&store).unwrap();
}

/// Whether the child died of the fault.
fn dies(directory: &Path, name: &str, count: u64) -> bool {
    std::fs::write(directory.join(PLAN), format!("{name} {count}")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child"]).current_dir(directory).stdout(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{name} at step {count}: {status}");
    !status.success()
}

fn survives(name: &str, work: Work, at_least: u64) {
    for count in 1.. {
        let directory = tempfile::tempdir().unwrap();
        before(&Store::open(&here(directory.path())).unwrap());
        let died = dies(directory.path(), name, count);
        let store = Store::open(&here(directory.path())).unwrap();
        let report = store.check(&CheckOptions::default()).unwrap();
        assert!(report.is_sound(), "{name} killed at step {count}: {report:#?}");
        assert_eq!(store.container("old").unwrap().id, "abc1");
        store.gc_with(&ALL).unwrap();
        store.check(&CheckOptions { repair: true }).unwrap();
        let report = store.check(&CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "{name} killed at step {count}, then mended: {report:#?}");
        work(&store).unwrap_or_else(|e| panic!("{name} after it was killed at step {count}: {e:?}"));
        assert!(store.check(&CheckOptions::default()).unwrap().is_sound());
        if !died {
            assert!(count > at_least, "{name} has only {count} steps");
            return;
        }
    }
}

#[test]
fn a_killed_pull_leaves_a_true_store() {
    survives(WORKS[0].0, WORKS[0].1, 20);
}

#[test]
fn a_killed_load_leaves_a_true_store() {
    survives(WORKS[1].0, WORKS[1].1, 30);
}

#[test]
fn a_killed_tag_leaves_a_true_store() {
    survives(WORKS[2].0, WORKS[2].1, 3);
}

#[test]
fn a_killed_removal_leaves_a_true_store() {
    survives(WORKS[3].0, WORKS[3].1, 8);
}

#[test]
fn a_killed_change_of_a_container_leaves_a_true_store() {
    survives(WORKS[4].0, WORKS[4].1, 5);
}
