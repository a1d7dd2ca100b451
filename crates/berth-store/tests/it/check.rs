//! Damage of every kind is found, named and mended.

use crate::sample::{Sample, pull, store};
use berth_oci::{Digest, Kind};
use berth_store::{CheckOptions, Fault, NewContainer, Store};
use std::fs;
use std::path::{Path, PathBuf};

const REPAIR: CheckOptions = CheckOptions { repair: true };

fn layer_home(store: &Store, diff_id: &Digest) -> PathBuf {
    store.location().root.join("layers").join(&diff_id.hex()[..2]).join(diff_id.hex())
}

fn blob_path(store: &Store, digest: &Digest) -> PathBuf {
    store.location().root.join("oci/blobs/sha256").join(&digest.hex()[..2]).join(digest.hex())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Does `damage` to a store with one image; answers the faults found, and checks that a repair leaves it clean and
/// a new pull leaves it whole.
fn after(damage: impl FnOnce(&Store, &Digest, &Digest)) -> Vec<Fault> {
    let (_directory, store) = store();
    let sample = Sample::image(&["one", "two"]);
    pull(&store, &sample, "app").unwrap();
    let image = store.platform_image(sample.target(), None).unwrap();
    let clean = store.check(&CheckOptions::default()).unwrap();
    assert!(clean.is_clean(), "{clean:?}");
    assert_eq!((clean.blobs, clean.layers, clean.images), (2, 2, 1));
    damage(&store, sample.target(), &image.diff_ids[1]);
    let found = store.check(&CheckOptions::default()).unwrap();
    let repaired = store.check(&REPAIR).unwrap();
    assert!(repaired.problems.iter().all(|p| p.repaired.is_some()), "{repaired:?}");
    let again = store.check(&CheckOptions::default()).unwrap();
    assert!(again.is_clean(), "{again:?}");
    pull(&store, &sample, "app").unwrap();
    store.platform_image(sample.target(), None).unwrap();
    let whole = store.check(&CheckOptions::default()).unwrap();
    assert!(whole.is_clean(), "{whole:?}");
    found.problems.into_iter().map(|p| p.fault).collect()
}

#[test]
fn changed_and_lost_content_is_found() {
    let faults = after(|store, target, _| flip(&blob_path(store, target), 0));
    assert!(matches!(faults[..], [Fault::WrongBytes { .. }, Fault::Unreadable(_)]), "{faults:?}");
    let faults = after(|store, _, diff_id| flip(&layer_home(store, diff_id).join("tar"), 512));
    assert!(matches!(faults[..], [Fault::WrongBytes { .. }]), "{faults:?}");
    let faults = after(|store, _, diff_id| fs::remove_dir_all(layer_home(store, diff_id)).unwrap());
    assert!(matches!(faults[..], [Fault::MissingFile]), "{faults:?}");
    let faults = after(|store, target, _| fs::remove_file(blob_path(store, target)).unwrap());
    assert!(matches!(faults[..], [Fault::MissingFile, Fault::Incomplete { .. }]), "{faults:?}");
    let faults =
        after(|store, _, diff_id| fs::write(layer_home(store, diff_id).join("index.erofs"), b"x").unwrap());
    assert!(matches!(faults[..], [Fault::WrongIndex]), "{faults:?}");
}

#[test]
fn what_belongs_to_nothing_is_found() {
    let faults = after(|store, _, _| {
        let root = &store.location().root;
        for path in ["layers/ab/abcd", "oci/blobs/sha256/ab/abcd", "tmp/dead", "trash/old", "containers/gone"]
        {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join("file"), b"x").unwrap();
        }
    });
    let containers = faults.iter().filter(|f| **f == Fault::OrphanContainer).count();
    let orphans = faults.iter().filter(|f| **f == Fault::Orphan).count();
    assert_eq!((containers, orphans, faults.len()), (1, 4, 5), "{faults:?}");
}

#[test]
fn a_container_without_its_directory_gets_it_back() {
    let faults = after(|store, _, _| {
        let container =
            NewContainer { id: "abc1", name: "web", image: None, document: "{}", volumes: &[], images: &[] };
        store.add_container(&container).unwrap();
        fs::remove_dir(store.container_dir("abc1")).unwrap();
    });
    assert_eq!(faults, [Fault::MissingDirectory]);
}

#[test]
fn an_index_made_anew_is_the_same_index() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one"]);
    pull(&store, &sample, "app").unwrap();
    let diff_id = store.platform_image(sample.target(), None).unwrap().diff_ids.remove(0);
    let index = layer_home(&store, &diff_id).join("index.erofs");
    let before = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    let report = store.check(&REPAIR).unwrap();
    assert_eq!(report.problems[0].repaired.as_deref(), Some("index made anew"));
    assert_eq!(fs::read(&index).unwrap(), before);
}

#[test]
fn a_lost_database_is_made_anew_from_the_files() {
    let (_directory, store) = store();
    let (one, two) = (Sample::image(&["base", "one"]), Sample::index(&["linux/amd64", "linux/arm64"]));
    pull(&store, &one, "one").unwrap();
    pull(&store, &two, "two").unwrap();
    let before: Vec<_> = store.images().unwrap();
    let location = store.location().clone();
    drop(store);

    // Readable, but perhaps wrong: names and containers are taken over.
    let rebuilt = Store::rebuild(&location).unwrap();
    assert_eq!(rebuilt.names, 2);
    let store = Store::open(&location).unwrap();
    let report = store.check(&CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    for (image, was) in store.images().unwrap().iter().zip(&before) {
        assert_eq!((&image.target, &image.names, image.size), (&was.target, &was.names, was.size));
    }
    store.platform_image(one.target(), None).unwrap();
    drop(store);

    // Beyond reading: the images are back, without names.
    fs::write(location.root.join("db.sqlite"), vec![b'x'; 10_000]).unwrap();
    fs::remove_file(location.root.join("db.sqlite-wal")).unwrap();
    assert_eq!(Store::open(&location).unwrap_err().kind(), Kind::Corrupt);
    let rebuilt = Store::rebuild(&location).unwrap();
    assert_eq!((rebuilt.names, rebuilt.images), (0, 2));
    let store = Store::open(&location).unwrap();
    assert!(store.images().unwrap().iter().all(|image| image.is_dangling()));
    assert!(store.check(&CheckOptions::default()).unwrap().is_clean());
    pull(&store, &one, "one").unwrap();
}
