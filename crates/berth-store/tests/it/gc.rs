//! Garbage collection: what goes, what stays, and that a preview says the same.

use crate::sample::{Sample, gzip, noise, pull, store, tar};
use berth_oci::{Digest, Kind, Sink, media_type};
use berth_store::{GcOptions, NewContainer, Protected, Reclaimed, Store, Without};
use std::time::Duration;

const ALL: GcOptions = GcOptions { grace: Duration::ZERO };

fn du(path: &std::path::Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_preview_says_byte_for_byte_what_goes() {
    let (directory, store) = store();
    let root = directory.path().join("root");
    // Two images share a layer; a third has its own.
    let mut samples = vec![Sample::image(&["base", "one"]), Sample::image(&["base", "two"])];
    samples.push(Sample::image(&[&String::from_utf8_lossy(&noise(300_000, 5))]));
    for (number, sample) in samples.iter().enumerate() {
        pull(&store, sample, &format!("app:{number}")).unwrap();
    }
    assert_eq!(store.gc_with(&ALL).unwrap(), Reclaimed::default());
    let doomed = [samples[0].target().clone(), samples[2].target().clone()];
    let without = Without { images: &doomed, containers: &[] };
    let preview = store.gc_preview(&ALL, without).unwrap();
    assert_eq!((preview.layers.len(), preview.blobs.len(), preview.orphans), (2, 4, 0));
    assert_eq!(store.images().unwrap().len(), 3);
    let before = du(&root);
    assert_eq!(store.remove_images(&doomed).unwrap(), 2);
    assert_eq!(store.gc_with(&ALL).unwrap(), preview);
    // The database's log may have grown meanwhile; fan-out directories stay.
    let log = 1 << 20;
    assert!(before - du(&root) <= preview.bytes && before + log >= preview.bytes);
    store.platform_image(samples[1].target(), None).unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), Reclaimed::default());
}

#[test]
fn what_a_container_uses_outlives_its_image() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one"]);
    pull(&store, &sample, "app").unwrap();
    let target = sample.target();
    let container = NewContainer {
        id: "abc1",
        name: "web",
        image: Some((target, target)),
        document: "{}",
        volumes: &[],
        images: &[],
    };
    store.add_container(&container).unwrap();
    assert!(store.image(target).unwrap().last_used.is_some());
    assert_eq!(store.containers_of(target).unwrap().len(), 1);
    store.remove_image(target).unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), Reclaimed::default());
    store.platform_image(target, None).unwrap();
    let ids = ["abc1".to_owned()];
    let preview = store.gc_preview(&ALL, Without { images: &[], containers: &ids }).unwrap();
    store.remove_container("web").unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), preview);
    assert_eq!((preview.layers.len(), preview.blobs.len()), (1, 2));
    assert_eq!(store.platform_image(target, None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_a_container_sees_beside_its_own_image_outlives_its_image() {
    let (_directory, store) = store();
    let [own, other] = [Sample::image(&["one"]), Sample::image(&["two"])];
    pull(&store, &own, "app").unwrap();
    pull(&store, &other, "data").unwrap();
    let container = NewContainer {
        id: "abc1",
        name: "web",
        image: Some((own.target(), own.target())),
        document: "{}",
        volumes: &[],
        images: &[own.target(), other.target()],
    };
    store.add_container(&container).unwrap();
    assert_eq!(store.further_images().unwrap(), [("abc1".to_owned(), other.target().clone())]);
    store.remove_image(other.target()).unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), Reclaimed::default());
    let ids = ["abc1".to_owned()];
    let preview = store.gc_preview(&ALL, Without { images: &[], containers: &ids }).unwrap();
    store.remove_container("web").unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), preview);
    assert_eq!(preview.layers.len(), 1);
    let gone = NewContainer { images: &[other.target()], ..container };
    assert_eq!(store.add_container(&gone).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_running_pull_loses_nothing() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one", "two"]);
    pull(&store, &sample, "app").unwrap();
    let other = Store::open(store.location()).unwrap();
    let lease = store.lease().unwrap();
    let sink = store.sink(Some(&"again".parse().unwrap()), Default::default(), &lease);
    let manifest = sample.root.as_ref().unwrap();
    for blob in manifest.blobs() {
        assert!(sink.has_blob(blob).unwrap());
    }
    other.remove_image(sample.target()).unwrap();
    let taken = other.gc_with(&ALL).unwrap();
    assert_eq!((taken.layers.len(), taken.blobs.len()), (0, 1), "only the manifest itself is nobody's");
    sink.put_manifest(manifest, true).unwrap();
    assert_eq!(other.gc_with(&ALL).unwrap(), Reclaimed::default());
    other.platform_image(&store.resolve("again").unwrap().target, None).unwrap();
}

#[test]
fn a_lease_keeps_an_image_that_others_remove() {
    let (_directory, store) = store();
    let sample = Sample::image(&["one"]);
    pull(&store, &sample, "app").unwrap();
    let lease = store.lease().unwrap();
    assert!(lease.protect(&[Protected::Image(sample.target())]).unwrap());
    assert!(!lease.protect(&[Protected::Image(&Digest::of(b"x"))]).unwrap());
    store.remove_image(sample.target()).unwrap();
    assert_eq!(store.gc_with(&ALL).unwrap(), Reclaimed::default());
    drop(lease);
    assert_eq!(store.gc_with(&ALL).unwrap().layers.len(), 1);
}

#[test]
fn a_broken_off_pull_stays_for_a_day() {
    let (directory, store) = store();
    let mut sample = Sample::default();
    let tars = [tar(&[("small", b"x")]), tar(&[("large", &noise(1 << 20, 3))])];
    let layers: Vec<_> = tars.iter().map(|t| sample.add_blob(media_type::OCI_LAYER_GZIP, gzip(t))).collect();
    sample.root = Some(sample.add_manifest(tars.iter().map(|t| Digest::of(t)).collect(), layers, None));
    sample.breaks_after = Some(600_000);
    pull(&store, &sample, "app").unwrap_err();
    let partials = || std::fs::read_dir(directory.path().join("root/ingest")).unwrap().count();
    assert_eq!(partials(), 1);
    assert_eq!(store.gc().unwrap(), Reclaimed::default());
    let taken = store.gc_with(&ALL).unwrap();
    assert_eq!((partials(), taken.orphans), (0, 1));
    assert!(taken.bytes >= 500_000, "{taken:?}");
}

#[test]
fn usage_adds_up_to_what_the_disk_says() {
    let (directory, store) = store();
    let root = directory.path().join("root");
    let shared = String::from_utf8_lossy(&noise(100_000, 1)).into_owned();
    let (one, two) = (Sample::image(&[&shared, "one"]), Sample::image(&[&shared, "two"]));
    pull(&store, &one, "one").unwrap();
    pull(&store, &two, "two").unwrap();
    let container = NewContainer {
        id: "abc1",
        name: "web",
        image: Some((one.target(), one.target())),
        document: "{}",
        volumes: &[],
        images: &[],
    };
    store.add_container(&container).unwrap();
    std::fs::write(store.container_dir("abc1").join("log"), noise(50_000, 2)).unwrap();
    let usage = store.disk_usage().unwrap();
    assert_eq!(usage.total(), du(&root));
    assert_eq!(usage.containers[0].bytes, store.container_bytes("abc1").unwrap());
    assert!(usage.containers[0].bytes >= 50_000);
    let image = |sample: &Sample| usage.images.iter().find(|i| i.target == *sample.target()).unwrap();
    assert_eq!((image(&one).containers, image(&two).containers), (1, 0));
    assert!(image(&one).shared > 100_000 && image(&one).shared == image(&two).shared);
    assert_eq!(usage.unnamed, 0);
    let all = image(&one).shared + image(&one).unique + image(&two).unique;
    assert_eq!(all, usage.layers + usage.blobs);
    let preview =
        store.gc_preview(&ALL, Without { images: &[two.target().clone()], containers: &[] }).unwrap();
    assert_eq!(preview.bytes, image(&two).unique);
}
